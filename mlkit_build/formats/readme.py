"""`README.md`: the bundle for who builds the app. What the model is, how good it was measured to be, where it must not be used,
and the lines that run it.

APIs: https://developers.google.com/ml-kit/vision/image-labeling/custom-models and .../object-detection/custom-models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlkit_build.formats import Plan
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Input, Recipe
from mlkit_build.recipe.naming import AndroidNames, android_names, swift_module
from mlkit_build.records import dataclass

FILE = "README.md"
SHOWN_LABELS = 30
_TOP = 3
"""How many labels the lines for the app ask for: enough to see that they make sense."""
_MADE_FOR = {
    "image_labeling": "ML Kit custom image labeling",
    "object_detection": "ML Kit custom object detection, where it names the objects that ML Kit finds",
    "custom": "a LiteRT interpreter",
}
_ANDROID = {
    "image_labeling": ("com.google.mlkit:image-labeling-custom:17.0.3",),
    "object_detection": ("com.google.mlkit:object-detection-custom:17.0.2",),
    "custom": ("com.google.ai.edge.litert:litert:1.4.2",),
}
_PODS = {
    "image_labeling": ("GoogleMLKit/ImageLabelingCustom",),
    "object_detection": ("GoogleMLKit/ObjectDetectionCustom",),
    "custom": ("TensorFlowLiteSwift",),
}
_SCORES = ("softmax", "sigmoid")
"""Adapters that make scores of logits."""
_FLEX_ANDROID = ("org.tensorflow:tensorflow-lite:2.16.1", "org.tensorflow:tensorflow-lite-select-tf-ops:2.16.1")
"""In place of LiteRT's own, whose classes these have too."""
_FLEX_PODS = ("TensorFlowLiteSwift", "TensorFlowLiteSelectTfOps")


@dataclass(frozen=True)
class ReadmeParams:
    """What decides the page, besides the model, its metrics and its labels.

    Attributes:
        name: The recipe's name, and so on.
        inputs: Name -> mean and std.
        scored: Output -> the adapter that makes its scores of the model's logits; the only output is called "" where the adapter
            names none.
        formats: What else is made.
        android: What Android's tools call the model.
        delivery: When Google Play brings the AI pack.
        module: What Swift calls it.
        podspec: Whether there is one.
        runtimes: The other versions of the interpreter that compute the same, as `tflite_runtime 2.14`.
        flex: Whether it may need TensorFlow's own operators.
        threshold: The least score that the file tells ML Kit to return; None where it states none.
    """

    name: str
    version: str
    variant: str
    description: str
    author: str
    license: str
    task: str
    mode: str
    io: str
    inputs: Mapping[str, Input]
    scored: Mapping[str, str]
    formats: tuple[str, ...]
    android: AndroidNames
    delivery: str
    module: str
    podspec: bool
    runtimes: tuple[str, ...] = ()
    flex: bool = False
    threshold: float | None = None


def plan(recipe: Recipe, runtimes: Sequence[str] = ()) -> Plan:
    """Return what the page is made of.

    Args:
        runtimes: The other versions of the interpreter that compute the same.
    """
    params = ReadmeParams(
        name=recipe.name,
        version=recipe.version,
        variant=recipe.variant_name,
        description=recipe.description,
        author=recipe.author,
        license=recipe.license,
        task=recipe.target.task,
        mode=recipe.quantization.mode,
        io=recipe.quantization.io,
        inputs={name: Input(mean=spec.mean, std=spec.std) for name, spec in recipe.signature.inputs.items()},
        scored={spec.options.get("output") or "": spec.name for spec in recipe.adapters if spec.name in _SCORES},
        formats=recipe.package.formats,
        android=android_names(recipe),
        delivery=recipe.package.android.delivery,
        module=swift_module(recipe),
        podspec=recipe.package.ios.podspec,
        runtimes=tuple(runtimes),
        flex=recipe.convert.allow_select_ops,
        threshold=recipe.metadata.score_threshold,
    )
    return Plan(params, (FILE,), reads_signature=True)


