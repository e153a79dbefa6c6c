"""How close the shipped model's outputs are to TensorFlow's on the same samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlkit_build.metrics import Measurement, significant
from mlkit_build.metrics.classification import classes


class Parity:
    """`max_abs_error` over every value, `cosine` as the mean over samples, `top1_agreement` where outputs are class scores."""

    def __init__(self) -> None:
        self._samples = 0
        self._max_abs_error = 0.0
        self._cosine_sum = 0.0
        self._agreeing = 0
        self._has_classes = False

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64] | None) -> None:
        ours = outputs.reshape(len(outputs), -1).astype(np.float64)
        theirs = reference.reshape(len(reference), -1).astype(np.float64)
        self._samples += len(ours)
        self._max_abs_error = max(self._max_abs_error, float(np.max(np.abs(ours - theirs))))
        self._cosine_sum += float(np.sum(_cosines(ours, theirs)))
        if ours.shape[1] > 1:
            self._has_classes = True
            self._agreeing += int(np.count_nonzero(classes(outputs) == classes(reference)))

    def result(self) -> dict[str, Measurement]:
        values = {
            "max_abs_error": Measurement(significant(self._max_abs_error)),
            "cosine": Measurement(significant(self._cosine_sum / self._samples)),
        }
        if self._has_classes:
            values["top1_agreement"] = Measurement(significant(self._agreeing / self._samples))
        return values


def _cosines(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows; two zero rows point the same way, one zero row points nowhere."""
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    dots = np.sum(ours * theirs, axis=1)
    equal = np.all(ours == theirs, axis=1)
    result: NDArray[np.float64] = np.where(norms > 0, dots / np.where(norms > 0, norms, 1), equal.astype(np.float64))
    return result
