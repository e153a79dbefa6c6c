"""The Task Library itself, which ML Kit runs, on what the project packages: it loads every file and sees what the build saw.

It is tflite-support 0.4.4 in an environment of its own, whose Python `MLKIT_BUILD_ORACLE` names.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlkit_build.config.roots import builtin
from mlkit_build.mlkit.contract import ERROR, lint
from mlkit_build.mlkit.labels import read_labels
from mlkit_build.mlkit.metadata import ColorSpace, Tensor, attach, attach_tables, read
from mlkit_build.mlkit.score_calibration import calibrated
from mlkit_build.mlkit.tables import tables_of
from tests.conftest import Workspace
from tests.mlkit.contract.cases import CASES, CRASHES, LOADS, REFUSES
from tests.mlkit.test_labels import ODD

CLIENT = """
import json, sys
import numpy as np
from tflite_support import metadata
from tflite_support.task import core, vision

model, images, answer, locale = sys.argv[1:]
found = {"refused": "", "labels": [], "display": [], "scores": []}
try:
    options = vision.ImageClassifierOptions(core.BaseOptions(file_name=model))
    options.classification_options.display_names_locale = locale or None
    classifier = vision.ImageClassifier.create_from_options(options)
except (RuntimeError, ValueError) as error:
    found["refused"] = str(error)
else:
    found["metadata"] = json.loads(metadata.MetadataDisplayer.with_model_file(model).get_metadata_json())
    for image in np.load(images):
        shown = classifier.classify(vision.TensorImage.create_from_array(image)).classifications[0].categories[:1]
        found["labels"].append(shown[0].category_name if shown else "")
        found["display"].append(shown[0].display_name if shown else "")
        found["scores"].append(shown[0].score if shown else 0)
json.dump(found, open(answer, "w"))
"""

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def python() -> str:
    """Return the Python that has the Task Library, or skip the test."""
    found = os.environ.get("MLKIT_BUILD_ORACLE")
    if not found:
        pytest.skip("no Task Library: set MLKIT_BUILD_ORACLE to the python of an environment with tflite-support==0.4.4 numpy<2")
    return found


@pytest.fixture
def ask(tmp_path: Path, python: str) -> Ask:
    """Return what the Task Library makes of a model and images `[n, height, width, 3]` uint8."""

    def run(model: Path, images: Any, locale: str = "") -> dict[str, Any]:
        np.save(tmp_path / "images.npy", np.ascontiguousarray(images))
        command = [python, "-c", CLIENT, str(model), str(tmp_path / "images.npy"), str(tmp_path / "answer.json"), locale]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        found: dict[str, Any] = json.loads((tmp_path / "answer.json").read_bytes())
        return found

    return run


LOADING = """
import json, sys
from tflite_support.task import vision

for model in sys.argv[1:]:
    try:
        classifier = vision.ImageClassifier.create_from_file(model)
        classifier.classify(vision.TensorImage.create_from_file(model.rpartition("/")[0] + "/image.png"))
        said = ""
    except (RuntimeError, ValueError) as error:
        said = str(error)
    print(json.dumps({"model": model, "said": said}), flush=True)
