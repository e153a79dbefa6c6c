"""Classes that no sample of a dataset is of: whatever the gates say, nobody knows how well the model recognizes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch
from mlkit_build.recipe import AnyDataset, Tfds
from mlkit_build.stages.class_order import classes_of

FEW = 10
"""With fewer samples for each class, one may have none by chance."""
_NAMED = 5
_NOTHING = "background"
"""What the labels of MobileNet and its successors call their first class. It has no samples in ImageNet."""


def is_whole(dataset: AnyDataset) -> bool:
    """Return whether all samples of a dataset are taken: a part may be meant to lack some classes."""
    part = "[" in dataset.split if isinstance(dataset, Tfds) else dataset.split is not None
    return dataset.samples is None and not part


class AbsentClasses:
    """Counts the samples of each class that pass by.

    Args:
        names: What the recipe calls the classes, in the order of the model's outputs; empty where it does not.
        count: How many classes the model tells apart.
    """

    def __init__(self, names: Sequence[str], count: int) -> None:
        self._names = names
        self._samples: NDArray[Any] | None = np.zeros(count, np.int64)

    def look(self, batch: Batch) -> None:
        """See the next batch; once one has labels that are no classes, nothing is counted."""
        if self._samples is not None:
            classes = classes_of(batch.labels, len(self._samples))
            self._samples = None if classes is None else self._samples + np.bincount(classes, minlength=len(self._samples))

    def warning(self) -> str:
        """Return which classes have no sample, once all batches were seen; empty where each has one, or there are few samples."""
        if self._samples is None or self._samples.sum() < FEW * len(self._samples):
            return ""
        absent = [name for index in np.flatnonzero(self._samples == 0).tolist() if (name := self._name(index)) != repr(_NOTHING)]
        if not absent:
            return ""
        if len(absent) == 1:
            return f"dataset: no sample of class {absent[0]}: nothing says how well it is recognized"
        some = ", ".join(absent[:_NAMED]) + (", ..." if len(absent) > _NAMED else "")
        of_all = f"{len(absent)} of the {len(self._samples)} classes"
        return f"dataset: no sample of {of_all}, {some}: nothing says how well they are recognized"

    def _name(self, index: int) -> str:
        return repr(self._names[index]) if index < len(self._names) else str(index)
