"""The bill of materials is one that CycloneDX's own tools take; it says what the manifest says, equally for equal bundles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cyclonedx.schema
import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from packageurl import PackageURL

from mlkit_build.bundle.licences import KNOWN, licence
from mlkit_build.bundle.manifest import Manifest, entries, metric_entries
from mlkit_build.bundle.sbom import Input, bill_of_materials, with_toolchain
from mlkit_build.metrics import Measurement
from mlkit_build.recipe import FrozenGraph, Quantization, Recipe
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.store import Digest
from tests.bundle.test_manifest import a_manifest

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
SCHEMAS = Path(cyclonedx.schema.__file__).parent / "_res"
GRAPH, TEST, IMAGES, BOTH = entries(
    [(name, Digest.of_bytes(name.encode())) for name in ("graph.pb", "test.npz", "images", "both.npz")]
)
INPUTS = [
    Input(GRAPH),
    Input(TEST, ("dataset",)),
    Input(IMAGES, ("calibration",), is_folder=True),
    Input(BOTH, ("dataset", "calibration")),
]


def a_whole_manifest(**changes: Any) -> Manifest:
    recipe = Recipe(
        name="toy",
        version="1.2.0",
        description="Digits",
        author="Ada",
        license="Apache-2.0",
        source=FrozenGraph(path="graph.pb"),
        quantization=Quantization(mode="int8", io="uint8"),
    )
    return replace(
        a_manifest(),
        **{
            "version": "1.2.0",
            "variant": "int8",
            "recipe": recipe,
            "signature": FrozenSignature(
                (TensorSpec("image", "image:0", (1, 4, 4, 3), "float32"), TensorSpec("steps", "steps:0", (1,), "int32")),
                (TensorSpec("scores", "scores:0", (1, 10), "float32"),),
            ),
            "inputs": tuple(found.entry for found in INPUTS),
            "metrics": metric_entries({"top1": Measurement.share(90, 100, 93, lost=5), "rmse": Measurement(0.25)}),
            "toolchain": {
                "mlkit-build": "0.1.0",
                "machine": "x86_64",
                "python": "3.11",
                "numpy": "2.4.6+cpu",
                "tf-keras": "absent",
            },
            **changes,
        },
    )


def bill(manifest: Manifest | None = None, inputs: list[Input] = INPUTS) -> Any:
    """Return a bill as JSON, once CycloneDX's schema takes it."""
    data = bill_of_materials(manifest or a_whole_manifest(), inputs)
    assert VALIDATOR.validate_str(data.decode()) is None
    return json.loads(data)


def test_the_schema_refuses_what_is_not_of_it() -> None:
    found = bill()
    found["metadata"]["component"]["modelCard"]["no_such_part"] = []
    assert VALIDATOR.validate_str(json.dumps(found)) is not None