"""
"""A line for each model: what the Task Library says of it; nothing of one that it loads and runs."""


@pytest.fixture
def loading(tmp_path: Path, python: str) -> Callable[..., tuple[dict[str, str], str]]:
    """Return model -> what the Task Library says of it, as far as it came, and what else it logged."""
    Image.new("RGB", (2, 2), (200, 100, 0)).save(tmp_path / "image.png")

    def run(*models: Path) -> tuple[dict[str, str], str]:
        ran = subprocess.run([python, "-c", LOADING, *map(str, models)], capture_output=True, text=True, timeout=120)
        lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        return {Path(line["model"]).stem: line["said"] for line in lines}, ran.stderr

    return run


def test_lint_and_the_task_library_agree_on_every_rule(
    tmp_path: Path, loading: Callable[..., tuple[dict[str, str], str]]
) -> None:
    """Each rule is broken by files of its own. Only where it logs a sentence in passing, or crashes, is it asked of one alone."""
    paths = {name: tmp_path / f"{index}.tflite" for index, name in enumerate(CASES)}
    for name, path in paths.items():
        path.write_bytes(CASES[name].make())
    together, _ = loading(*(paths[name] for name, case in CASES.items() if case.oracle in (LOADS, REFUSES)))
    for name, case in CASES.items():
        found = lint(paths[name].read_bytes(), "image_labeling")
        errors = [each for each in found if each.rule.severity == ERROR]
        if case.oracle == LOADS:
            assert together[paths[name].stem] == "", name
            assert all(each.rule.stricter for each in errors), name
        elif case.oracle == REFUSES:
            said = together[paths[name].stem]
            assert said, name
            (says,) = {each.says for each in errors}
            if says and says not in said:
                said += loading(paths[name])[1]
            assert says in said, name
        elif case.oracle == CRASHES:
            assert errors, name
            assert loading(paths[name])[0] == {}, name


OPTIONS = [("float32", "float32"), ("float16", "float32"), ("int8", "float32"), ("int8", "uint8")]


@pytest.mark.parametrize("recipe", ["mnist", "flags"])
def test_the_task_library_is_as_right_as_the_build_says(workspace: Workspace, ask: Ask, recipe: str) -> None:
    folder = builtin("recipes") / recipe
    labels = read_labels(folder / "labels.txt")
    with np.load(folder / "data" / f"{recipe}_test.npz") as archive:
        images, classes = archive["images"], archive["labels"]
    if images.shape[-1] != 3:
        images = np.repeat(images.reshape(*images.shape[:3], 1), 3, axis=-1)
    for mode, io in OPTIONS:
        report = workspace.build(f"recipe={recipe}", f"quantization={mode}", f"quantization.io={io}")
        assert report.bundle is not None, report.error
        viewed = json.loads((report.bundle / "manifest.json").read_bytes())["app"]
        found = ask(report.bundle / f"{recipe}.tflite", images[: viewed["samples"]])
        assert found["refused"] == ""
        right = np.mean([told == labels[index] for told, index in zip(found["labels"], classes, strict=False)])
        assert right == pytest.approx(viewed["accuracy"], abs=0.001 + 1e-9), (mode, io)
        assert found["metadata"]["name"] == recipe
        assert found["metadata"]["min_parser_version"] == "1.0.0"


def test_a_float_model_is_refused_until_the_metadata_are_attached(
    shared_model: Callable[[str], Path], ask: Ask, tmp_path: Path
) -> None:
    plain = shared_model("tflite/mobilenet_v1_0.25_224_1_default_1.tflite")
    theirs = shared_model("tflite/mobilenet_v1_0.25_224_1_metadata_1.tflite")
    images = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    assert "it requires specifying NormalizationOptions metadata" in ask(plain, images)["refused"]
    (tmp_path / "ours.tflite").write_bytes(attach(plain.read_bytes(), read(theirs.read_bytes())))
    ours = ask(tmp_path / "ours.tflite", images)
    assert ours["labels"] == ask(theirs, images)["labels"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": (), "std": ()}, "it requires specifying NormalizationOptions metadata"),
        ({"mean": (1.0,) * 2, "std": (1.0,) * 2}, "only 1 or 3 mean and std values are supported, got 2"),
        ({"color": ColorSpace.GRAYSCALE}, "Only RGB color space is supported for now."),
        ({"labels": ("one",)}, "Got 1001 class(es) for output index 0, expected 1 according to the label map."),
    ],
)
def test_the_task_library_reads_each_field_where_it_is_written(
    shared_model: Callable[[str], Path], ask: Ask, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    data = shared_model("tflite/mobilenet_v1_0.25_224_1_metadata_1.tflite").read_bytes()
    found = read(data)
    (end,) = found.outputs if "labels" in change else found.inputs
    changed: tuple[Tensor, ...] = (replace(end, **change),)
    said = replace(found, outputs=changed) if "labels" in change else replace(found, inputs=changed)
    (tmp_path / "model.tflite").write_bytes(attach(data, said))
    assert words in ask(tmp_path / "model.tflite", np.zeros((0, 224, 224, 3), np.uint8))["refused"]


@pytest.fixture
def plain(shared_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """The MobileNet without metadata, and beside it `labels.txt`: a name for each of its classes."""
    (tmp_path / "labels.txt").write_text("".join(f"class {index}\n" for index in range(1001)))
    return shared_model("tflite/mobilenet_v1_0.25_224_1_default_1.tflite")


def scores_of(model: Path, images: Any) -> Any:
    """Return what an interpreter gives: `[n, 1001]` float32."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model))
    interpreter.allocate_tensors()
    found = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], (image[np.newaxis] - np.float32(127.5)) / 127.5)
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(found)


IMAGES = np.random.default_rng(3).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)


def test_the_verb_makes_the_task_library_accept_the_plain_file(
    workspace: Workspace, ask: Ask, plain: Path, tmp_path: Path
) -> None:
    assert "it requires specifying NormalizationOptions metadata" in ask(plain, IMAGES)["refused"]
    said = (
        "--mean",
        "127.5",
        "--std",
        "127.5",
        "--labels",
        str(tmp_path / "labels.txt"),
        "--name",
        "MobileNet",
        "--author",
        "me",
    )
    told = workspace.cli("metadata", str(plain), "--output", "ours.tflite", *said)
    assert (told.returncode, told.stderr) == (0, "")
    found = ask(workspace.folder / "ours.tflite", IMAGES)
    assert found["refused"] == ""
    assert found["labels"] == [f"class {index}" for index in scores_of(plain, IMAGES).argmax(axis=1)]
    assert (found["metadata"]["name"], found["metadata"]["author"]) == ("MobileNet", "me")


