"""Accuracy of a classifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlkit_build.metrics import Measurement, significant


class Top1:
    """The share of samples whose highest score is the labelled class. Ties go to the lowest class, as in ML Kit."""

    def __init__(self) -> None:
        self._samples = 0
        self._right = 0
        self._reference_right = 0

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64] | None) -> None:
        assert labels is not None, "the schema asks for labels where this metric is used"
        self._samples += len(labels)
        self._right += int(np.count_nonzero(classes(outputs) == labels))
        self._reference_right += int(np.count_nonzero(classes(reference) == labels))

    def result(self) -> dict[str, Measurement]:
        share, reference = self._right / self._samples, self._reference_right / self._samples
        return {"top1": Measurement(significant(share), significant(reference))}


def classes(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the winning class of each sample: `[n]` from `[n, classes]` or `[n, 1, 1, classes]` scores."""
    winners: NDArray[np.int64] = np.argmax(scores.reshape(len(scores), -1), axis=1)
    return winners
