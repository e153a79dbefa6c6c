"""A comparison with a bundle that was measured on other samples is warned of, whatever the kind of dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.bundle.baseline import Baseline, read_baseline
from mlkit_build.bundle.manifest import SCHEMA
from mlkit_build.bundle.portable import portable_place, portable_text
from mlkit_build.errors import SourceError
from mlkit_build.plain import to_plain
from mlkit_build.recipe import AnyDataset, Csv, Gate, ImageFolder, Npz, PythonSamples, Random, RandomInput, Tfds

DATASETS: list[AnyDataset] = [
    Npz(path="/home/ada/a.npz", features={"x": "a"}),
    Csv(path="a.csv", features={"x": ("a..b",)}, classes=("one", "two")),
    ImageFolder(path="images", input="x", label="folder"),
    PythonSamples(function="data.py:samples", features={"x": "a"}),
    Random(features={"x": RandomInput()}, samples=3),
]

GATES = {"top1": Gate(max_regression=0.01)}


def baseline(dataset: Any) -> Baseline:
    return Baseline(Path("manifest.json"), {}, dataset)


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.kind)
def test_the_same_samples_are_no_matter(dataset: AnyDataset) -> None:
    stated = to_plain(portable_place(dataset, portable_text))
    assert baseline(stated).warning(dataset, GATES) == ""
    assert "was measured on other samples" in baseline(stated).warning(replace(dataset, seed=1), GATES)
    assert "was measured on other samples" in baseline(stated).warning(None, GATES)
    assert "was measured on other samples" in baseline(None).warning(dataset, GATES)
    other = next(another for another in DATASETS if another.kind != dataset.kind)
    assert "was measured on other samples" in baseline(stated).warning(other, GATES)


def test_a_manifest_that_is_older_than_a_field_is_understood() -> None:
    stated = to_plain(portable_place(DATASETS[0], portable_text))
    del stated["split"]
    assert baseline(stated).warning(DATASETS[0], GATES) == ""
    assert baseline(None).warning(None, GATES) == ""


def test_a_place_on_another_machine_counts_by_its_name_whatever_folder_the_manifest_gave_it() -> None:
    def warning(theirs: AnyDataset, ours: AnyDataset) -> str:
        return baseline(to_plain(theirs)).warning(ours, GATES)

    ours = Npz(path="/mnt/grace/a.npz", features={"x": "a"})
    assert warning(replace(ours, path="dataset/a.npz"), ours) == ""
    assert "other samples" in warning(replace(ours, path="dataset/b.npz"), ours)
    assert "other samples" in warning(replace(ours, path="dataset/a.npz"), replace(ours, path="a.npz"))
    prepared = Tfds(path="~/tensorflow_datasets", name="mnist", split="test", features={"x": "image"})
    assert warning(replace(prepared, path="tensorflow_datasets"), prepared) == ""
    assert warning(replace(prepared, path=".", name=None), prepared) == ""  # as manifests had it before
    assert "other samples" in warning(replace(prepared, path="tensorflow_datasets", name="cifar10"), prepared)


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"a": "1", "b": "2"}, ""),
        ({"a": "1", "b": "3"}, "b"),
        ({"a": "1", "c": "2"}, "c"),  # a shard more
        ({"other": "9"}, ""),  # placed elsewhere: what it was is not known
        ({}, ""),
    ],
)
def test_a_file_of_the_samples_with_other_content_is_named(tmp_path: Path, now: dict[str, str], changed: str) -> None:
    inputs = [{"path": path, "sha256": digest, "size_bytes": 1} for path, digest in (("model.pb", "0"), ("a", "1"), ("b", "2"))]
    stated = to_plain(portable_place(DATASETS[0], portable_text))
    written = {"schema": SCHEMA, "name": "mine", "metrics": {}, "recipe": {"dataset": stated}, "inputs": inputs}
    (tmp_path / "manifest.json").write_text(json.dumps(written))
    found = read_baseline(tmp_path / "manifest.json", "mine", tmp_path / "dist", now)
    assert found.changed == changed
    assert (f"other samples, {changed} has changed since;" in found.warning(DATASETS[0], GATES)) == bool(changed)


def test_a_baseline_that_no_gate_compares_with_is_warned_of() -> None:
    for gates in ({}, {"top1": Gate(min=0.5)}):
        assert baseline(None).warning(None, gates) == (
            "validation.baseline: nothing is compared with manifest.json: no gate states max_regression"
        )


NUMBER = "damaged: metrics.top1.value: expected a number within 1e+300 of 0, found "


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[" * 100_000 + "]" * 100_000, "it is nested too deeply"),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, "it is nested too deeply"),
        ("9" * 5_000, "expected a number, found 999"),
        ("9" * 301, "expected a number, found 999"),
        ("Infinity", "expected a number, found Infinity"),
        ("NaN", "expected a number, found NaN"),
        ("1e999", "expected a number, found 1e999"),
        ("1e308", NUMBER + "1e+308"),
        ('"nan"', NUMBER + "'nan'"),
        ('"0.5"', NUMBER + "'0.5'"),
        ("true", NUMBER + "True"),
        ("null", NUMBER + "None"),
        ("[0.5]", NUMBER + r"\[0.5\]"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_finite_number_is_refused(tmp_path: Path, value: str, expected: str) -> None:
    path = tmp_path / "manifest.json"
    head = f'{{"schema": "{SCHEMA}", "name": "mine", "recipe": {{}}, "inputs": [], "metrics": {{"top1": {{"value": '
    path.write_text(f"{head}{value}}}}}}}")
    with pytest.raises(SourceError, match=expected.replace("+", r"\+")) as caught:
        read_baseline(path, "mine", tmp_path / "dist")
    assert caught.value.message.startswith(f"validation.baseline: {path}: ")
    assert len(caught.value.message) < 1_000
    path.write_text(f"{head}0.5}}}}}}")
    assert read_baseline(path, "mine", tmp_path / "dist").values == {"top1": 0.5}
