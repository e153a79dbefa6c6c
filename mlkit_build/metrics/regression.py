"""How far a model's values are from the labelled ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlkit_build.metrics import Measurement, Subject, Table, significant
from mlkit_build.metrics.options import NoOptions, PsnrOptions
from mlkit_build.metrics.parity import decibels


class _Errors:
    """Sums of absolute and squared errors over every value of every sample, of the shipped model and of TensorFlow."""

    def __init__(self, options: NoOptions | PsnrOptions, subject: Subject) -> None:
        self._values = 0
        self._absolute = [0.0, 0.0]
        self._squared = [0.0, 0.0]

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.float64]) -> None:
        self._values += labels.size
        for index, found in enumerate((outputs, reference)):
            errors = found.reshape(labels.shape) - labels
            self._absolute[index] += float(np.abs(errors).sum())
            self._squared[index] += float(np.einsum("ij,ij->", errors, errors))

    def tables(self) -> dict[str, Table]:
        return {}

    def _mean(self, sums: list[float]) -> tuple[float, float]:
        return sums[0] / self._values, sums[1] / self._values


class Mae(_Errors):
    """The mean of |value - label| over every value."""

    def result(self) -> dict[str, Measurement]:
        ours, theirs = self._mean(self._absolute)
        return {"mae": Measurement(significant(ours), significant(theirs), lower_is_better=True)}


class Rmse(_Errors):
    """The root of the mean of (value - label)^2 over every value."""

    def result(self) -> dict[str, Measurement]:
        ours, theirs = map(math.sqrt, self._mean(self._squared))
        return {"rmse": Measurement(significant(ours), significant(theirs), lower_is_better=True)}


class Psnr(_Errors):
    """`10 log10(peak^2 / MSE)`, of the mean square error over the whole dataset; 200 dB at most, where there is no error."""

    def __init__(self, options: PsnrOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._peak = options.peak

    def result(self) -> dict[str, Measurement]:
        ours, theirs = (decibels(self._peak**2, error) for error in self._mean(self._squared))
        return {"psnr_db": Measurement(significant(ours), significant(theirs))}


class R2:
    """The coefficient of determination of each value of the output, averaged over the values.

    Of a label that never changes it is 1 where the model is exact, else 0.
    """

    def __init__(self, options: NoOptions, subject: Subject) -> None:
        self._samples = 0
        self._mean = np.zeros(subject.output.size)
        self._spread = np.zeros(subject.output.size)
        self._errors = np.zeros((2, subject.output.size))

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.float64]) -> None:
        for index, found in enumerate((outputs, reference)):
            errors = found.reshape(labels.shape) - labels
            self._errors[index] += np.einsum("ij,ij->j", errors, errors)
        mean = labels.mean(axis=0)  # two runs' spreads are merged as in Chan, Golub, LeVeque 1983: no difference of large sums
        away, total = labels - mean, self._samples + len(labels)
        step = mean - self._mean
        self._spread += np.einsum("ij,ij->j", away, away) + step * step * (self._samples * len(labels) / total)
        self._mean += step * (len(labels) / total)
        self._samples = total

    def result(self) -> dict[str, Measurement]:
        ours, theirs = (self._explained(errors) for errors in self._errors)
        return {"r2": Measurement(significant(ours), significant(theirs))}

    def tables(self) -> dict[str, Table]:
        return {}

    def _explained(self, errors: NDArray[np.float64]) -> float:
        varies = self._spread > 0
        explained = np.where(varies, 1 - errors / np.where(varies, self._spread, 1), (errors == 0).astype(np.float64))
        return float(explained.mean())
