"""Datasets that TensorFlow Datasets prepared, in whole builds: what is read again when, and what a user gets wrong."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.datasets.framing import records_in
from mlkit_build.job import JobReport
from tests.conftest import Workspace
from tests.datasets.test_tfrecord import framed
from tests.promises.conftest import Command

DIGITS: dict[str, Any] = {"kind": "tfds", "path": "all", "name": "digits", "features": {"image": "image"}}
TEST = {**DIGITS, "split": "test[:200]", "label": "label"}
"""Of the three shards of 100 digits the first two."""
CALIBRATION = {**DIGITS, "split": "test[200:]"}


def mnist(workspace: Workspace, prepared: Path, **changes: Any) -> Path:
    """Copy the recipe with the prepared digits in its folder; return these."""
    folder = workspace.copy("mnist", "mine")
    shutil.copytree(prepared / "tfrecord" / "digits", folder / "all" / "digits")
    stated = {"name": "mine", "dataset": TEST, "calibration": CALIBRATION, "validation": {"metrics": ["top1"]}}
    workspace.edit("mine", {**stated, **changes})
    return folder / "all" / "digits" / "3.0.1"


def turn(shard: Path) -> None:
    """Change a shard: its last record comes first."""
    first, *rest = reversed(list(records_in(shard, "shard")))
    shard.write_bytes(b"".join(map(framed, [first, *reversed(rest)])))


def test_a_changed_shard_is_read_again_by_what_reads_it_and_no_other(warm_workspace: Workspace, prepared: Path) -> None:
    folder = mnist(warm_workspace, prepared)
    first = warm_workspace.build("recipe=mine")
    assert first.error is None, first.error
    assert warm_workspace.ran(warm_workspace.build("recipe=mine")) == set()
    turn(folder / "digits-test.tfrecord-00000-of-00003")
    report = warm_workspace.build("recipe=mine")
    assert report.error is None, report.error
    assert {"reference", "evaluate", "package"} <= warm_workspace.ran(report)
    assert {"calibrate", "quantize"}.isdisjoint(warm_workspace.ran(report))
    data = folder / "digits-test.tfrecord-00002-of-00003"
    data.write_bytes(
        b"".join(framed(record) for record in [*list(records_in(data, "shard"))[1:], next(records_in(data, "shard"))])
    )
    assert "calibrate" in warm_workspace.ran(warm_workspace.build("recipe=mine"))


def test_the_place_is_not_in_the_key_and_an_archive_is_as_good(warm_workspace: Workspace, prepared: Path) -> None:
    folder = mnist(warm_workspace, prepared)
    assert warm_workspace.build("recipe=mine").error is None
    with zipfile.ZipFile(folder.parents[2] / "all.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"elsewhere/{path.name}")
    shutil.rmtree(folder)
    place = {"path": "zip://elsewhere::all.zip", "name": None}
    warm_workspace.edit("mine", {"dataset": {**TEST, **place}, "calibration": {**CALIBRATION, **place}})
    again = warm_workspace.build("recipe=mine")
    assert again.error is None, again.error
    assert {"calibrate", "reference", "evaluate"}.isdisjoint(warm_workspace.ran(again))
    assert again.bundle is not None
    assert str(warm_workspace.folder) not in (again.bundle / "manifest.json").read_text()


def test_a_package_measured_on_a_dataset_elsewhere_can_be_made_again(
    warm_workspace: Workspace, prepared: Path, command: Command
) -> None:
    place = {"path": str(prepared / "tfrecord"), "version": "3.0.1"}
    folder = mnist(warm_workspace, prepared, dataset={**TEST, **place}, calibration=None)
    shutil.rmtree(folder)
    report = warm_workspace.build("recipe=mine", "quantization=float32")
    assert report.error is None, report.error
    assert report.bundle is not None
    manifest = report.bundle / "manifest.json"
    assert str(prepared) not in manifest.read_text()
    code, out, err = command("rebuild", str(manifest), "--inputs", str(prepared / "tfrecord"))
    assert code == 0, out + err


def test_the_classes_of_the_dataset_are_the_labels_where_the_recipe_says_so(
    warm_workspace: Workspace, prepared: Path, command: Command
) -> None:
    folder = mnist(warm_workspace, prepared, labels={"from_dataset": True})
    report = warm_workspace.build("recipe=mine")
    assert report.error is None, report.error
    assert report.bundle is not None
    assert (report.bundle / "labels.txt").read_text().split() == [str(digit) for digit in range(10)]
    (folder / "label.labels.txt").unlink()
    code, _, err = command("recipe=mine")
    assert code == 2
    assert "labels.from_dataset: " in err
    assert "the feature 'label' names no classes" in err


def test_labels_in_another_order_are_found_by_their_names(warm_workspace: Workspace, prepared: Path) -> None:
    # The dataset calls them zero to nine in words and in another order than the model: by number all would be wrong.
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    folder = mnist(warm_workspace, prepared, calibration=None)
    (folder.parents[2] / "labels.txt").write_text("\n".join(words) + "\n")

    def build(names: list[str]) -> JobReport:
        (folder / "label.labels.txt").write_text("\n".join(names) + "\n")
        return warm_workspace.build("recipe=mine", "quantization=float32", "validation.gates={}")

    def top1(names: list[str]) -> float:
        report = build(names)
        assert report.error is None, report.error
        assert report.bundle is not None
        return float(json.loads((report.bundle / "manifest.json").read_bytes())["metrics"]["top1"]["value"])

    right = top1(words)
    assert right > 0.97
    assert "class 0 is 'one' and not 'zero'" in str(build(words[1:] + words[:1]).error)
    assert top1([f"digit {word}" for word in words]) == right  # other names: by number


def test_samples_of_the_calibration_among_those_measured_are_refused(
    warm_workspace: Workspace, prepared: Path, command: Command
) -> None:
    mnist(warm_workspace, prepared, calibration={**CALIBRATION, "split": "test[190:]"})
    code, out, err = command("recipe=mine")
    assert code == 2, err
    assert "10 of" in err
    assert "Traceback" not in out + err


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({**TEST, "split": "tset"}, "dataset.split: no split 'tset'; there is test", "did you mean 'test'?"),
    (
        {**TEST, "split": "0:80%"},
        "dataset.split: expected a split as TensorFlow Datasets writes it, found '0:80%'",
        "train[:80%]",
    ),
    ({**TEST, "split": "test[:301]"}, "dataset.split: 'test[:301]' asks for more than the 300 samples", ""),
    ({key: TEST[key] for key in TEST if key != "split"}, "dataset.split: missing, and it has no default", ""),
    (
        {**TEST, "features": {"image": "imag"}},
        "dataset.features.image: no feature 'imag' in {folder}; it has image, label",
        "'image'",
    ),
    ({**TEST, "label": "lable"}, "dataset.label: no feature 'lable' in {folder}; it has image, label", "did you mean 'label'?"),
    ({**TEST, "features": {"picture": "image"}}, "dataset.features.picture: no such input", ""),
    ({**TEST, "features": {}}, "dataset.features: nothing feeds the input 'image'", "add `image: <feature>`"),
    ({**TEST, "name": "cifar10"}, "dataset: cifar10 is not prepared in {folder.parent.parent}", "download_and_prepare()"),
    (
        {**TEST, "name": "digits:3.0.1"},
        "dataset.name: expected a name such as `mnist`, found 'digits:3.0.1'",
        "fields of their own",
    ),
    ({**TEST, "name": "../digits"}, "dataset.name: expected a name such as `mnist`, found '../digits'", ""),
    ({**TEST, "version": "3"}, "dataset.version: expected a version such as `3.0.1`, found '3'", ""),
    ({**TEST, "version": "1.0.0"}, "dataset: digits:1.0.0 is not prepared in {folder.parent.parent}, which has digits/3.0.1", ""),
    ({**TEST, "name": None, "version": "3.0.1"}, "dataset.version: expected dataset.name beside it, found none", ""),
    ({**TEST, "path": "~nobody-of-that-name/all"}, "is not prepared in ", "prepare it"),
    ({**TEST, "path": "labels.txt", "name": None}, "expected a dataset that TensorFlow Datasets prepared", "state dataset.name"),
    ({**TEST, "on_error": "ignore"}, "dataset.on_error: expected one of fail, skip, found 'ignore'", ""),
    ({**TEST, "samples": 201}, "dataset.samples: 201 asked, but", ""),
]


@pytest.mark.parametrize(("stated", "message", "hint"), BAD)
def test_a_prepared_dataset_that_cannot_be_is_refused_in_words(
    warm_workspace: Workspace, prepared: Path, command: Command, stated: dict[str, Any], message: str, hint: str
) -> None:
    folder = mnist(warm_workspace, prepared, dataset=stated, calibration=None)
    code, out, err = command("recipe=mine", "quantization=float32")
    assert code == 2, err
    assert message.format(folder=folder) in err
    assert hint in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "digits-test.tfrecord-00001-of-00003").unlink(),
            "00001-of-00003, as dataset_info.json says, found nothing",
        ),
        (lambda folder: (folder / "features.json").unlink(), "features.json: cannot be read: No such file"),
        (lambda folder: (folder / "dataset_info.json").unlink(), "digits is not prepared in"),
        (lambda folder: (folder / "features.json").write_text("[" * 100_000), "features.json: nested too deeply"),
        (
            lambda folder: (folder / "digits-test.tfrecord-00001-of-00003").write_bytes(b""),
            "digits-test.tfrecord-00001-of-00003: expected 100 samples, as dataset_info.json says, found 0",
        ),
    ],
)
def test_a_damaged_folder_is_told_by_file(
    warm_workspace: Workspace, prepared: Path, command: Command, spoil: Any, message: str
) -> None:
    spoil(mnist(warm_workspace, prepared, calibration=None))
    code, out, err = command("recipe=mine", "quantization=float32")
    assert code == 2, err
    assert message in err
    assert "Traceback" not in out + err
