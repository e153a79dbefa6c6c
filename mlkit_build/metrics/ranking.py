"""How well scores tell a class from the rest, whatever threshold an app chooses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.metrics import Measurement, Subject, Table, significant
from mlkit_build.metrics.options import NoOptions

EXACT = 1 << 22
"""Areas are exact up to so many scores, samples times classes (4.2 million: 419,000 samples of 10 classes, or of one value 4.2
million samples). Above, each class has bins instead, whose ends are quantiles of the scores so far."""
BINS = 1024
MOST_CLASSES = 2048
"""Two models' bins of that many classes take 64 MB."""
CURVES = 10
"""Curves are kept of so many classes at most: those with the least area."""
POINTS = 65


class _Ranking:
    """The scores of one model, one class per column: all of them, or when they are many, counts of positives and negatives."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._scores: list[NDArray[np.float32]] = []
        self._truth: list[NDArray[np.bool_]] = []
        self._size = 0
        self._ends: NDArray[np.float32] | None = None
        self._counts = np.zeros((2, 0, BINS), np.int64)

    def add(self, scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
        if self._ends is not None:
            self._count(self._ends, scores, truth)
            return
        self._scores.append(scores.copy())
        self._truth.append(truth)
        self._size += scores.size
        if self._size > EXACT:
            held, known = np.concatenate(self._scores), np.concatenate(self._truth)
            self._ends = np.quantile(held, np.arange(1, BINS) / BINS, axis=0, method="nearest").astype(np.float32)
            self._scores, self._truth = [], []
            self._counts = np.zeros((2, self._columns, BINS), np.int64)
            self._count(self._ends, held, known)

    def ranked(self, column: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how many positives and how many negatives score at least as high as each distinct score, from the highest."""
        if self._ends is not None:
            positives, negatives = self._counts[:, column, ::-1].astype(np.float64)
            filled = (positives + negatives) > 0
            return np.cumsum(positives[filled]), np.cumsum(negatives[filled])
        scores = np.concatenate([part[:, column] for part in self._scores])
        truth = np.concatenate([part[:, column] for part in self._truth])
        order = np.argsort(-scores, kind="stable")
        last = np.append(np.nonzero(np.diff(scores[order]))[0], len(order) - 1)
        positives = np.cumsum(truth[order].astype(np.float64))[last]
        return positives, (last + 1) - positives

    def _count(self, ends: NDArray[np.float32], scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
        for column in range(self._columns):
            bins = np.searchsorted(ends[:, column], scores[:, column], side="right")
            for counts, chosen in zip(self._counts[:, column], (truth[:, column], ~truth[:, column]), strict=True):
                counts += np.bincount(bins[chosen], minlength=BINS)


class _Areas:
    """The mean over classes of an area. An output of one value is the score of class 1, and has one curve."""

    _name = _table = _title = ""
    _axes = ("", "")

    def __init__(self, options: NoOptions, subject: Subject) -> None:
        self._subject = subject
        self._columns = subject.output.size
        if self._columns > MOST_CLASSES:
            raise ConfigError(
                f"validation.metrics: {self._name}: expected at most {MOST_CLASSES} classes, the output {subject.output.name!r} "
                f"has {self._columns}",
                "name the output with the scores of classes with validation.output",
            )
        self._ours, self._theirs = _Ranking(self._columns), _Ranking(self._columns)

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.bool_]) -> None:
        self._ours.add(outputs.reshape(labels.shape), labels)
        self._theirs.add(reference.reshape(labels.shape), labels)

    def result(self) -> dict[str, Measurement]:
        ours, theirs = self._areas(self._ours), self._areas(self._theirs)
        if not ours:
            raise ConfigError(
                f"validation.metrics: {self._name}: {self._subject.origin} holds no class both with and without samples",
                "an area needs samples of the class and of the rest",
            )
        means = [float(np.mean(list(areas.values()))) for areas in (ours, theirs)]
        return {self._name: Measurement(significant(means[0]), significant(means[1]))}

    def tables(self) -> dict[str, Table]:
        areas = self._areas(self._ours)
        shown = sorted(sorted(areas, key=lambda column: (areas[column], column))[:CURVES])
        rows: list[tuple[int, float, float]] = []
        for column in shown:
            xs, ys = self._curve(*self._ours.ranked(column))
            way = np.append(0.0, np.cumsum(np.abs(np.diff(xs)) + np.abs(np.diff(ys))))
            keep = np.unique(np.searchsorted(way, np.linspace(0, way[-1], POINTS)))  # evenly along the curve
            label = 1 if self._columns == 1 else column
            rows += [(label, significant(float(xs[i])), significant(float(ys[i]))) for i in keep]
        return {self._table: Table(self._title, ("class", *self._axes), tuple(rows), "curve")}

    def _areas(self, ranking: _Ranking) -> dict[int, float]:
        found = {}
        for column in range(self._columns):
            positives, negatives = ranking.ranked(column)
            if positives[-1] and negatives[-1]:
                found[column] = self._area(positives, negatives)
        return found

    def _area(self, positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float:
        raise NotImplementedError

    def _curve(
        self, positives: NDArray[np.float64], negatives: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        raise NotImplementedError


class RocAuc(_Areas):
    """The chance that a sample of the class scores higher than one of the rest, ties counting half; the mean over all classes
    that the dataset has samples of. Exact up to 4.2 million scores (samples times classes), above in 1,024 bins per class.
    """

    _name, _table, _title = "roc_auc", "roc_curve", "ROC curve"
    _axes = ("false positive rate", "true positive rate")

    def _area(self, positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float:
        y, x = np.append(0.0, positives), np.append(0.0, negatives)
        return float(((y[1:] + y[:-1]) * np.diff(x)).sum() / (2 * positives[-1] * negatives[-1]))

    def _curve(
        self, positives: NDArray[np.float64], negatives: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.append(0.0, negatives / negatives[-1]), np.append(0.0, positives / positives[-1])


class PrAuc(_Areas):
    """Average precision: precision at each threshold, weighted by the recall that it adds; the mean over all classes that the
    dataset has samples of. Exact up to 4.2 million scores (samples times classes), above in 1,024 bins per class.
    """

    _name, _table, _title = "pr_auc", "pr_curve", "Precision-recall curve"
    _axes = ("recall", "precision")

    def _area(self, positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float:
        recall, precision = self._curve(positives, negatives)
        return float((np.diff(recall) * precision[1:]).sum())

    def _curve(
        self, positives: NDArray[np.float64], negatives: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        precision = positives / (positives + negatives)
        return np.append(0.0, positives / positives[-1]), np.append(1.0, precision)
