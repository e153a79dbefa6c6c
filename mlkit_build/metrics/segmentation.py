"""How well a model's segments cover the labelled ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.metrics import Measurement, Subject, Table, significant
from mlkit_build.metrics.options import MeanIouOptions

MOST_CLASSES = 1024


class MeanIou:
    """Intersection over union of each class over all pixels of the dataset, averaged over the classes that occur; and the share
    of pixels that are right. `[1, H, W, C]` scores name the class of the highest one, of `[1, H, W, 1]` those above the threshold
    are class 1.
    """

    def __init__(self, options: MeanIouOptions, subject: Subject) -> None:
        shape = subject.output.shape
        if len(shape) != 4 or shape[3] > MOST_CLASSES:
            raise ConfigError(
                f"validation.metrics: mean_iou: expected an output [1, H, W, C] of at most {MOST_CLASSES} classes, "
                f"found {subject.output.name!r} with {list(shape)}",
                "name another one with validation.output",
            )
        self._options = options
        self._subject = subject
        self._channels = shape[3]
        self._classes = max(2, shape[3])
        self._seen = 0
        self._counts = np.zeros((2, self._classes, self._classes), np.int64)

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        counted = np.ones(labels.shape, np.bool_) if self._options.ignore is None else labels != self._options.ignore
        wrong = counted & ((labels < 0) | (labels >= self._classes))
        if wrong.any():
            row, pixel = (int(axis[0]) for axis in np.nonzero(wrong))
            raise ConfigError(
                f"{self._subject.origin}: {self._subject.sample(self._seen + row)}: expected labels in "
                f"0..{self._classes - 1}, the model's classes, found {int(labels[row, pixel])}",
                "pixels of another label do not count where the metric says so: `{mean_iou: {ignore: 255}}`",
            )
        self._seen += len(labels)
        for counts, found in zip(self._counts, (outputs, reference), strict=True):
            cells = labels[counted] * self._classes + self._segments(found)[counted]
            counts += np.bincount(cells, minlength=self._classes**2).reshape(counts.shape)

    def result(self) -> dict[str, Measurement]:
        if not self._counts[0].sum():
            raise ConfigError(f"{self._subject.origin}: expected labelled pixels, found none that mean_iou does not ignore")
        (ours, right), (theirs, reference_right) = map(_averages, self._counts)
        return {
            "mean_iou": Measurement(significant(ours), significant(theirs)),
            "pixel_accuracy": Measurement(significant(right), significant(reference_right)),
        }

    def tables(self) -> dict[str, Table]:
        (ours, occurs), (theirs, _) = map(_ious, self._counts)
        labelled = self._counts[0].sum(axis=1)
        rows = [
            (index, significant(float(ours[index])), significant(float(theirs[index])), int(labelled[index]))
            for index in np.nonzero(occurs)[0].tolist()
        ]
        return {"iou": Table("Intersection over union", ("class", "IoU", "TensorFlow's IoU", "pixels"), tuple(rows))}

    def _segments(self, outputs: NDArray[np.float32]) -> NDArray[np.int64]:
        pixels = outputs.reshape(len(outputs), -1, self._channels)
        if self._channels == 1:
            return (pixels[:, :, 0] > self._options.threshold).astype(np.int64)
        winners: NDArray[np.int64] = pixels.argmax(axis=2)
        return winners


def _ious(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the IoU of each class, and whether labels or predictions name it."""
    right = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - right
    return right / np.maximum(union, 1), union > 0


def _averages(counts: NDArray[np.int64]) -> tuple[float, float]:
    ious, occurs = _ious(counts)
    return float(ious[occurs].mean()), float(np.trace(counts) / counts.sum())