def test_the_model_is_a_component_with_a_card() -> None:
    model = bill()["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "toy", "1.2.0")
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert model["authors"] == [{"name": "Ada"}]
    assert model["hashes"] == [{"alg": "SHA-256", "content": Digest.of_bytes(b"model").sha256}]
    parameters = model["modelCard"]["modelParameters"]
    assert parameters["task"] == "custom"
    assert [port["format"] for port in parameters["inputs"]] == ["image: uint8 [1, 4, 4, 3]", "steps: int32 [1]"]
    assert [port["format"] for port in parameters["outputs"]] == ["scores: uint8 [1, 10]"]


def test_metrics_have_their_intervals() -> None:
    metrics = bill()["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    # scipy: binomtest(90, 100).proportion_ci(method='wilson')
    interval = {"lowerBound": "0.825634", "upperBound": "0.944771"}
    assert metrics == [{"type": "top1", "value": "0.9", "confidenceInterval": interval}, {"type": "rmse", "value": "0.25"}]


def test_datasets_are_referred_to_and_have_their_digests() -> None:
    found = bill()
    parts = {part["bom-ref"]: part for part in found["components"]}
    named = [parts[entry["ref"]] for entry in found["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"]]
    assert [part["name"] for part in named] == ["test.npz", "images", "both.npz"]
    assert {part["type"] for part in named} == {"data"}
    assert [data["name"] for data in named[2]["data"]] == ["dataset", "calibration"]
    assert named[0]["hashes"] == [{"alg": "SHA-256", "content": TEST.sha256}]
    assert "hashes" not in named[1], "no tool would find the digest of a folder"
    assert named[1]["properties"] == [{"name": "mlkit-build:folder_sha256", "value": IMAGES.sha256}]
    graph = next(part for part in found["components"] if part["name"] == "graph.pb")
    assert (graph["type"], graph["hashes"][0]["content"]) == ("file", GRAPH.sha256)


def test_tools_have_package_urls_and_what_is_absent_is_not_among_them() -> None:
    tools = {part["name"]: part for part in bill()["components"] if "purl" in part}
    assert sorted(tools) == ["numpy", "python"]
    read = PackageURL.from_string(tools["numpy"]["purl"])
    assert (read.type, read.name, read.version) == ("pypi", "numpy", "2.4.6+cpu")
    assert {tool["scope"] for tool in tools.values()} == {"excluded"}


def test_references_are_unique_and_lead_somewhere() -> None:
    same = [Input(GRAPH), Input(GRAPH, ("dataset",))]  # two files elsewhere, of one name and content
    found = bill(a_whole_manifest(inputs=(GRAPH, GRAPH)), same)
    references = [part["bom-ref"] for part in (found["metadata"]["component"], *found["components"])]
    assert len(set(references)) == len(references)
    (dependency,) = found["dependencies"]
    assert {dependency["ref"], *dependency["dependsOn"]} == set(references)


def test_the_library_of_cyclonedx_reads_the_same_components() -> None:
    read = Bom.from_json(bill())  # type: ignore[attr-defined]
    assert {component.name for component in read.components} == {"graph.pb", "test.npz", "images", "both.npz", "numpy", "python"}
    assert read.serial_number.version == 8


def test_equal_bundles_have_equal_bills_and_another_has_another_serial_number() -> None:
    assert bill_of_materials(a_whole_manifest(), INPUTS) == bill_of_materials(a_whole_manifest(), INPUTS)
    assert bill()["serialNumber"] != bill(a_whole_manifest(version="1.2.1"))["serialNumber"]


def test_other_tools_give_the_bill_that_a_build_with_them_would_have_written() -> None:
    here = a_whole_manifest()
    there = replace(here, toolchain={**here.toolchain, "mlkit-build": "0.0.9", "python": "3.13", "tf-keras": "2.21.0"})
    data = bill_of_materials(here, INPUTS)
    assert with_toolchain(data, there.toolchain) == bill_of_materials(there, INPUTS) != data
    assert with_toolchain(data, here.toolchain) == data


def test_a_recipe_that_states_nothing_of_itself_is_no_less_valid() -> None:
    model = bill(a_whole_manifest(recipe=Recipe(name="toy", source=FrozenGraph(path="graph.pb")), metrics={}))["metadata"][
        "component"
    ]
    assert not {"licenses", "authors", "description"} & model.keys()


def test_every_known_licence_is_one_of_the_schema() -> None:
    known = json.loads((SCHEMAS / "spdx.SNAPSHOT.schema.json").read_text(encoding="utf-8"))["enum"]
    assert sorted(KNOWN - set(known)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", {"license": {"id": "MIT"}}),
        ("mit", {"license": {"name": "mit"}}),
        ("Proprietary, see LICENSE.txt", {"license": {"name": "Proprietary, see LICENSE.txt"}}),
        ("Proprietary", {"license": {"name": "Proprietary"}}),
        ("LicenseRef-Acme", {"expression": "LicenseRef-Acme"}),
        ("MIT OR (Apache-2.0 AND CC-BY-4.0)", {"expression": "MIT OR (Apache-2.0 AND CC-BY-4.0)"}),
        ("MIT OR", {"license": {"name": "MIT OR"}}),
        ("MIT Apache-2.0", {"license": {"name": "MIT Apache-2.0"}}),
        ("(MIT", {"license": {"name": "(MIT"}}),
        ("MIT)", {"license": {"name": "MIT)"}}),
        ("()", {"license": {"name": "()"}}),
    ],
)
def test_a_licence_is_an_identifier_an_expression_or_a_name(text: str, expected: dict[str, Any]) -> None:
    assert licence(text) == expected


words = st.text(max_size=12) | st.sampled_from(["MIT", "MIT AND", "🦜", "\x00", "a\nb", '"', "urn:cdx:x"])


@settings(max_examples=30)
@given(words, words, words, words)
def test_whatever_a_recipe_says_of_itself_the_bill_is_valid(description: str, author: str, stated: str, place: str) -> None:
    recipe = replace(a_whole_manifest().recipe, description=description, author=author, license=stated)
    odd = replace(GRAPH, path=place)
    bill(a_whole_manifest(recipe=recipe, version=place, inputs=(odd,)), [Input(odd, ("dataset",))])
