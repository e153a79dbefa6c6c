"""Folds the outputs of the shipped file and of TensorFlow into the metrics that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.metrics import ALWAYS, METRICS, Measurement, Metric, Subject, Table, create
from mlkit_build.metrics.classification import classes
from mlkit_build.metrics.labels import labels_as
from mlkit_build.metrics.scored import SAMPLES
from mlkit_build.recipe import MetricChoice
from mlkit_build.signature import TensorSpec
from mlkit_build.stages.inference import Outputs

HELD_BYTES = 1 << 18
"""Outputs and labels that are held until their metrics are computed at once."""
_ROWS = 1024
"""Of TensorFlow's outputs, that are looked at again at once."""

_OVERFLOW = "TensorFlow's model gives numbers there: the quantization may overflow"


class Measuring:
    """A running measurement of many samples at a time: NumPy's calls would otherwise wait for the threads' turn.

    Parity is measured on every output, the other metrics on the one that the recipe names.

    Args:
        choices: The metrics, besides those always measured.
        output: The name of the output that they read; the first one when None.
        outputs: The model's outputs.
        references: TensorFlow's values of each, `[samples, values]`.
        code: The files of the recipe's own metrics.
        is_rounded: Whether the references are a quantized model's too.
        scores_of: What the output that they read is class scores of, see `metrics.scored`.

    Raises:
        ConfigError: A metric does not fit the output.
    """

    def __init__(
        self,
        choices: Sequence[MetricChoice],
        output: str | None,
        outputs: Sequence[TensorSpec],
        dataset: Dataset,
        references: Sequence[NDArray[np.float32]],
        code: Mapping[str, Path],
        *,
        is_rounded: bool = False,
        scores_of: str = "",
    ) -> None:
        self._outputs = outputs
        self._references = references
        self._dataset = dataset
        self._judged = judged_output(outputs, output)
        subjects = [Subject(spec, len(dataset), dataset.origin, code, is_rounded, dataset.sample) for spec in outputs]
        subjects[self._judged] = replace(subjects[self._judged], scores_of=scores_of)
        self._subject = subjects[self._judged]
        asked = [choice for choice in choices if choice.name not in ALWAYS]
        self._metrics = [(METRICS[choice.name].labels, create(choice, self._subject)) for choice in asked]
        self._parity: list[list[Metric]] = [[create(MetricChoice(name=name), subject) for name in ALWAYS] for subject in subjects]
        self._held: list[Outputs] = []
        self._labels: list[NDArray[Any]] = []
        self._measured = 0
        self._held_bytes = 0
        self._predicted: list[NDArray[np.int32]] = []

    @property
    def classes(self) -> int:
        """How many classes the predictions tell apart, if they are any."""
        return self._outputs[self._judged].size

    @property
    def predictions(self) -> NDArray[np.int32]:
        """The class with the highest score of every sample, once the result is known: `[samples]`."""
        return np.concatenate(self._predicted)

    def expected_predictions(self) -> NDArray[np.int32]:
        """Return the class that TensorFlow's model scores highest, of every sample: `[samples]`."""
        table = self._references[self._judged]
        parts = [_highest(table[first : first + _ROWS]) for first in range(0, len(table), _ROWS)]
        return np.concatenate(parts)

    def add(self, batch: Batch, results: Outputs) -> None:
        """Take the outputs of the next batch. Raises ConfigError for labels that do not fit, StageError for NaN."""
        self._held.append(results)
        self._held_bytes += sum(array.nbytes for array in results)
        if batch.labels is not None:
            self._labels.append(batch.labels)
            self._held_bytes += batch.labels.nbytes
        if self._held_bytes > HELD_BYTES:
            self._fold()

    def result(self) -> tuple[dict[str, Measurement], dict[str, Table]]:
        """Return every measured value, and every table."""
        self._fold()
        measured: dict[str, Measurement] = {}
        tables: dict[str, Table] = {}
        for _, metric in self._metrics:
            found = metric.result()
            twice = measured.keys() & found.keys()
            if twice:
                raise ConfigError(f"validation.metrics: {min(twice)}: two metrics yield a value of that name; rename one")
            measured |= found
            tables |= metric.tables()
        results = [{name: value for metric in output for name, value in metric.result().items()} for output in self._parity]
        if len(results) > 1:
            names = [spec.name for spec in self._outputs]
            tables["parity"] = _per_output(names, results)
            results = [_named(name, result) for name, result in zip(names, results, strict=True)]
        return measured | worst(results), tables

    def _fold(self) -> None:
        if not self._held:
            return
        joined = [np.concatenate(column) for column in zip(*self._held, strict=True)]
        labels = np.concatenate(self._labels) if self._labels else None
        first, self._measured = self._measured, self._measured + len(joined[0])
        self._held, self._labels, self._held_bytes = [], [], 0
        forms = dict.fromkeys(form for form, _ in self._metrics if form)
        given = {form: labels if labels is None else labels_as(form, labels, self._subject, first) for form in forms}
        for index, spec in enumerate(self._outputs):
            found = joined[index]
            expected = self._references[index][first : self._measured]
            refuse_not_finite("evaluate: the model's", spec, found, first, self._dataset)
            if index == self._judged:
                self._predicted.append(_highest(found))
            for metric in self._parity[index]:
                metric.update(found, expected, None)
            for form, metric in self._metrics if index == self._judged else ():
                metric.update(found, expected, given.get(form))


