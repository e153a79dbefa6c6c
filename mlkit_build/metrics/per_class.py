"""What becomes of each class: precision, recall, F1, and which other classes it is taken for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.metrics import Measurement, Subject, Table, significant
from mlkit_build.metrics.classification import classes
from mlkit_build.metrics.labels import refuse_logits
from mlkit_build.metrics.options import NoOptions

MOST_CLASSES = 2048
"""Two matrices of that many classes squared are counted: 64 MB."""
WHOLE = 100
"""Up to so many classes the whole confusion matrix is kept, of more the commonest confusions."""


class Confusion:
    """Counts `[label, predicted]` for the shipped model and for TensorFlow. The base of both metrics below."""

    _name = ""

    def __init__(self, options: NoOptions, subject: Subject) -> None:
        if subject.classes > MOST_CLASSES:
            raise ConfigError(
                f"validation.metrics: {self._name}: expected at most {MOST_CLASSES} classes, the output {subject.output.name!r} "
                f"has {subject.classes}",
                "measure top1 and top_k",
            )
        self._subject = subject
        self._ours = np.zeros((subject.classes, subject.classes), np.int64)
        self._theirs = np.zeros_like(self._ours)

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        if self._subject.output.size == 1:
            refuse_logits(reference, self._subject, self._name)
        for counts, found in ((self._ours, outputs), (self._theirs, reference)):
            np.add.at(counts, (labels, classes(found)), 1)


class ConfusionMatrix(Confusion):
    """How often a sample of each class is taken for each class. Yields a table, and no value."""

    _name = "confusion_matrix"

    def result(self) -> dict[str, Measurement]:
        return {}

    def tables(self) -> dict[str, Table]:
        counts = self._ours
        if len(counts) <= WHOLE:
            rows = [(int(i), int(j), int(counts[i, j])) for i, j in np.argwhere(counts)]
            return {self._name: Table("Confusion matrix", ("label", "predicted", "samples"), tuple(rows), "matrix")}
        wrong = counts.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:WHOLE]
        pairs = [(int(cell // len(counts)), int(cell % len(counts))) for cell in order]
        rows = [(i, j, int(wrong[i, j])) for i, j in pairs if wrong[i, j]]
        return {self._name: Table("Commonest confusions", ("label", "predicted", "samples"), tuple(rows))}


class PerClass(Confusion):
    """Precision, recall and F1 of each class; their plain mean (macro), and the mean weighted by the labels' numbers.

    A class that is never predicted has precision 0. Classes that neither labels nor predictions name are in no mean.
    """

    _name = "per_class"

    def result(self) -> dict[str, Measurement]:
        ours, theirs = _averages(self._ours), _averages(self._theirs)
        return {name: Measurement(significant(ours[name]), significant(theirs[name])) for name in ours}

    def tables(self) -> dict[str, Table]:
        ours, theirs = _rates(self._ours), _rates(self._theirs)
        rows: list[tuple[Any, ...]] = [
            (
                index,
                *(significant(float(column[index])) for column in ours[:3]),
                significant(float(theirs[2][index])),
                int(ours[3][index]),
            )
            for index in np.nonzero(ours[4])[0].tolist()
        ]
        columns = ("class", "precision", "recall", "F1", "TensorFlow's F1", "samples")
        return {self._name: Table("Per class", columns, tuple(rows))}


def _rates(counts: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return precision, recall, F1, number of labels, and whether it occurs, of each class."""
    right, labelled, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(labelled, 1)
    f1 = 2 * right / np.maximum(labelled + predicted, 1)
    return precision, recall, f1, labelled, (labelled + predicted) > 0


def _averages(counts: NDArray[np.int64]) -> dict[str, float]:
    *rates, labelled, occurs = _rates(counts)
    named = dict(zip(("precision", "recall", "f1"), rates, strict=True))
    macro = {f"macro_{name}": float(rate[occurs].mean()) for name, rate in named.items()}
    return macro | {f"weighted_{name}": float(rate @ labelled / labelled.sum()) for name, rate in named.items()}
