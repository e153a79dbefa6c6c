"""What a recipe needs beyond its source and signature to become a measured, quantized package: comments to fill in, each with a
few words, and valid as soon as the `# ` at their beginning is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlkit_build.plain import from_plain
from mlkit_build.records import dataclass

MARK = "# "
"""What a line begins with that waits to be filled in; other comments stand further right."""

_ARCHIVE = "input -> array of the archive, classes count from 0; other kinds"


@dataclass(frozen=True)
class Skeleton:
    """Lines to go around a recipe's name, source and signature.

    Attributes:
        made_for: What comes of them, in a few words.
        first: The defaults, which stand at the head of a recipe.
        last: What follows the signature.
    """

    made_for: str
    first: tuple[str, ...]
    last: tuple[str, ...]


def skeleton(proposed: Mapping[str, Any] | None, scores: bool, quoted: Callable[[str], str]) -> Skeleton:
    """Return what fits a signature: for ML Kit where it takes one image and may return classes.

    Args:
        proposed: The signature as `inspect` found it, or None.
        scores: Whether its output is known to be scores in 0..1.
        quoted: Writes a name as a YAML flow mapping takes it.
    """
    from mlkit_build.graphs.loaded import DeclaredSignature
    from mlkit_build.graphs.signature_lines import channels_axis

    signature = from_plain(DeclaredSignature, dict(proposed)) if proposed else DeclaredSignature("", (), ())
    axes = [channels_axis(spec) for spec in signature.inputs]
    outputs = [_classes(spec.shape) for spec in signature.outputs]
    classes = outputs[0] if outputs else 0
    features = ", ".join(f"{quoted(spec.name)}: {quoted(spec.name)}" for spec in signature.inputs)
    if len(axes) == 1 and axes[0] is not None and classes != 0:
        (image,), axis = signature.inputs, axes[0]
        fitting = _fitting(axis, (image.shape or ())[axis], scores)
        lines = [
            *fitting,
            *_labels(classes),
            *_measured(_images(quoted(image.name), ", label: folder"), _images(quoted(image.name))),
        ]
        return Skeleton("int8 for ML Kit", _marked(_defaults(ml_kit=True)), _marked([*lines, *_judged(True)]))
    if classes:
        arrays = _measured(_arrays("test", features, ", label: labels"), _arrays("calibration", features), _ARCHIVE)
        return Skeleton("int8", _marked(_defaults(ml_kit=False)), _marked([*_labels(classes), *arrays, *_judged(True)]))
    arrays = _measured(_arrays("test", features), _arrays("calibration", features), _ARCHIVE)
    return Skeleton("int8", _marked(_defaults(ml_kit=False)), _marked([*arrays, *_judged(False)]))


def _marked(lines: list[str]) -> tuple[str, ...]:
    return tuple(MARK + line for line in lines)


def _classes(shape: tuple[int | None, ...] | None) -> int | None:
    """Return how many classes the output has scores for; 0 where it is no such output, None where that is not known."""
    if shape is None:
        return None
    if len(shape) not in (2, 4) or any(size not in (None, 1) for size in shape[1:-1]):
        return 0
    return 0 if shape[-1] == 1 else shape[-1]


def _defaults(ml_kit: bool) -> list[str]:
    target = "  - override /target: image_labeling  # ML Kit's; or object_detection; without this line, any LiteRT interpreter"
    others = "or float32, float16, dynamic_range, ...: `mlkit-build -m` compares them"
    return ["defaults:", *([target] if ml_kit else []), f"  - override /quantization: int8  # {others}"]


def _fitting(axis: int, channels: int | None, scores: bool) -> list[str]:
    """Return the adapters that an image and its scores need for ML Kit."""
    reasons = {}
    if axis == 1:
        reasons["nchw_to_nhwc"] = "channels last"
    if channels == 1:
        reasons["rgb_to_grayscale"] = "RGB"
    if not scores:
        reasons["softmax"] = "scores in 0..1"
    if not reasons:
        return []
    softmax = "" if scores else " (or `sigmoid`)"
    return [f"adapters: [{', '.join(reasons)}]  # ML Kit wants {', '.join(reasons.values())}{softmax}"]


def _labels(classes: int | None) -> list[str]:
    many = f"{classes} classes" if classes else "classes"
    return [f"labels: labels.txt  # the names of the {many}, one per line, in the order of the output"]


def _images(name: str, label: str = "") -> str:
    if label:
        return f"  {{kind: image_folder, path: data/test, input: {name}{label}}}  # a folder per class, called as in labels"
    return f"  {{kind: image_folder, path: data/calibration, input: {name}}}"


def _arrays(name: str, features: str, label: str = "") -> str:
    return f"  {{kind: npz, path: data/{name}.npz, features: {{{features}}}{label}}}"


def _measured(dataset: str, calibration: str, said: str = "csv, tfrecord and other kinds") -> list[str]:
    return [
        f"dataset:  # what the model is measured on; {said}: docs/datasets.md",
        dataset,
        "calibration:  # what int8 observes: some hundred typical samples, none of them in the dataset",
        calibration,
    ]


def _judged(classes: bool) -> list[str]:
    """Return metrics and gates."""
    drop = "the least share that is right, and what may be lost against TensorFlow"
    near = "how near to TensorFlow's outputs it must stay"
    gates = f"    top1: {{min: 0.9, max_drop: 0.01}}  # {drop}" if classes else f"    cosine: {{min: 0.99}}  # {near}"
    metrics = ["  metrics: [top1]  # accuracy; others: docs/metrics.md"] if classes else []
    return ["validation:", *metrics, "  gates:  # where one does not hold, nothing is published", gates]
