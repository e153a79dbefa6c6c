"""The shipped file as the app sees it, in whole builds: it says what it is, and what would fail in an app is not published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlkit_build.mlkit.metadata import ColorSpace, read
from mlkit_build.store import Digest
from tests.conftest import Workspace
from tests.promises.conftest import Command, snapshot


def manifest(bundle: Path) -> Any:
    return json.loads((bundle / "manifest.json").read_bytes())


def test_the_shipped_file_says_what_it_is_and_the_manifest_knows_it_as_it_is(warm_workspace: Workspace) -> None:
    report = warm_workspace.build("recipe=mnist")
    assert report.bundle is not None
    found = read((report.bundle / "mnist.tflite").read_bytes())
    assert (found.name, found.version, found.author, found.license) == ("mnist", "1.0.0", "mlkit-build", "Apache-2.0")
    (image,) = found.inputs
    assert (image.name, image.color, image.mean, image.std) == ("image", ColorSpace.RGB, (0.0,), (255.0,))
    assert (image.min, image.max) == ((0.0,), (1.0,))
    assert found.outputs[0].labels == tuple((report.bundle / "labels.txt").read_text().split())
    (entry,) = [item for item in manifest(report.bundle)["outputs"] if item["path"] == "mnist.tflite"]
    digest = Digest.of_file(report.bundle / "mnist.tflite")
    assert (entry["sha256"], entry["size_bytes"]) == (digest.sha256, digest.size_bytes)


def test_manifest_and_report_say_how_right_the_file_is_in_an_app(warm_workspace: Workspace) -> None:
    report = warm_workspace.build("recipe=mnist")
    assert report.bundle is not None
    view = manifest(report.bundle)["app"]
    assert view == {
        "skipped": "", "samples": 1000, "accuracy": 0.995, "validated": 0.995, "changed": 0, "labelled": True, "silent": 0,
    }  # fmt: skip
    page = " ".join((report.bundle / "report.html").read_text().split())
    assert "Fed 1000 raw images" in page
    assert "it names the right label for 99.50% of them; validation found 99.50%. None of them have another label" in page


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset": None, "validation": None}, "the recipe has no dataset"),
        ({"labels": None}, "the recipe has no labels"),
    ],
)
def test_a_build_that_nobody_can_look_at_says_so(warm_workspace: Workspace, changes: dict[str, Any], reason: str) -> None:
    warm_workspace.copy("mnist", "mine")
    warm_workspace.edit("mine", {"name": "mine", **changes})
    report = warm_workspace.build("recipe=mine", "target=custom")
    assert report.bundle is not None, report.error
    assert manifest(report.bundle)["app"]["skipped"] == reason
    assert f"Nobody looked: {reason}." in (report.bundle / "report.html").read_text()
    assert "app" not in {result.action.name for result in report.actions}


def test_numbers_are_no_image(workspace: Workspace) -> None:
    report = workspace.build("recipe=add_one")
    assert report.bundle is not None
    assert manifest(report.bundle)["app"]["skipped"] == "the recipe has no labels"
    assert read((report.bundle / "add_one.tflite").read_bytes()).inputs[0].color is None


def test_a_model_of_pixels_in_0_to_1_is_not_published_for_an_app_that_feeds_0_to_255(
    workspace: Workspace, command: Command
) -> None:
    folder = workspace.copy("flags", "mine")
    workspace.edit("mine", {"name": "mine", "validation": {"metrics": ["top1"], "gates": {"top1": {"min": 0.95}}}})
    assert workspace.build("recipe=mine", "quantization=float32").exit_code == 0
    before = snapshot(workspace.folder / "dist")
    with np.load(folder / "data" / "flags_test.npz") as archive:
        images, labels = archive["images"][:400].astype(np.float32) / 255, archive["labels"][:400]
    np.savez(folder / "data" / "flags_test.npz", images=images, labels=labels)
    workspace.edit("mine", {"signature.inputs.image": {"mean": [0.5], "std": [0.5]}})
    code, out, err = command("recipe=mine", "quantization=float32", "ui=plain")
    assert code == 3
    assert "the packaged file names the right label for " in out + err
    assert "with mean [127.5] and std [127.5] in place of the metadata's mean [0.5] and std [0.5], it is " in out + err
    assert "an app feeds pixels in 0..255, the dataset's are in 0..1" in out + err
    assert snapshot(workspace.folder / "dist") == before


def test_a_folder_of_colour_images_is_fed_as_its_pixels_are(workspace: Workspace) -> None:
    folder = workspace.copy("flags", "mine")
    with np.load(folder / "data" / "flags_test.npz") as archive:
        images, labels = archive["images"][:80], archive["labels"][:80]
    names = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "images" / names[label] / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((96, 96)).save(place)
    dataset = {"kind": "image_folder", "path": "images", "input": "image", "label": "folder"}
    workspace.edit("mine", {"name": "mine", "dataset": dataset, "validation": {"metrics": ["top1"]}})
    report = workspace.build("recipe=mine", "quantization=float32")
    assert report.bundle is not None, report.error
    view = manifest(report.bundle)["app"]
    assert (view["samples"], view["labelled"], view["changed"]) == (80, True, 0)
    assert view["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("changes", "overrides", "shift", "named"),
    [
        (
            {"signature.inputs.image": {"mean": [0], "std": [255]}},
            ["quantization=float32"],
            0,
            "mean [127.5] and std [127.5] in ",
        ),
        # what is quantized was calibrated on the wrong range, so that the float model tells
        ({"signature.inputs.image": {"mean": [0], "std": [255]}}, ["quantization=int8"], 0, "mean [127.5] and std [127.5] in "),
        (
            {"adapters": ["softmax"]},
            ["quantization=float32"],
            0,
            "red and blue exchanged, as BGR, it names the right label for 9",
        ),
        ({}, ["quantization=float32"], 1, "the labels read one line further down it names the right label for 9"),
        ({}, ["quantization=float32", "validation.gates.top1.min=1"], 0, ""),
    ],
    ids=["mean and std", "mean and std, int8", "BGR", "labels", "nothing but the gate"],
)
def test_a_gate_that_fails_since_the_recipe_is_wrong_names_the_fault(
    workspace: Workspace, changes: dict[str, Any], overrides: list[str], shift: int, named: str
) -> None:
    folder = workspace.copy("flags", "mine")
    with np.load(folder / "data" / "flags_test.npz") as archive:
        images, labels = archive["images"], archive["labels"].astype(np.int64)
    np.savez(folder / "data" / "flags_test.npz", images=images[300:900], labels=(labels[300:900] + shift) % 193)
    workspace.edit("mine", {"name": "mine", "validation": {"metrics": ["top1"], "gates": {"top1": {"min": 0.9}}}, **changes})
    report = workspace.build("recipe=mine", *overrides)
    assert report.exit_code == 3
    assert report.error is not None
    assert report.error.message.startswith("gate failed: top1: ")
    assert "TensorFlow's model is as bad on these samples" in report.error.hint
    assert named in report.error.hint
    assert ("check that the samples are fed as in training" in report.error.hint) == (not named)
    assert [result.action.name for result in report.actions][-1] == "suspect"


def test_a_threshold_that_hides_most_labels_is_not_published_and_one_that_hides_some_is_told(warm_workspace: Workspace) -> None:
    """The highest score of an int8 softmax is 255/256, so 0.999 leaves an app without any label."""
    report = warm_workspace.build("recipe=mnist", "metadata={score_threshold: 0.999}")
    assert report.exit_code == 3
    assert report.error is not None
    assert "for 1000 of 1,000 samples no score reaches the threshold" in report.error.message
    report = warm_workspace.build("recipe=mnist", "metadata={score_threshold: 0.9}")
    assert report.bundle is not None
    silent = manifest(report.bundle)["app"]["silent"]
    assert 0 < silent < 100
    assert f"for {silent} of them its threshold lets an app have no label" in (report.bundle / "README.md").read_text()


@pytest.mark.parametrize("gates", [{}, {"top1": {"min": 0.9}}], ids=["no gate", "a gate"])
def test_a_dataset_in_0_to_1_for_a_mean_and_std_of_pixels_is_what_is_wrong(workspace: Workspace, gates: dict[str, Any]) -> None:
    """The usual pairs fit as well by chance, and were named in place of the one thing to mend."""
    folder = workspace.copy("flags", "mine")
    workspace.edit("mine", {"name": "mine", "validation": {"metrics": ["top1"], "gates": gates}})
    with np.load(folder / "data" / "flags_test.npz") as archive:
        images, labels = archive["images"][:400].astype(np.float32) / 255, archive["labels"][:400]
    np.savez(folder / "data" / "flags_test.npz", images=images, labels=labels)
    report = workspace.build("recipe=mine", "quantization=float32")
    assert report.exit_code == 3
    assert report.error is not None
    assert "the dataset's are in 0..1: multiply them by 255; mean and std apply to 0..255" in report.error.hint
    told = report.error.hint if gates else report.error.message
    assert "pixels in 0..255, as an app feeds them" in told
