"""How close the shipped model's outputs are to TensorFlow's on the same samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlkit_build.metrics import Measurement, Subject, Table, significant
from mlkit_build.metrics.classification import classes
from mlkit_build.metrics.options import NoOptions
from mlkit_build.metrics.scored import PIXELS, SAMPLES
from mlkit_build.metrics.values import MOST_DECIBELS


class Parity:
    """Of one output, over every value: the greatest error, the root of the mean square error, and the signal's power over the
    error's in dB; and the mean over samples of the cosine. Of several outputs the worst one counts for each value, whichever
    `validation.output` names; the summary and the message of a gate name it.

    How often the highest score is the same is measured on the output that the other metrics read, where it has class scores:
    `[1, C]` for the classes of a sample (`top1_agreement`), `[1, H, W, C]` for those of each pixel (`pixel_agreement`). That they
    are class scores is known from the metrics or the target; where these leave it open, from `labels` or a gate on either value.
    """

    def __init__(self, options: NoOptions, subject: Subject) -> None:
        shape = subject.output.shape
        self._compares_classes = subject.scores_of == SAMPLES and subject.output.is_vector
        self._channels = shape[3] if subject.scores_of == PIXELS and len(shape) == 4 else 1
        self._samples = 0
        self._values = 0
        self._max_abs_error = 0.0
        self._noise = self._signal = 0.0
        self._cosine_sum = 0.0
        self._agreeing = 0

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: object = None) -> None:
        ours = outputs.reshape(len(outputs), -1).astype(np.float64)
        theirs = reference.reshape(len(reference), -1).astype(np.float64)
        errors = ours - theirs
        powers = np.einsum("ij,ij->i", theirs, theirs)
        self._samples += len(ours)
        self._values += ours.size
        self._max_abs_error = max(self._max_abs_error, float(errors.max()), -float(errors.min()))
        self._noise += float(np.einsum("ij,ij->", errors, errors))
        self._signal += float(powers.sum())
        self._cosine_sum += float(_cosines(ours, theirs, powers).sum())
        if self._compares_classes:
            self._agreeing += int(np.count_nonzero(classes(outputs) == classes(reference)))
        elif self._channels > 1:
            one, other = (values.reshape(-1, self._channels).argmax(axis=1) for values in (outputs, reference))
            self._agreeing += int(np.count_nonzero(one == other))

    def result(self) -> dict[str, Measurement]:
        values = {
            "max_abs_error": Measurement(significant(self._max_abs_error), lower_is_better=True),
            "rms_error": Measurement(significant(math.sqrt(self._noise / self._values)), lower_is_better=True),
            "sqnr_db": Measurement(significant(decibels(self._signal, self._noise))),
            "cosine": Measurement(significant(self._cosine_sum / self._samples)),
        }
        if self._compares_classes:
            values["top1_agreement"] = Measurement.share(self._agreeing, self._samples)
        elif self._channels > 1:  # without an interval: neighbouring pixels are no samples
            values["pixel_agreement"] = Measurement(significant(self._agreeing * self._channels / self._values))
        return values

    def tables(self) -> dict[str, Table]:
        return {}


def decibels(signal: float, noise: float) -> float:
    """Return `10 log10(signal / noise)` of two powers, within plus and minus 200 dB; without noise it is 200."""
    if noise == 0:
        return MOST_DECIBELS
    if signal == 0:
        return -MOST_DECIBELS
    return min(MOST_DECIBELS, max(-MOST_DECIBELS, 10 * (math.log10(signal) - math.log10(noise))))


def cosines(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows; two zero rows point the same way, one zero row points nowhere."""
    return _cosines(ours, theirs, np.einsum("ij,ij->i", theirs, theirs))


def _cosines(ours: NDArray[np.float64], theirs: NDArray[np.float64], powers: NDArray[np.float64]) -> NDArray[np.float64]:
    own = np.einsum("ij,ij->i", ours, ours)
    norms = np.sqrt(own) * np.sqrt(powers)
    silent = norms == 0
    result: NDArray[np.float64] = np.einsum("ij,ij->i", ours, theirs) / np.where(silent, 1, norms)
    if silent.any():
        result[silent] = (ours[silent] == theirs[silent]).all(axis=1)
    return result