def _highest(found: NDArray[np.float32]) -> NDArray[np.int32]:
    return (classes(found) if found.shape[1] > 1 else np.zeros(len(found))).astype(np.int32)


def worst(results: Sequence[Mapping[str, Measurement]]) -> dict[str, Measurement]:
    """Return the worst of each value over all outputs: the greatest error, the least agreement."""
    found: dict[str, Measurement] = {}
    for result in results:
        for name, value in result.items():
            pick = max if value.lower_is_better else min
            found[name] = pick(found.get(name, value), value, key=lambda measurement: measurement.value)
    return found


def _named(output: str, result: Mapping[str, Measurement]) -> dict[str, Measurement]:
    return {name: replace(value, output=output) for name, value in result.items()}


def refuse_not_finite(
    who: str, spec: TensorSpec, found: NDArray[Any], first: int, dataset: Dataset, hint: str = _OVERFLOW
) -> None:
    """Refuse NaN and infinity among `[n, ...]` values. Raises StageError, which names output, sample and value."""
    if not np.isfinite(found).all():
        flat = found.reshape(len(found), -1)
        row, column = (int(axis[0]) for axis in np.nonzero(~np.isfinite(flat)))
        raise StageError(
            f"{who} output {spec.name!r} is not finite for {dataset.sample(first + row)}: expected numbers, "
            f"found {flat[row, column]}",
            hint,
        )


def _per_output(names: Sequence[str], results: Sequence[Mapping[str, Measurement]]) -> Table:
    columns = [column for column in METRICS["parity"].values if any(column in result for result in results)]
    cells = [[result[column].value if column in result else None for column in columns] for result in results]
    rows = tuple((name, *row) for name, row in zip(names, cells, strict=True))
    return Table("Parity of each output", ("output", *columns), rows)


def judged_output(outputs: Sequence[TensorSpec], name: str | None) -> int:
    """Return the place of the output that metrics read: the first one when None. Raises ValueError where none is called so."""
    return 0 if name is None else [spec.name for spec in outputs].index(name)


def scored_output(outputs: Sequence[TensorSpec], name: str | None, scores_of: str) -> int | None:
    """Return the place of the output that has a sample's class scores: the one that metrics read. None where it may not.

    Args:
        name: What the recipe calls the output that metrics read; the first one when None.
        scores_of: What it is scores of, see `metrics.scored`.
    """
    place = judged_output(outputs, name)
    return place if scores_of == SAMPLES and outputs[place].is_vector else None
