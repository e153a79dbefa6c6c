"""validate: the shipped file and the TensorFlow model on the same samples. What the gates judge is measured here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset, contents, fingerprints, open_dataset
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.metrics import ALWAYS, METRICS, Measurement, Metric, create
from mlkit_build.plain import from_plain, pretty
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.inference import BATCH, PROBED, LiteRtModel, Outputs, TensorFlowModel, feeds, predictions
from mlkit_build.stages.likeness import InputRanges, warning_of
from mlkit_build.stages.params import EvaluateParams, ReferenceParams

HELD_BYTES = 1 << 20
"""Samples and outputs that are held until their metrics are computed at once."""


def reference(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Run the frozen graph in TensorFlow and write `reference.bin`: for each output, all samples, float32, C order.

    Raises:
        ConfigError: The samples do not fit the signature.
        StageError: TensorFlow fails, or an output is not finite.
    """
    request = from_plain(ReferenceParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    dataset = open_dataset(request.dataset, inputs["dataset"], "dataset", signature)
    first = next(dataset.batches(PROBED))
    model = TensorFlowModel(inputs["frozen_graph.pb"], signature, feeds(dataset, signature, request.inputs), first)
    tables = _Reference(outputs / "reference.bin", signature, len(dataset), "w+")
    for batch, results in predictions(dataset, signature, model.run):
        for spec, table, found in zip(signature.outputs, tables.arrays, results, strict=True):
            _refuse_not_finite("reference: TensorFlow's", spec, found, batch.first)
            table[batch.first : batch.first + len(batch)] = found
    tables.flush()


def evaluate(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Run the `.tflite` on the dataset and write `metrics.json`: value name -> value and TensorFlow's value.

    With the parameter `allow_select_ops`, how many of each Flex operator the model holds is among the values.

    And `observations.json`: what was fed, as `inputs` (name -> least and greatest value), and as `warning` how far that is from
    what the model was calibrated on, given `calibration.json`; empty when it is near.

    Raises:
        ConfigError: Samples do not fit, labels are outside the classes, or calibration samples are among them.
        StageError: LiteRT refuses the model, its Flex operators cannot be run, or an output is not finite.
    """
    request = from_plain(EvaluateParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    model = inputs["model"]
    measured = {"size_bytes": Measurement(model.stat().st_size)}
    flex = _flex_operators(model) if request.allow_select_ops else {}
    measured |= {name: Measurement(count) for name, count in flex.items()}
    fed, told = {}, ""
    if request.dataset is not None:
        dataset = open_dataset(request.dataset, inputs["dataset"], "dataset", signature)
        overlap = None
        if request.calibration is not None:
            overlap = _Overlap(open_dataset(request.calibration, inputs["calibration"], "calibration", signature), dataset)
        ranges = InputRanges(feeds(dataset, signature, request.inputs))
        measured |= _measure(request, signature, dataset, model, inputs["reference.bin"], overlap, ranges, flex=bool(flex))
        fed = ranges.found()
        if "calibration.json" in inputs:
            calibrated = json.loads(inputs["calibration.json"].read_bytes())["inputs"]
            told = warning_of({spec.name: calibrated[spec.name] for spec in signature.inputs if spec.dtype == "float32"}, fed)
    (outputs / "observations.json").write_bytes(pretty({"inputs": fed, "warning": told}))
    (outputs / "metrics.json").write_bytes(pretty(measured))


def _measure(
    request: EvaluateParams,
    signature: FrozenSignature,
    dataset: Dataset,
    model: Path,
    reference_path: Path,
    overlap: _Overlap | None,
    ranges: InputRanges,
    *,
    flex: bool,
) -> dict[str, Measurement]:
    tables = _Reference(reference_path, signature, len(dataset), "r")
    judge = _Judge(request, signature, dataset, tables)
    first = next(dataset.batches(PROBED))
    shipped = LiteRtModel(model, signature, feeds(dataset, signature, request.inputs), first, flex=flex)

    def run(batch: Batch) -> Outputs:
        results = shipped.run(batch)  # refuses samples that are not valid
        ranges.look(batch)
        return results

    for batch, results in predictions(dataset, signature, run):
        if overlap is not None:
            overlap.look(batch)
        judge.add(batch, results)
    if overlap is not None:
        overlap.refuse()
    return judge.result()


def _flex_operators(model: Path) -> dict[str, int]:
    from mlkit_build.tflite import model as flatbuffer
    from mlkit_build.tflite.flex import flex_operators

    return flex_operators(flatbuffer.read(model))


class _Judge:
    """Folds the outputs into the metrics, many samples at a time: NumPy's calls would otherwise wait for the threads' turn.

    Parity is measured on every output, the other metrics on the one that the recipe names.
    """

    def __init__(self, request: EvaluateParams, signature: FrozenSignature, dataset: Dataset, tables: _Reference) -> None:
        self._outputs = signature.outputs
        self._judged = next((i for i, spec in enumerate(signature.outputs) if spec.name == request.output), 0)
        self._metrics = {name: create(name) for name in request.metrics if name not in ALWAYS}
        self._always: list[dict[str, Metric]] = [{name: create(name) for name in ALWAYS} for _ in signature.outputs]
        self._labelled = any(METRICS[name].needs_labels for name in self._metrics)
        self._dataset = dataset
        self._tables = tables
        self._held: list[tuple[Batch, Outputs]] = []
        self._held_bytes = 0

    def add(self, batch: Batch, results: Outputs) -> None:
        """Take the outputs of the next batch. Raises ConfigError for a label outside the classes, StageError for NaN."""
        self._held.append((batch, results))
        self._held_bytes += sum(array.nbytes for array in (*results, *batch.features.values()))
        if self._held_bytes > HELD_BYTES:
            self._fold()

    def result(self) -> dict[str, Measurement]:
        """Return every measured value."""
        self._fold()
        measured: dict[str, Measurement] = {}
        for metric in self._metrics.values():
            measured |= metric.result()
        return measured | _worst([metric.result() for output in self._always for metric in output.values()])

    def _fold(self) -> None:
        if not self._held:
            return
        held, self._held, self._held_bytes = self._held, [], 0
        first = held[0][0].first
        rows = slice(first, held[-1][0].first + len(held[-1][0]))
        labels = np.concatenate([batch.labels for batch, _ in held if batch.labels is not None] or [np.empty(0, np.int64)])
        if self._labelled:
            _check_labels(labels, self._outputs[self._judged].size, first, self._dataset)
        for index, spec in enumerate(self._outputs):
            found = np.concatenate([results[index] for _, results in held])
            expected = self._tables.arrays[index][rows]
            _refuse_not_finite("evaluate: the model's", spec, found, first)
            for metric in self._always[index].values():
                metric.update(found, expected, None)
            for metric in self._metrics.values() if index == self._judged else ():
                metric.update(found, expected, labels)


def _worst(results: list[dict[str, Measurement]]) -> dict[str, Measurement]:
    """Return the worst of each parity value over all outputs: the greatest error, the least agreement."""
    worst: dict[str, Measurement] = {}
    for result in results:
        for name, found in result.items():
            pick = max if name == "max_abs_error" else min
            worst[name] = pick(worst.get(name, found), found, key=lambda measurement: measurement.value)
    return worst


class _Reference:
    """Reference outputs on disk, memory-mapped: one `[samples, values]` float32 table per output, one after another."""

    def __init__(self, path: Path, signature: FrozenSignature, samples: int, mode: str) -> None:
        shapes = [(samples, spec.size) for spec in signature.outputs]
        total = sum(rows * columns for rows, columns in shapes)
        found = total * 4 if mode != "r" else path.stat().st_size
        if found != total * 4:
            raise StageError(f"evaluate: the reference outputs have {found} bytes, expected {total * 4}")
        memory: Any = np.memmap(path, np.float32, mode, shape=(total,))  # type: ignore[call-overload]
        self._memory = memory
        self.arrays: list[NDArray[np.float32]] = []
        start = 0
        for rows, columns in shapes:
            self.arrays.append(memory[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns

    def flush(self) -> None:
        self._memory.flush()


def _refuse_not_finite(who: str, spec: TensorSpec, found: NDArray[Any], first: int) -> None:
    if not np.isfinite(found).all():
        row = int(np.nonzero(~np.isfinite(found.reshape(len(found), -1)).all(axis=1))[0][0])
        raise StageError(
            f"{who} output {spec.name!r} is not finite for sample {first + row}",
            "the sample may be out of the model's range, or the quantization may overflow",
        )


def _check_labels(labels: NDArray[np.int64], classes: int, first: int, dataset: Dataset) -> None:
    wrong = np.nonzero((labels < 0) | (labels >= classes))[0]
    if len(wrong):
        raise ConfigError(
            f"{dataset.origin}: sample {first + int(wrong[0])}: expected a label in 0..{classes - 1}, the model's classes, "
            f"found {int(labels[wrong[0]])}"
        )


class _Overlap:
    """Looks for calibration samples among the batches that pass by, so that the dataset is decoded once.

    A model measured on what it was calibrated on looks better than it is.
    """

    def __init__(self, calibration: Dataset, dataset: Dataset) -> None:
        self._calibration = calibration
        self._dataset = dataset
        found = [fingerprints(list(batch.features.values())) for batch in calibration.batches(BATCH)]
        self._known = np.sort(np.concatenate(found))
        self._suspected = False

    def look(self, batch: Batch) -> None:
        """Notice samples that look like one of the calibration's."""
        prints = fingerprints(list(batch.features.values()))
        nearest = np.minimum(np.searchsorted(self._known, prints), len(self._known) - 1)
        self._suspected |= bool((self._known[nearest] == prints).any())

    def refuse(self) -> None:
        """Raise ConfigError if samples are in both; only where some look alike are all compared by their identity."""
        if not self._suspected:
            return
        measured = set(contents(self._dataset))
        order = contents(self._calibration)
        shared = [index for index, identity in enumerate(order) if identity in measured]
        if shared:
            raise ConfigError(
                f"calibration: {len(shared)} of its {len(order)} samples are also in the validation dataset "
                f"(the first is sample {shared[0]} of those chosen); {self._calibration.origin}; {self._dataset.origin}",
                "calibrate on samples of the training set",
            )