def write(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `README.md`."""
    from mlkit_build.formats.escaping import Verbatim, markdown
    from mlkit_build.formats.limits import Found, limits, stated_runtime
    from mlkit_build.formats.rendering import render
    from mlkit_build.metrics import Measurement
    from mlkit_build.mlkit.app_view import AppView
    from mlkit_build.report import summary
    from mlkit_build.signature import SIGNATURE_KEY, FrozenSignature
    from mlkit_build.tflite import FLEX

    request = from_plain(ReadmeParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    labels = _labels(inputs.get("labels.txt"))
    model = inputs["model.tflite"]
    metrics = {name: from_plain(Measurement, value) for name, value in _read(inputs["metrics.json"]).items()}
    shown = {name: found for name, found in metrics.items() if name != "size_bytes" and not name.startswith(FLEX)}
    view = from_plain(AppView, _read(inputs["app.json"])) if "app.json" in inputs else None
    samples = _samples(inputs.get("predictions.npy"))
    found = Found(samples, metrics, _read(inputs["observations.json"])["warning"], stated_runtime(model))
    values = {
        **params,
        "file": f"{request.name}.tflite",
        "size": summary.size(model.stat().st_size),
        "made_for": _MADE_FOR[request.task],
        "labels": labels,
        "shown_labels": SHOWN_LABELS,
        "not_measured": bool(summary.not_measured(metrics)),
        "samples": f"{samples:,}" if samples else "",
        "rows": [_row(name, found) for name, found in shown.items()],
        "viewed": _viewed(view),
        "limits": [markdown(text, 600) for text in limits(request, signature, labels, found)],
        "inputs": [_tensor(spec, request) for spec in signature.inputs],
        "outputs": [{**_tensor(spec, request), "meaning": _scored(spec.name, request)} for spec in signature.outputs],
        "asset": f"{request.android.assets}/{request.android.model}",
        "pack": request.android.pack,
        "coordinates": f"{request.android.group}:{request.android.artifact}:{request.android.version}",
        "android_libraries": _FLEX_ANDROID if request.flex else _ANDROID[request.task],
        "pods": _FLEX_PODS if request.flex else _PODS[request.task],
        "module": Verbatim(request.module),
        "signature": SIGNATURE_KEY,
        "top": max(1, min(_TOP, len(labels) or _TOP)),
        "swift_path": _swift_path(request),
    }
    (outputs / FILE).write_bytes(render("README.md.jinja", values))


def _row(name: str, found: Any) -> dict[str, str]:
    from mlkit_build.report import summary

    low_high = [summary.number(name, value) for value in found.interval or ()]
    return {
        "title": summary.title(name),
        "value": summary.value_text(name, found),
        "interval": " to ".join(low_high),
        "reference": "" if found.reference is None else summary.number(name, found.reference),
    }


def _viewed(view: Any) -> str:
    if view is None or view.skipped:
        return ""
    right = "the right label" if view.labelled else "the label that validation found"
    silent = f"; for {view.silent:,} of them its threshold lets an app have no label" if view.silent else ""
    return f"it names {right} for {view.accuracy:.2%} of {view.samples:,} images{silent}"


def _labels(file: Path | None) -> list[str]:
    """Return the classes of a bundle's `labels.txt`, where every line is one."""
    return file.read_text(encoding="utf-8").removesuffix("\n").split("\n") if file else []


def _samples(predictions: Path | None) -> int:
    """Return how many samples were measured; 0 for none."""
    if predictions is None:
        return 0
    import numpy as np

    return len(np.load(predictions, mmap_mode="r"))


def _tensor(spec: Any, request: ReadmeParams) -> dict[str, Any]:
    """Return a tensor as the file has it: name, shape, type, size in bytes, and what its values mean."""
    import numpy as np

    dtype = request.io if spec.dtype == "float32" else spec.dtype
    stated = request.inputs.get(spec.name)
    values = "as in training"
    if stated is not None and stated.mean is not None and stated.std is not None:
        values = "pixels in 0..255"
        if dtype == "float32":
            mean, std = (", ".join(f"{value:g}" for value in numbers) for numbers in (stated.mean, stated.std))
            values = f"(pixel - {mean}) / {std} of pixels in 0..255; ML Kit reads this from the file"
    return {
        "name": spec.name,
        "shape": " x ".join(map(str, spec.shape)) or "one value",
        "dtype": dtype,
        "meaning": values,
        "bytes": math.prod(spec.shape) * (np.dtype(dtype).itemsize if dtype in np.sctypeDict else 1),
    }


def _scored(name: str, request: ReadmeParams) -> str:
    """Return what the values of an output mean."""
    adapter = request.scored.get(name) or request.scored.get("")
    return f"scores in 0..1: {adapter} of what the trained model returns" if adapter else "as in training"


def _swift_path(request: ReadmeParams) -> str:
    from mlkit_build.formats.escaping import Verbatim, swift

    if "ios" in request.formats:
        return Verbatim(f"{request.module}.url.path")
    return Verbatim(f'Bundle.main.path(forResource: {swift(request.name)}, ofType: "tflite")!')


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
