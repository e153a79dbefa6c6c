"""The packaged file as the app sees it: what is right passes, and each planted fault is caught and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.config.roots import builtin
from mlkit_build.errors import GateError, StageError
from mlkit_build.mlkit.app_model import AppModel
from mlkit_build.mlkit.metadata import ColorSpace, Metadata, attach, read
from mlkit_build.plain import to_plain
from mlkit_build.recipe import Input, Npz
from mlkit_build.stages.app import app
from mlkit_build.stages.params import AppParams
from mlkit_build.stages.suspects import suspects_of
from tests.conftest import Workspace

FLAGS = builtin("recipes") / "flags"
SPEC = Npz(path="", features={"image": "images"}, label="labels")
STATED = {"image": Input(mean=(127.5,), std=(127.5,))}
SAMPLES = 400


@dataclass(frozen=True)
class Flags:
    """The flags recipe, packaged: a float model, one with uint8 pixels, and the float one without the adapter for BGR.

    Attributes:
        predictions: What the float model predicts.
    """

    dataset: Path
    floating: Path
    uint8: Path
    bgr: Path
    predictions: Any


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory, pool: Any) -> Any:
    folder = tmp_path_factory.mktemp("flags")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLKIT_BUILD_CACHE", str(folder / "cache"))
        workspace = Workspace(folder, folder / "cache", pool)
        unmeasured = ["dataset=null", "validation={}", "recipe=flags"]

        def packaged(name: str, *overrides: str) -> Path:
            report = workspace.build(*unmeasured, f"output_dir={name}", *overrides)
            assert report.bundle is not None, report.error
            return folder / report.bundle / "flags.tflite"

        floating = packaged("float", "quantization=float32")
        uint8 = packaged("uint8", "quantization=int8", "quantization.io=uint8")
        bgr = packaged("bgr", "quantization=float32", "adapters=[softmax]")
    with np.load(FLAGS / "data" / "flags_test.npz") as archive:
        images, labels = archive["images"][:SAMPLES], archive["labels"][:SAMPLES]
    np.savez(folder / "flags.npz", images=images, labels=labels)
    return Flags(folder / "flags.npz", floating, uint8, bgr, AppModel(floating).classes(images)[0])


@pytest.fixture
def view(flags: Flags, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the action on a packaged file, changed or not; return what it wrote."""

    def run(
        model: Path = flags.floating,
        change: Callable[[Metadata], Metadata] | None = None,
        *,
        dataset: Path = flags.dataset,
        spec: Npz = SPEC,
        predictions: Any = flags.predictions,
    ) -> dict[str, Any]:
        data = model.read_bytes()
        (tmp_path / "model.tflite").write_bytes(attach(data, change(read(data))) if change else data)
        np.save(tmp_path / "predictions.npy", np.asarray(predictions, np.int32))
        inputs = {name: tmp_path / name for name in ("model.tflite", "predictions.npy")}
        app(to_plain(AppParams(spec, STATED)), {**inputs, "dataset": dataset, "labels": FLAGS / "labels.txt"}, tmp_path)
        found: dict[str, Any] = json.loads((tmp_path / "app.json").read_bytes())
        return found

    return run


def with_input(**changes: Any) -> Callable[[Metadata], Metadata]:
    return lambda found: replace(found, inputs=(replace(found.inputs[0], **changes),))


