"""Accuracy of a classifier."""

from __future__ import annotations

from collections import deque
from weakref import ReferenceType, ref

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.metrics import Measurement, Subject, Table
from mlkit_build.metrics.labels import refuse_logits, scores
from mlkit_build.metrics.options import NoOptions, TopKOptions


class Top1:
    """The share of samples whose highest score is the labelled class. Ties go to the lowest class, as in ML Kit.

    An output of one value is the probability of class 1, which wins above 0.5.
    """

    def __init__(self, options: NoOptions, subject: Subject) -> None:
        self._subject = subject
        self._name = "top1"
        self._samples = self._right = self._reference_right = self._lost = 0

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        if self._subject.output.size == 1:
            refuse_logits(reference, self._subject, self._name)
        right, reference_right = self._hits(outputs, labels), self._hits(reference, labels)
        self._samples += len(labels)
        self._right += int(np.count_nonzero(right))
        self._reference_right += int(np.count_nonzero(reference_right))
        self._lost += int(np.count_nonzero(reference_right & ~right))

    def result(self) -> dict[str, Measurement]:
        return {self._name: Measurement.share(self._right, self._samples, self._reference_right, self._lost)}

    def tables(self) -> dict[str, Table]:
        return {}

    def _hits(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        hits: NDArray[np.bool_] = classes(outputs) == labels
        return hits


class TopK(Top1):
    """The share of samples whose label is among the k highest scores. Among equal scores the lowest classes come first."""

    def __init__(self, options: TopKOptions, subject: Subject) -> None:
        super().__init__(NoOptions(), subject)
        self._k = options.k
        self._name = f"top{options.k}"
        if options.k >= subject.classes:
            raise ConfigError(
                f"validation.metrics: top_k.k: expected less than the {subject.classes} classes of the output "
                f"{subject.output.name!r}, found {options.k}",
                "every answer would be right",
            )

    def _hits(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        found = scores(outputs)
        own = np.take_along_axis(found, labels[:, np.newaxis], axis=1)
        before = np.arange(found.shape[1]) < labels[:, np.newaxis]
        ahead = np.count_nonzero((found > own) | ((found == own) & before), axis=1)
        hits: NDArray[np.bool_] = ahead < self._k
        return hits


_LATELY: deque[tuple[ReferenceType[NDArray[np.float32]], NDArray[np.int64]]] = deque(maxlen=4)
"""Scores and their winners: several metrics ask for those of the same arrays, and finding them is most of what they do."""


def classes(outputs: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the winning class of each sample: `[n]`, read-only, from `[n, classes]` or `[n, 1, 1, classes]` scores."""
    for array, found in _LATELY:
        if array() is outputs:
            return found
    winners: NDArray[np.int64] = np.argmax(scores(outputs), axis=1)
    winners.flags.writeable = False
    _LATELY.append((ref(outputs), winners))
    return winners
