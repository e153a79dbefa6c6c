"""Labels in another order than the model's outputs: what the model calls one class, the samples call another, again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch
from mlkit_build.errors import ConfigError

LEAST = 10
"""So many samples that the model takes for a class tell what the dataset calls it."""
SHARE = 0.8
"""And so large a part of them must agree: classes that are merely alike are exchanged less often than that."""
SHIFTED = 4
"""So many classes that are all off by the same number are shifted, however few samples each of them has."""
_NAMED = 4


def classes_of(labels: NDArray[Any] | None, count: int) -> NDArray[np.int64] | None:
    """Return the class of each sample, `[n]`; None where the dataset's labels are none, or no single one of `count` classes."""
    if labels is None or labels.dtype.kind not in "buif":
        return None
    if labels.ndim == 2 and labels.shape[1] == count > 1:
        is_hot = (labels == 0).sum(axis=1) == count - 1, (labels == 1).sum(axis=1) == 1
        hot: NDArray[np.int64] = np.argmax(labels, axis=1)
        return hot if bool(np.all(is_hot)) else None
    if labels.dtype.kind == "f" or labels.size != len(labels) or labels.min() < 0 or labels.max() >= count:
        return None
    return labels.reshape(-1).astype(np.int64)


class ClassOrder:
    """Gathers the classes that pass by as labels.

    Args:
        names: What the recipe calls the classes, in the order of the model's outputs; empty where it does not.
        count: How many classes the model tells apart.
    """

    def __init__(self, names: Sequence[str], count: int) -> None:
        self._names = names
        self._count = count
        self._found: list[NDArray[np.int64]] | None = []

    def look(self, batch: Batch) -> None:
        """See the next batch; once one has labels that are no classes, nothing is compared."""
        classes = classes_of(batch.labels, self._count)
        self._found = None if classes is None or self._found is None else [*self._found, classes]

    def warning(self, predictions: NDArray[np.int32], expected: Callable[[], NDArray[np.int32]]) -> str:
        """Return that labels and classes are exchanged, a few among themselves or all, or shifted; empty where they are not.

        Numbers may be wrong in the dataset only, which no app has; where the recipe names the classes, an app shows those names.
        Classes that TensorFlow's model does not exchange are in order: what quantization did to them is left to the gates.

        Args:
            predictions: The model's class for each sample that passed by, `[n]`.
            expected: Returns those of TensorFlow's model, `[n]`.

        Raises:
            ConfigError: They are, and the recipe names them.
        """
        if not self._found:
            return ""
        labelled = np.concatenate(self._found)
        exchanged = _moved(predictions, labelled, self._count)
        if exchanged:
            exchanged = dict(sorted(exchanged.items() & _moved(expected(), labelled, self._count).items()))
        if not exchanged:
            return ""
        told = [f"class {one} is {self._name(other)} and not {self._name(one)}" for one, other in exchanged.items()]
        more = f", and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
        what = f"{len(told)} classes are in another order than the model's outputs, as the samples show"
        if not self._names:
            return f"dataset.label: {what}: {', '.join(told[:_NAMED])}{more}"
        raise ConfigError(
            f"labels: {what}: {', '.join(told[:_NAMED])}{more}",
            "line n of the labels names the model's class n, in the order of its training (Keras sorts the names of folders)",
        )

    def _name(self, index: int) -> str:
        return repr(self._names[index]) if index < len(self._names) else f"the dataset's {index}"


def _moved(predicted: NDArray[np.int32], labelled: NDArray[np.int64], count: int) -> dict[int, int]:
    """Return the model's class -> the dataset's, of those that are exchanged or shifted."""
    return _exchanged(predicted, labelled, count) or _shifted(predicted, labelled, count)


def _shifted(predicted: NDArray[np.int32], labelled: NDArray[np.int64], count: int) -> dict[int, int]:
    """Return the classes that are all off by the same number, modulo `count`: a line too many or too few in the labels."""
    distances = labelled - predicted
    distances[distances < 0] += count
    distance = int(np.bincount(distances).argmax())
    if distance == 0:
        return {}
    shifted = distances == distance
    seen = np.unique(predicted[shifted])
    if len(seen) < SHIFTED or np.count_nonzero(shifted) < max(LEAST, SHARE * len(shifted)):
        return {}
    return {int(one): (int(one) + distance) % count for one in seen}


def _exchanged(predicted: NDArray[np.int32], labelled: NDArray[np.int64], count: int) -> dict[int, int]:
    """Return the model's class -> the dataset's, of those that are exchanged among themselves, in order."""
    pairs, found = np.unique(predicted.astype(np.int64) * count + labelled, return_counts=True)
    totals = np.bincount(predicted, minlength=count)
    enough = (found >= SHARE * totals[pairs // count]) & (totals[pairs // count] >= LEAST)
    usual = {int(pair) // count: int(pair) % count for pair in pairs[enough]}  # SHARE is above a half: one for each class
    moved = {one: other for one, other in usual.items() if one != other}
    before = -1
    while len(moved) != before:  # what leads out of a circle, or into one, is no exchange
        before, reached = len(moved), set(moved.values())
        moved = {one: other for one, other in moved.items() if one in reached and other in moved}
    return dict(sorted(moved.items()))
