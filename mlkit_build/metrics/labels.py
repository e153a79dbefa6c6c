"""Labels in the form that a metric wants, and outputs as scores of classes; what does not fit is refused by sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.metrics import Subject

FORMS = {
    "classes": "one class index per sample, or one-hot",
    "indicators": "one class index per sample, or 0 and 1 for each class",
    "values": "as many values per sample as the output has",
    "maps": "one class index per pixel, [H, W] or flat",
    "any": "any, or none",
}
"""Form -> what the dataset's labels must be."""

_GREATEST = 2**63 - 1
_SLACK = 1e-3
"""How far TensorFlow's probabilities may sum up to something else than 1, or lie outside 0..1."""


def labels_as(form: str, labels: NDArray[Any], subject: Subject, first: int = 0) -> NDArray[Any]:
    """Return a batch's labels in a form of the table.

    Args:
        labels: `[n, ...]` as the dataset has them.
        first: The index of the first sample, for messages.

    Returns:
        `classes`: `[n]` int64; `indicators`: `[n, C]` bool, `[n, 1]` for an output of one value; `values`: `[n, size]` float64;
        `maps`: `[n, H * W]` int64; `any`: `labels`.

    Raises:
        ConfigError: They have another shape or type, or a label is outside the classes.
    """
    if form == "classes":
        return _classes(labels, subject, first)
    if form == "indicators":
        return _indicators(labels, subject, first)
    if form == "values":
        return _values(labels, subject, first)
    return _maps(labels, subject, first) if form == "maps" else labels


