"""Models that others trained and published, built as a user would: recipes, samples, and what is asked of every build.

They are not part of the project: a test that finds no such folder skips and says so. The README of the folder has their
sources, their licences and their authors' results; the comments of the tests quote it as "the row".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.config.roots import builtin
from mlkit_build.job import JobReport
from tests.conftest import Workspace

Find = Callable[[str], Path]
Array = NDArray[Any]

PARITY = 1e-5
"""How far a float32 model may be from TensorFlow."""


@dataclass(frozen=True)
class Both:
    """One recipe, built as float32 and as int8."""

    float32: JobReport
    int8: JobReport


def build_both(workspace: Workspace, name: str, recipe: Mapping[str, Any], calibrated_on: int | None = None) -> Both:
    """Build a recipe as float32 and as int8. Both pass, and the int8 model computes with integers only.

    Args:
        calibrated_on: How many calibration samples to use; all when None.
    """
    workspace.write(name, recipe)
    fewer = [f"calibration.samples={calibrated_on}"] if calibrated_on else []
    reports = Both(workspace.build(f"recipe={name}"), workspace.build(f"recipe={name}", "quantization=int8", *fewer))
    for report in (reports.float32, reports.int8):
        assert report.exit_code == 0, report.error
    assert reports.int8.bundle is not None
    truth = json.loads((reports.int8.bundle / "manifest.json").read_bytes())["quantization"]
    assert truth["float_operators"] == 0
    assert truth["integer_operators"] > 0
    return reports


def value(report: JobReport, name: str) -> float:
    assert report.metrics is not None
    return report.metrics[name].value


def reference(report: JobReport, name: str) -> float | None:
    """Return TensorFlow's value on the same samples."""
    assert report.metrics is not None
    return report.metrics[name].reference


def model_of(report: JobReport) -> Path:
    assert report.bundle is not None
    return report.bundle / f"{report.recipe}.tflite"


def outputs(path: Path, samples: Array) -> Array:
    """Return the first output for each sample, as real values, whatever types the file has and whoever made it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for sample in samples:
        scale, zero_point = source["quantization"]
        fed = np.clip(np.rint(sample / scale) + zero_point, -128, 127) if scale else sample
        interpreter.set_tensor(source["index"], fed.astype(source["dtype"]).reshape(source["shape"]))
        interpreter.invoke()
        result = interpreter.get_tensor(target["index"])
        scale, zero_point = target["quantization"]
        found.append((result.astype(np.float32) - zero_point) * scale if scale else np.array(result))
    return np.stack(found)


def named(inputs: Mapping[str, Mapping[str, Any]], output: str, constants: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the recipe's signature, with one output `y`."""
    return {"inputs": inputs, "outputs": {"y": {"tensor": output}}, **({"constants": constants} if constants else {})}


def samples(folder: Path, feature: str, measured: Array, calibration: Array, labels: Array | None = None) -> dict[str, Any]:
    """Write the samples beside the recipe; return the recipe's dataset, calibration, and metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "dataset.npz", x=measured, **({} if labels is None else {"labels": labels}))
    np.savez(folder / "calibration.npz", x=calibration)
    stated: dict[str, Any] = {
        part: {"kind": "npz", "path": f"{part}.npz", "features": {feature: "x"}} for part in ("dataset", "calibration")
    }
    if labels is not None:
        stated["dataset"]["label"] = "labels"
        stated["validation"] = {"metrics": ["top1"]}
    return stated


def classifying(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the samples of a recipe that says by a gate that its output has class scores, for want of labels."""
    return {**stated, "validation": {"gates": {"top1_agreement": {"min": 0}}}}


def mnist(folder: Path, feature: str, shape: tuple[int, ...], count: int | None = None, labelled: bool = True) -> dict[str, Any]:
    """Return samples of MNIST as pixels: the first `count` test images, and 200 training images to calibrate on."""
    archives = builtin("recipes") / "mnist" / "data"
    with np.load(archives / "mnist_test.npz") as test, np.load(archives / "mnist_calibration.npz") as train:
        images, labels, others = test["images"][:count], test["labels"][:count], train["images"]
    return samples(folder, feature, images.reshape(-1, *shape), others.reshape(-1, *shape), labels if labelled else None)


def road_signs(find: Find, first: int, count: int, times: int = 1) -> Array:
    """Return photographs of road signs, [count, 32 * times, 32 * times, 3] in 0..255: what the folder has of real pictures."""
    with np.load(find("tf1_checkpoint/gtsrb_lenet/gtsrb_test_2000.npz")) as data:
        pictures: Array = data["images"][first : first + count].astype(np.float32)
    return pictures.repeat(times, 1).repeat(times, 2)


def uniform(shape: tuple[int, ...], low: float, high: float, count: int = 8, seed: int = 0) -> Array:
    """Return values that are as likely anywhere in the range, for a model of which nothing real is at hand."""
    return np.random.default_rng(seed).uniform(low, high, (count, *shape)).astype(np.float32)