@pytest.mark.parametrize("transformation", ["identity", "log", "inverse_logistic"])
def test_scores_are_calibrated_as_the_task_library_does(
    workspace: Workspace, ask: Ask, plain: Path, tmp_path: Path, transformation: str
) -> None:
    chance = np.random.default_rng(5)
    rows = ["" if index % 7 == 0 else ",".join(f"{value:.6f}" for value in chance.uniform(0.1, 1, 3)) for index in range(1001)]
    (tmp_path / "c.csv").write_text("\n".join(row + (",0.001" if row and index % 2 else "") for index, row in enumerate(rows)))
    said = ("--mean", "127.5", "--std", "127.5", "--labels", str(tmp_path / "labels.txt"), "--default-score", "0.25")
    calibration = ("--score-calibration", str(tmp_path / "c.csv"), "--score-transformation", transformation)
    assert workspace.cli("metadata", str(plain), "--output", "ours.tflite", *said, *calibration).returncode == 0
    stated = read((workspace.folder / "ours.tflite").read_bytes()).outputs[0].score_calibration
    assert stated is not None
    expected, found = calibrated(scores_of(plain, IMAGES), stated), ask(workspace.folder / "ours.tflite", IMAGES)
    assert found["refused"] == ""
    assert found["scores"] == pytest.approx(expected.max(axis=1).tolist(), rel=1e-3)
    assert found["labels"] == [f"class {index}" for index in expected.argmax(axis=1)]


def test_nothing_is_shown_below_the_threshold(workspace: Workspace, ask: Ask, plain: Path, tmp_path: Path) -> None:
    scores = np.sort(scores_of(plain, IMAGES).max(axis=1))
    threshold = float(scores[0] + scores[1]) / 2
    said = ("--mean", "127.5", "--std", "127.5", "--labels", str(tmp_path / "labels.txt"), "--score-threshold", str(threshold))
    assert workspace.cli("metadata", str(plain), "--output", "ours.tflite", *said).returncode == 0
    found = ask(workspace.folder / "ours.tflite", IMAGES)
    assert sorted(bool(label) for label in found["labels"]) == [False, True, True]


def test_labels_are_shown_in_the_language_that_the_app_asks_for(
    workspace: Workspace, ask: Ask, plain: Path, tmp_path: Path
) -> None:
    (tmp_path / "de.txt").write_text("".join(f"Klasse {index}\n" for index in range(1001)))
    said = (
        "--mean",
        "127.5",
        "--std",
        "127.5",
        "--labels",
        str(tmp_path / "labels.txt"),
        "--locale",
        f"de={tmp_path / 'de.txt'}",
    )
    assert workspace.cli("metadata", str(plain), "--output", "ours.tflite", *said).returncode == 0
    best = scores_of(plain, IMAGES).argmax(axis=1)
    found = ask(workspace.folder / "ours.tflite", IMAGES, "de")
    assert (found["refused"], found["labels"]) == ("", [f"class {index}" for index in best])
    assert found["display"] == [f"Klasse {index}" for index in best]


def test_the_first_labels_count_whatever_their_language(shared_model: Callable[[str], Path], ask: Ask, tmp_path: Path) -> None:
    data = shared_model("tflite/mobilenet_v1_0.25_224_1_metadata_1.tflite").read_bytes()
    found = read(data)
    ours, theirs = (tuple(f"{name} {index}" for index in range(1001)) for name in ("class", "Klasse"))
    tables, files = tables_of(replace(found, outputs=(replace(found.outputs[0], labels=ours, locales={"de": theirs}),)))
    graph = tables.subgraph_metadata[0]
    (scores,) = graph.output_tensor_metadata
    turned = replace(scores, associated_files=scores.associated_files[::-1])
    tables = replace(tables, subgraph_metadata=(replace(graph, output_tensor_metadata=(turned,)),))
    (tmp_path / "model.tflite").write_bytes(attach_tables(data, tables, files))
    assert all(label.startswith("Klasse ") for label in ask(tmp_path / "model.tflite", IMAGES)["labels"])
    assert read((tmp_path / "model.tflite").read_bytes()).outputs[0].labels == theirs


def test_odd_labels_are_shown_as_they_are(workspace: Workspace, ask: Ask, plain: Path, tmp_path: Path) -> None:
    labels = [f"{index} {ODD[index % len(ODD)][:9000]}" for index in range(1001)]
    (tmp_path / "labels.txt").write_text("\n".join(labels), encoding="utf-8")
    said = ("--mean", "127.5", "--std", "127.5", "--labels", str(tmp_path / "labels.txt"))
    assert workspace.cli("metadata", str(plain), "--output", "ours.tflite", *said).returncode == 0
    found = ask(workspace.folder / "ours.tflite", IMAGES)
    assert found["labels"] == [labels[index] for index in scores_of(plain, IMAGES).argmax(axis=1)]
