"""Datasets of every kind in whole builds: from archives, for calibration, wherever they lie; and what a user gets wrong."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlkit_build.config.roots import builtin
from tests.conftest import Workspace
from tests.promises.conftest import Command

FOLDER = {"kind": "image_folder", "path": "images", "input": "image", "label": "folder"}


def digits(part: str, count: int) -> tuple[Any, Any]:
    with np.load(builtin("recipes") / "mnist" / "data" / f"mnist_{part}.npz") as archive:
        labels = archive["labels"][:count] if "labels" in archive else np.zeros(count, int)
        return archive["images"][:count], labels


def images(folder: Path, part: str = "test", count: int = 60) -> Path:
    for index, (image, label) in enumerate(zip(*digits(part, count), strict=True)):
        place = folder / str(label) / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return folder


def mnist(workspace: Workspace, name: str = "mine", **changes: Any) -> Path:
    folder = workspace.copy("mnist", name)
    workspace.edit(name, {"name": name, "validation": {"metrics": ["top1"]}, **changes})
    return folder


def test_a_folder_in_an_archive_is_a_dataset_as_the_folder_is(warm_workspace: Workspace) -> None:
    folder = mnist(warm_workspace, dataset=FOLDER)
    images(folder / "images")
    assert warm_workspace.build("recipe=mine").error is None
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for path in sorted((folder / "images").rglob("*.png")):
            archive.write(path, f"data/{path.relative_to(folder / 'images').as_posix()}")
    shutil.rmtree(folder / "images")
    warm_workspace.edit("mine", {"dataset.path": "zip://data::all.zip"})
    again = warm_workspace.build("recipe=mine")
    assert again.error is None, again.error
    assert {"reference", "evaluate"}.isdisjoint(warm_workspace.ran(again))  # the same names and contents: the same key


def test_the_place_of_the_files_is_not_in_the_key_and_their_contents_are(warm_workspace: Workspace) -> None:
    folder = mnist(warm_workspace, dataset=FOLDER)
    images(folder / "images")
    first = warm_workspace.build("recipe=mine")
    assert first.error is None, first.error
    (folder / "images").rename(folder / "moved")
    warm_workspace.edit("mine", {"dataset.path": "moved"})
    (folder / "moved" / ".DS_Store").write_text("hidden")
    assert {"reference", "evaluate"}.isdisjoint(warm_workspace.ran(warm_workspace.build("recipe=mine")))
    (folder / "moved" / "7" / "0.png").rename(folder / "moved" / "3" / "0.png")
    assert {"reference", "evaluate"} <= warm_workspace.ran(warm_workspace.build("recipe=mine"))


def test_the_recipes_labels_name_the_classes(warm_workspace: Workspace) -> None:
    found = {}
    for name, order in (("mine", range(10)), ("turned", reversed(range(10)))):
        folder = mnist(warm_workspace, name, dataset=FOLDER)
        images(folder / "images")
        (folder / "labels.txt").write_text("".join(f"{digit}\n" for digit in order))
        report = warm_workspace.build(f"recipe={name}", "quantization=float32", "calibration=null")
        assert report.metrics is not None, report.error
        found[name] = report.metrics["top1"].value
    assert found["mine"] == 1.0
    assert found["turned"] < 0.2


def test_labels_in_another_order_than_the_models_are_refused_without_any_gate(warm_workspace: Workspace) -> None:
    folder = mnist(warm_workspace, dataset=FOLDER)
    images(folder / "images", count=200)
    (folder / "labels.txt").write_text("".join(f"{digit}\n" for digit in (1, 0, 2, 3, 4, 5, 6, 7, 8, 9)))
    report = warm_workspace.build("recipe=mine", "quantization=float32", "calibration=null")
    assert (report.exit_code, report.bundle) == (2, None)
    assert report.error is not None
    assert report.error.message == (
        "labels: 2 classes are in another order than the model's outputs, as the samples show: "
        "class 0 is '0' and not '1', class 1 is '1' and not '0'"
    )


def test_what_a_folder_lacks_and_what_is_odd_in_it_is_told(warm_workspace: Workspace, command: Command) -> None:
    folder = mnist(warm_workspace, dataset=FOLDER)
    images(folder / "images", count=200)
    shutil.rmtree(folder / "images" / "3")
    (folder / "images" / "1" / "odd.tif").write_bytes(b"")
    shutil.copy(next((folder / "images" / "1").glob("*.png")), folder / "images" / "2" / "again\x1b.png")
    left = "dataset.path: 1 file is left out, since names of samples end with one of .jpg, "
    code, _, planned = command("plan", "recipe=mine", "quantization=float32", "calibration=null")
    assert code == 0, planned
    assert left in planned
    code, _, said = command("recipe=mine", "ui=plain", "quantization=float32", "calibration=null")
    assert code == 0, said
    assert left in said
    assert "dataset: no sample of class '3': nothing says how well it is recognized" in said
    assert "2/again\\x1b.png are the same file and labelled as two classes; one of the labels is wrong" in said
    assert "\x1b" not in said


def test_images_calibrate_as_arrays_do(warm_workspace: Workspace) -> None:
    folder = mnist(warm_workspace)
    images(folder / "calibration", "calibration", 100)
    ranges = []
    np.savez(folder / "some.npz", images=digits("calibration", 100)[0])
    for stated in (
        {"kind": "image_folder", "path": "calibration", "input": "image"},
        {"kind": "npz", "path": "some.npz", "features": {"image": "images"}},
    ):
        warm_workspace.edit("mine", {"calibration": stated})
        report = warm_workspace.build("recipe=mine")
        assert report.error is None, report.error
        assert report.metrics is not None
        ranges.append({name: found.value for name, found in report.metrics.items()})
    assert ranges[0]["top1"] == ranges[1]["top1"]
    assert ranges[0]["cosine"] == pytest.approx(ranges[1]["cosine"], abs=1e-6)


def test_one_image_in_two_encodings_is_one_image(warm_workspace: Workspace) -> None:
    folder = mnist(warm_workspace, dataset=FOLDER, calibration={"kind": "image_folder", "path": "calibration", "input": "image"})
    images(folder / "images")
    images(folder / "calibration", "calibration", 20)
    Image.fromarray(digits("test", 5)[0][4]).save(folder / "calibration" / "again.bmp")
    report = warm_workspace.build("recipe=mine")
    assert report.exit_code == 2
    assert "calibration: 1 of its 21 samples are also in the validation dataset" in str(report.error)


def test_noise_measures_parity(workspace: Workspace) -> None:
    random = {"kind": "random", "features": {"x": {"min": -5, "max": 5}}, "samples": 30}
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine", "dataset": random})
    report = workspace.build("recipe=mine")
    assert report.error is None, report.error
    assert report.metrics is not None
    assert report.metrics["max_abs_error"].value < 1e-6


def test_the_manifest_tells_the_folders_digest_and_no_place(warm_workspace: Workspace) -> None:
    folder = mnist(warm_workspace, dataset=FOLDER)
    images(folder / "images")
    bundle = warm_workspace.build("recipe=mine").bundle
    assert bundle is not None
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    entry = next(item for item in manifest["inputs"] if item["path"] == "images")
    assert entry["size_bytes"] == sum(path.stat().st_size for path in (folder / "images").rglob("*.png"))
    assert str(warm_workspace.folder) not in (bundle / "manifest.json").read_text()


BAD: list[tuple[dict[str, Any], str, str]] = [
    (FOLDER, "dataset.path: expected a folder at {folder}/images, found nothing", ""),
    ({**FOLDER, "path": "labels.txt"}, "dataset.path: expected a folder at {folder}/labels.txt, found a file", ""),
    (
        {**FOLDER, "table": "all.csv", "path": "data"},
        "dataset.table: expected a file at {folder}/data/all.csv, found nothing",
        "",
    ),
    (
        {**FOLDER, "label": "class"},
        "dataset.label: expected 'folder', since there is no table with columns, found 'class'",
        "table",
    ),
    ({**FOLDER, "input": "picture"}, "dataset.input: no such input 'picture'; expected one of image", ""),
    ({**FOLDER, "path": "data"}, "dataset.path: {folder}/data: expected samples, found none", "images end with .jpg"),
    (
        {"kind": "npy", "path": "data", "features": {"image": "../labels.txt"}},
        "dataset.features.image: expected a file in {folder}/data, found '../labels.txt'",
        "relative",
    ),
    (
        {"kind": "tfrecord", "path": "data", "files": "x*", "features": {"image": {"key": "i", "format": "image"}}},
        "dataset.files: no file of {folder}/data matches 'x*'",
        "",
    ),
    (
        {"kind": "tfrecord", "path": "labels.txt", "features": {"image": {"key": "i", "format": "jpeg"}}},
        "dataset.features.image.format: expected one of float, int64, image, raw, found 'jpeg'",
        "",
    ),
    (
        {"kind": "csv", "path": "labels.txt", "features": {"image": []}},
        "dataset.features.image: expected columns, found none",
        "e.g.",
    ),
    ({"kind": "random", "features": {"image": {}}}, "dataset.samples: missing, and it has no default", ""),
    (
        {"kind": "python", "function": "data.py", "features": {"image": "x"}},
        "dataset.function: expected `FILE.py:NAME`, found 'data.py'",
        "data.py:samples",
    ),
    (
        {"kind": "python", "function": "data.py:samples", "features": {"image": "x"}},
        "dataset.function: expected a Python file at {folder}/data.py",
        "",
    ),
    ({**FOLDER, "on_error": "ignore"}, "dataset.on_error: expected one of fail, skip, found 'ignore'", ""),
    (
        {"kind": "python", "function": "data.py:samples", "features": {"image": "x"}, "timeout_s": 0},
        "dataset.timeout_s: expected seconds above 0, found 0",
        "",
    ),
    ({**FOLDER, "path": "https://example.org/a.zip"}, "dataset.sha256: missing", "sha256sum"),
]


@pytest.mark.parametrize(("stated", "message", "hint"), BAD)
def test_a_dataset_that_cannot_be_is_refused_in_words(
    workspace: Workspace, command: Command, stated: dict[str, Any], message: str, hint: str
) -> None:
    folder = mnist(workspace, dataset=stated)
    code, out, err = command("recipe=mine", "validation.metrics=[]", "quantization=float32")
    assert code == 2, err
    assert message.format(folder=folder) in err
    assert hint in err
    assert "Traceback" not in out + err


def test_a_damaged_image_is_named_on_the_command_line(warm_workspace: Workspace, command: Command) -> None:
    folder = mnist(warm_workspace, dataset=FOLDER)
    images(folder / "images")
    (folder / "images" / "7" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    code, out, err = command("recipe=mine")
    assert code == 2
    assert f"dataset.path: {folder}/images: 7/0.png: the image cannot be decoded" in err
    assert "Traceback" not in out + err


def test_damaged_images_are_left_out_where_the_recipe_says_so_and_named(
    warm_workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mnist(warm_workspace, dataset={**FOLDER, "on_error": "skip"})
    images(folder / "images")
    images(folder / "calibration", "calibration", 30)
    for name in ("images/7/0.png", "images/2/1.png", "calibration/0/x.png"):
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    stated = {"kind": "image_folder", "path": "calibration", "input": "image", "on_error": "skip"}
    warm_workspace.edit("mine", {"calibration": stated})
    report = warm_workspace.build("recipe=mine")
    assert report.error is None, report.error
    assert report.bundle is not None
    manifest = json.loads((report.bundle / "manifest.json").read_bytes())
    assert manifest["skipped"] == ["2/1.png", "7/0.png"]
    assert manifest["quantization"]["warning"].startswith(
        "calibration: 1 of 31 samples cannot be decoded and are left out: 0/x.png"
    )
    said = "dataset: 2 of 60 samples cannot be decoded and are left out: 2/1.png, 7/0.png"
    assert said[1:] in (report.bundle / "report.html").read_text()
    assert said in capsys.readouterr().err
    for name in ("7/0.png", "2/1.png"):
        (folder / "images" / name).unlink()
    without = warm_workspace.build("recipe=mine")
    assert without.metrics == report.metrics


def test_a_folder_of_nothing_but_damaged_images_is_refused(warm_workspace: Workspace) -> None:
    folder = mnist(warm_workspace, dataset={**FOLDER, "on_error": "skip"})
    (folder / "images" / "1").mkdir(parents=True)
    (folder / "images" / "1" / "a.png").write_bytes(b"nothing")
    report = warm_workspace.build("recipe=mine", "quantization=float32", "validation.gates={}")
    assert "1/a.png: the image cannot be decoded" in str(report.error)


@pytest.mark.parametrize("where", ["dataset", "metric"])
def test_code_that_hangs_is_ended_after_its_time(workspace: Workspace, where: str) -> None:
    folder = workspace.copy("add_one", "mine")
    (folder / "data.py").write_text("def samples(end):\n    yield {'x': 1.0}\n    while not end:\n        pass\n")
    (folder / "metric.py").write_text("def build():\n    while True:\n        pass\n")
    stated = {"kind": "python", "function": "data.py:samples", "features": {"x": "x"}, "arguments": {"end": where != "dataset"}}
    limit = {"timeout_s": 4}
    metrics = [{"python": {"function": "metric.py:build", "timeout_s": 5}}] if where == "metric" else []
    workspace.edit("mine", {"name": "mine", "dataset": {**stated, **limit}, "validation": {"metrics": metrics}})
    report = workspace.build("recipe=mine")
    assert report.exit_code == 2
    expected = {
        "dataset": "dataset.timeout_s: reference was not done after 4 s and was ended",
        "metric": "validation.metrics[0].python.timeout_s: evaluate was not done after 5 s and was ended",
    }
    assert expected[where] in str(report.error)


def test_how_long_code_may_take_is_not_in_the_key(workspace: Workspace) -> None:
    folder = workspace.copy("add_one", "mine")
    (folder / "data.py").write_text("def samples():\n    yield {'x': 1.0}\n")
    stated = {"kind": "python", "function": "data.py:samples", "features": {"x": "x"}}
    workspace.edit("mine", {"name": "mine", "dataset": stated})
    assert workspace.build("recipe=mine").error is None
    assert workspace.ran(workspace.build("recipe=mine", "dataset.timeout_s=99")) == set()
