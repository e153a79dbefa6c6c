"""The manifest says what a bundle is and nothing about where or when it was made."""

from __future__ import annotations

import json

from mlkit_build.bundle.manifest import SCHEMA, ActionEntry, Manifest, entries, metric_entries
from mlkit_build.gates import Verdict
from mlkit_build.metrics import Measurement
from mlkit_build.mlkit.app_view import AppView
from mlkit_build.plain import from_plain, pretty
from mlkit_build.recipe import FrozenGraph, Recipe
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.store import Digest


def a_manifest() -> Manifest:
    return Manifest(
        schema=SCHEMA,
        name="toy",
        version="1.0.0",
        variant="float32",
        recipe=Recipe(name="toy", source=FrozenGraph(path="graph.pb")),
        signature=FrozenSignature((TensorSpec("image", "image:0", (1, 4), "float32"),), ()),
        inputs=entries([("graph.pb", Digest.of_bytes(b"graph"))]),
        outputs=entries([("toy.tflite", Digest.of_bytes(b"model"))]),
        actions=(ActionEntry("freeze", "0" * 64),),
        metrics=metric_entries({"top1": Measurement(0.9, reference=0.95)}),
        gates=(Verdict("top1", "min", 0.8, 0.9, True),),
        hops=None,
        runtimes=(),
        skipped=(),
        app=AppView("the recipe has no labels"),
        quantization=None,
        toolchain={"python": "3.11"},
    )


def test_equal_manifests_have_equal_bytes_that_end_in_a_newline() -> None:
    data = a_manifest().to_bytes()
    assert data == a_manifest().to_bytes()
    assert data.endswith(b"}\n")


def test_the_manifest_starts_with_what_it_is_and_keeps_its_order() -> None:
    names = list(json.loads(a_manifest().to_bytes()))
    assert names[:4] == ["schema", "name", "version", "variant"]


def test_files_are_stated_by_path_digest_and_size() -> None:
    (entry,) = json.loads(a_manifest().to_bytes())["inputs"]
    # printf graph | sha256sum
    assert entry == {"path": "graph.pb", "sha256": Digest.of_bytes(b"graph").sha256, "size_bytes": 5}


def test_the_recipe_can_be_read_back_from_the_manifest() -> None:
    manifest = a_manifest()
    assert from_plain(Recipe, json.loads(manifest.to_bytes())["recipe"]) == manifest.recipe


def test_metrics_state_the_value_the_reference_and_the_drop() -> None:
    stated = {"value": 0.9, "reference": 0.95, "drop": 0.05, "interval": None, "paired": None}
    assert json.loads(a_manifest().to_bytes())["metrics"] == {"top1": stated}


def test_metrics_state_interval_and_test_of_a_share_of_samples() -> None:
    (found,) = json.loads(pretty(metric_entries({"top1": Measurement.share(90, 100, 93, lost=5)}))).values()
    assert found["interval"] == [0.825634, 0.944771]  # scipy: binomtest(90, 100).proportion_ci(method='wilson')
    assert {key: found["paired"][key] for key in ("samples", "lost", "gained")} == {"samples": 100, "lost": 5, "gained": 2}
