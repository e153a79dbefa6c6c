"""Whether a classifier's probabilities can be believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlkit_build.metrics import Measurement, Subject, Table, significant
from mlkit_build.metrics.labels import refuse_logits, scores
from mlkit_build.metrics.options import CalibrationErrorOptions, LogitsOptions

EPSILON = float(np.finfo(np.float32).eps)
"""The least probability: a quantized model says 0 where it means a little, and 0 has no logarithm."""


class LogLoss:
    """The mean of `-ln p` of the label. Probabilities are clipped to at least 1.1920929e-07, float32's epsilon, and then
    scaled to the sum 1.
    """

    def __init__(self, options: LogitsOptions, subject: Subject) -> None:
        self._options = options
        self._subject = subject
        self._samples = 0
        self._ours = self._theirs = 0.0

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        if not self._options.from_logits:
            refuse_logits(reference, self._subject, "log_loss", sums=True)
        self._samples += len(labels)
        self._ours += self._loss(outputs, labels)
        self._theirs += self._loss(reference, labels)

    def result(self) -> dict[str, Measurement]:
        ours, theirs = self._ours / self._samples, self._theirs / self._samples
        return {"log_loss": Measurement(significant(ours), significant(theirs), lower_is_better=True)}

    def tables(self) -> dict[str, Table]:
        return {}

    def _loss(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        found = probabilities(outputs, self._options.from_logits)
        found = np.clip(found, EPSILON, 1.0)
        found /= found.sum(axis=1, keepdims=True)
        return float(-np.log(found[np.arange(len(labels)), labels]).sum())


class CalibrationError:
    """The expected calibration error (Guo et al. 2017, section 2): |accuracy - confidence| in bins of the highest probability.

    Each bin counts with its share of the samples, and holds its upper end, as there.
    """

    def __init__(self, options: CalibrationErrorOptions, subject: Subject) -> None:
        self._options = options
        self._subject = subject
        self._ours = np.zeros((3, options.bins), np.float64)
        self._theirs = np.zeros_like(self._ours)

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        if not self._options.from_logits:
            refuse_logits(reference, self._subject, "calibration_error", sums=True)
        for sums, found in ((self._ours, outputs), (self._theirs, reference)):
            held = np.clip(probabilities(found, self._options.from_logits), 0.0, 1.0)
            confidence, right = held.max(axis=1), np.argmax(held, axis=1) == labels
            bins = np.clip(np.ceil(confidence * self._options.bins).astype(np.int64) - 1, 0, self._options.bins - 1)
            for row, weights in enumerate((None, confidence, right)):
                sums[row] += np.bincount(bins, weights, self._options.bins)

    def result(self) -> dict[str, Measurement]:
        ours, theirs = _error(self._ours), _error(self._theirs)
        return {"calibration_error": Measurement(significant(ours), significant(theirs), lower_is_better=True)}

    def tables(self) -> dict[str, Table]:
        count, confidence, right = self._ours
        rows = [
            (
                significant(index / self._options.bins),
                significant((index + 1) / self._options.bins),
                int(count[index]),
                significant(float(confidence[index] / count[index])),
                significant(float(right[index] / count[index])),
            )
            for index in np.nonzero(count)[0].tolist()
        ]
        return {"reliability": Table("Reliability", ("above", "up to", "samples", "confidence", "accuracy"), tuple(rows))}


def probabilities(outputs: NDArray[np.float32], from_logits: bool) -> NDArray[np.float64]:
    """Return `[n, classes]`; logits through softmax, or through sigmoid where there is one value."""
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    if from_logits:
        if flat.shape[1] == 1:
            flat = np.concatenate([np.zeros_like(flat), flat], axis=1)
        powers: NDArray[np.float64] = np.exp(flat - flat.max(axis=1, keepdims=True))
        powers /= powers.sum(axis=1, keepdims=True)
        return powers
    return scores(outputs).astype(np.float64)


def _error(sums: NDArray[np.float64]) -> float:
    count, confidence, right = sums
    return float(np.abs(right - confidence).sum() / count.sum())