def with_labels(order: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Callable[[Metadata], Metadata]:
    return lambda found: replace(found, outputs=(replace(found.outputs[0], labels=order(found.outputs[0].labels)),))


def test_the_file_as_it_was_packaged_is_as_right_as_validation_found(view: Any) -> None:
    found = view()
    assert found["accuracy"] == found["validated"] > 0.9
    assert found == {**found, "skipped": "", "samples": SAMPLES, "changed": 0, "labelled": True}


def test_a_uint8_file_is_fed_the_pixels_themselves(flags: Flags, view: Any) -> None:
    found = view(flags.uint8)
    assert abs(found["accuracy"] - found["validated"]) <= 0.005
    assert view(flags.uint8, with_input(mean=(0.0,), std=(1.0,))) == found  # as the Task Library, which then ignores them


@pytest.mark.parametrize(
    ("mean", "std"), [((0.0,), (255.0,)), ((0.0,), (1.0,)), ((103.5,), (57.4,)), ((127.5,) * 3, (1.0, 1.0, 1.0)), ((), ())]
)
def test_a_wrong_mean_or_std_is_caught_and_named(view: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(GateError) as caught:
        view(change=with_input(mean=mean, std=std))
    assert "with mean [127.5] and std [127.5] in place of the metadata's mean [" in caught.value.message
    assert "NormalizationOptions" in caught.value.hint


def test_a_mean_or_a_std_that_is_wrong_by_itself_is_tried(flags: Flags, tmp_path: Path) -> None:
    data = flags.floating.read_bytes()
    (tmp_path / "model.tflite").write_bytes(attach(data, with_input(mean=(0.0,), std=(70.0,))(read(data))))
    model = AppModel(tmp_path / "model.tflite")
    tried = [way.normalization for way in suspects_of({}, model, in_unit=False)]
    assert ((127.5,), (70.0,)) in tried
    assert ((0.0,), (127.5,)) in tried
    assert model.normalization not in tried


def test_a_usual_mean_and_std_is_found_where_the_recipe_is_as_wrong_as_the_file(view: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(STATED, "image", Input(mean=(0.0,), std=(255.0,)))
    with pytest.raises(GateError, match=r"with mean \[127.5\] and std \[127.5\] in place of the metadata's mean \[0\]"):
        view(change=with_input(mean=(0.0,), std=(255.0,)))


def test_a_model_that_wants_bgr_is_caught_and_named(flags: Flags, view: Any) -> None:
    with pytest.raises(GateError, match=r"with red and blue exchanged, as BGR, it is (9.|100)\.") as caught:
        view(flags.bgr)
    assert "bgr_to_rgb" in caught.value.hint


@pytest.mark.parametrize(
    ("shift", "told", "fault"),
    [(1, "one line further down", "begin with a class too many"), (-1, "one line further up", "lack the first class")],
)
def test_labels_shifted_by_one_are_caught_and_named(view: Any, shift: int, told: str, fault: str) -> None:
    with pytest.raises(GateError, match=rf"names the right label for 0\.\d\d% .* labels read {told} it is (9.|100)\.") as caught:
        view(change=with_labels(lambda labels: labels[-shift:] + labels[:-shift]))
    assert fault in caught.value.hint


def test_a_fault_that_is_none_of_the_usual_is_said_to_be_none(view: Any) -> None:
    with pytest.raises(GateError, match="no shift of the labels restores it"):
        view(change=with_labels(lambda labels: tuple(reversed(labels))))


def test_samples_in_0_to_1_are_not_what_an_app_feeds(flags: Flags, view: Any, tmp_path: Path) -> None:
    with np.load(flags.dataset) as archive:
        np.savez(tmp_path / "unit.npz", images=archive["images"].astype(np.float32) / 255, labels=archive["labels"])
    with pytest.raises(GateError, match=r"with mean \[127.5\] and std \[127.5\] in place of .* mean \[0.5\]") as caught:
        view(change=with_input(mean=(0.5,), std=(0.5,)), dataset=tmp_path / "unit.npz")
    assert "the dataset's are in 0..1: multiply them by 255" in caught.value.hint


def test_without_labels_in_the_dataset_what_validation_found_is_the_truth(view: Any) -> None:
    spec = replace(SPEC, label=None)
    found = view(spec=spec)
    assert (found["labelled"], found["accuracy"], found["validated"]) == (False, 1, 1)
    with pytest.raises(GateError, match="names the label that validation found"):
        view(change=with_labels(lambda labels: labels[1:] + labels[:1]), spec=spec)


def test_of_several_labels_each_a_batch_with_one_each_is_no_sign_of_classes(flags: Flags, view: Any, tmp_path: Path) -> None:
    with np.load(flags.dataset) as archive:
        images, several = archive["images"], np.eye(193, dtype=np.uint8)[archive["labels"]]
    np.savez(tmp_path / "one.npz", images=images, labels=several)
    assert view(dataset=tmp_path / "one.npz")["labelled"] is True
    several[:10] = 1
    np.savez(tmp_path / "several.npz", images=images, labels=several)
    assert view(dataset=tmp_path / "several.npz")["labelled"] is False


def test_one_class_of_another_name_is_caught(view: Any) -> None:
    with pytest.raises(GateError, match=r"label for 97\.75% of 400 samples, where validation found 99\.75%; no usual mean"):
        view(change=with_labels(lambda labels: ("nowhere", *labels[1:])))


def test_a_file_that_is_fed_no_image_is_not_looked_at(view: Any) -> None:
    assert view(change=with_input(color=None))["skipped"] == "the input 'image' is no image"
    assert view(change=with_labels(lambda _: ()))["skipped"] == "no output of the model has labels"


def test_a_model_of_grey_images_is_fed_as_its_file_says(view: Any) -> None:
    assert view(change=with_input(color=ColorSpace.GRAYSCALE))["changed"] == 0


def test_predictions_of_another_dataset_are_refused(flags: Flags, view: Any) -> None:
    with pytest.raises(StageError, match="validation saw 399 samples, the dataset has 400"):
        view(predictions=flags.predictions[:-1])