def scores(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `[n, classes]`: the outputs, or of one value, which is the probability of class 1, that of both."""
    flat: NDArray[np.float32] = outputs.reshape(len(outputs), -1)
    if flat.shape[1] == 1:
        flat = np.concatenate([1 - flat, flat], axis=1)
    return flat


def refuse_logits(reference: NDArray[np.float32], subject: Subject, metric: str, *, sums: bool = False) -> None:
    """Refuse outputs that are no probabilities, as TensorFlow's say: those of a quantized model are rounded.

    Args:
        sums: Whether several values of a sample must sum up to 1.

    Raises:
        ConfigError: Names output and value.
    """
    if subject.is_rounded:
        return
    flat = reference.reshape(len(reference), -1)
    if flat.size and (flat.min() < -_SLACK or flat.max() > 1 + _SLACK):
        found = flat.min() if flat.min() < -_SLACK else flat.max()
        adapter = "sigmoid" if flat.shape[1] == 1 else "softmax"
        raise ConfigError(
            f"validation.metrics: {metric}: expected probabilities of the output {subject.output.name!r}, found {found:g}",
            f"add `{adapter}` to adapters" + (f", or state `{{{metric}: {{from_logits: true}}}}`" if sums else ""),
        )
    if sums and flat.shape[1] > 1:
        total = flat.sum(axis=1, dtype=np.float64)
        wrong = np.nonzero(np.abs(total - 1) > _SLACK * max(1, np.sqrt(flat.shape[1])))[0]
        if len(wrong):
            raise ConfigError(
                f"validation.metrics: {metric}: expected probabilities of the output {subject.output.name!r} that sum up to 1, "
                f"found a sum of {total[wrong[0]]:g}",
                "it is for classes that exclude each other; roc_auc and pr_auc take any scores",
            )


def _classes(labels: NDArray[Any], subject: Subject, first: int) -> NDArray[np.int64]:
    count = len(labels)
    if labels.dtype.kind in "bui" and labels.size == count:
        _refuse_outside(labels.reshape(count), subject, first)
        indices: NDArray[np.int64] = labels.reshape(count).astype(np.int64)
        return indices
    if labels.ndim == 2 and labels.shape[1] == subject.output.size > 1 and labels.dtype.kind in "buif":
        wrong = np.nonzero(((labels != 0) & (labels != 1)).any(axis=1) | ((labels == 1).sum(axis=1) != 1))[0]
        if len(wrong):
            raise ConfigError(
                f"{subject.origin}: {subject.sample(first + int(wrong[0]))}: expected a one-hot label, "
                f"found {_shown(labels[wrong[0]])}",
                "of classes that do not exclude each other, roc_auc and pr_auc can be measured",
            )
        hot: NDArray[np.int64] = np.argmax(labels, axis=1).astype(np.int64)
        return hot
    if labels.dtype.kind == "f" and labels.size == count:
        raise ConfigError(
            f"{subject.origin}: expected labels that are class indices, as integers, found {labels.dtype}: "
            f"{subject.sample(first)} has {labels.reshape(count)[0]:g}",
            "save class indices as integers: labels.astype(np.int64); numbers to predict are measured by mae, rmse and r2",
        )
    raise _misfit("classes", labels, subject)


def _indicators(labels: NDArray[Any], subject: Subject, first: int) -> NDArray[np.bool_]:
    size = subject.output.size
    if labels.ndim == 2 and labels.shape[1] == size > 1 and labels.dtype.kind in "buif":
        wrong = np.nonzero(((labels != 0) & (labels != 1)).any(axis=1))[0]
        if len(wrong):
            raise ConfigError(
                f"{subject.origin}: {subject.sample(first + int(wrong[0]))}: expected 0 and 1, found {_shown(labels[wrong[0]])}"
            )
        told: NDArray[np.bool_] = labels == 1
        return told
    classes = _classes(labels, subject, first)
    columns = np.arange(size) if size > 1 else np.array([1])
    is_class: NDArray[np.bool_] = classes[:, np.newaxis] == columns
    return is_class


def _values(labels: NDArray[Any], subject: Subject, first: int) -> NDArray[np.float64]:
    if labels.dtype.kind not in "buif" or labels.size != len(labels) * subject.output.size:
        raise _misfit("values", labels, subject)
    values: NDArray[np.float64] = labels.reshape(len(labels), -1).astype(np.float64)
    wrong = np.nonzero(~np.isfinite(values).all(axis=1))[0]
    if len(wrong):
        raise ConfigError(f"{subject.origin}: {subject.sample(first + int(wrong[0]))}: expected a label of finite numbers")
    return values


def _maps(labels: NDArray[Any], subject: Subject, first: int) -> NDArray[np.int64]:
    shape = subject.output.shape
    if labels.dtype.kind not in "bui" or labels.shape[1:] not in (shape[1:3], (*shape[1:3], 1), (math.prod(shape[1:3]),)):
        raise _misfit("maps", labels, subject)
    pixels = labels.reshape(len(labels), -1)
    greatest = pixels.max(axis=1).tolist() if pixels.dtype == np.uint64 else []
    wrong = next((row for row, label in enumerate(greatest) if label > _GREATEST), None)
    if wrong is not None:  # as int64 it would be a negative one, which may be what the metric ignores
        raise ConfigError(
            f"{subject.origin}: {subject.sample(first + wrong)}: expected a label of at most {_GREATEST} per pixel, "
            f"found {greatest[wrong]}",
            "save pixels that do not count with a label such as 255",
        )
    return pixels.astype(np.int64)


def _refuse_outside(labels: NDArray[Any], subject: Subject, first: int) -> None:
    wrong = np.nonzero((labels < 0) | (labels >= subject.classes))[0]
    if len(wrong):
        raise ConfigError(
            f"{subject.origin}: {subject.sample(first + int(wrong[0]))}: expected a label in 0..{subject.classes - 1}, the "
            f"model's classes, found {int(labels[wrong[0]])}",
            f"classes count from 0, in the order of the output {subject.output.name!r}: see dataset.label and validation.output",
        )


def _misfit(form: str, labels: NDArray[Any], subject: Subject) -> ConfigError:
    found = list(labels.shape[1:]) or "one number"
    return ConfigError(
        f"{subject.origin}: expected labels that are {FORMS[form]}, found {found} of {labels.dtype} per sample",
        f"the output {subject.output.name!r} has the shape {list(subject.output.shape)}; see validation.output and dataset.label",
    )


def _shown(row: NDArray[Any]) -> str:
    values = ", ".join(f"{value:g}" for value in row[:8])
    return f"[{values}{', ...' if len(row) > 8 else ''}]"
