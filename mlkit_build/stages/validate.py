"""validate: the shipped file and the TensorFlow model on the same samples. What the gates judge is measured here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset, identities, open_dataset
from mlkit_build.datasets.feeding import Feed
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.metrics import ALWAYS, METRICS, Measurement, Metric, create
from mlkit_build.plain import from_plain, pretty
from mlkit_build.recipe import Input
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.params import EvaluateParams, ReferenceParams

if TYPE_CHECKING:
    from mlkit_build.tflite.runner import Runner

BATCH = 64
"""Samples per inference where the model allows; a constant, so that no result depends on the machine."""
BATCH_BYTES = 1 << 22
"""A batch's inputs stay within 4 MB: batching pays for small models, whose Python call is the larger part."""
TASK = 256
"""Samples that a thread is given at once where they are as small: each task costs Python's time, which threads share."""
PROBED = 3
"""Samples on which batched and single inference are compared before batches are trusted."""


def reference(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Run the frozen graph in TensorFlow and write `reference.bin`: for each output, all samples, float32, C order.

    Raises:
        ConfigError: The samples do not fit the signature.
        StageError: TensorFlow fails, or an output is not finite.
    """
    request = from_plain(ReferenceParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    dataset = open_dataset(request.dataset, inputs["dataset"], "dataset")
    feeds = {spec.name: Feed(dataset, spec, request.inputs[spec.name]) for spec in signature.inputs}
    run = _TensorFlowModel(inputs["frozen_graph.pb"], signature)
    tables = _Reference(outputs / "reference.bin", signature, len(dataset), "w+")
    for batch in dataset.batches(BATCH):
        values = {name: feed.values(batch.features[name], batch.first) for name, feed in feeds.items()}
        for spec, table, found in zip(signature.outputs, tables.arrays, run(values), strict=True):
            _refuse_not_finite("reference: TensorFlow's", spec, found, batch.first)
            table[batch.first : batch.first + len(batch)] = found.reshape(len(batch), -1)
    tables.flush()


def evaluate(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Run the `.tflite` on the dataset and write `metrics.json`: value name -> value and TensorFlow's value.

    Raises:
        ConfigError: Samples do not fit, labels are outside the classes, or calibration samples are among them.
        StageError: LiteRT refuses the model, or an output is not finite.
    """
    request = from_plain(EvaluateParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    model = inputs["model"]
    measured = {"size_bytes": Measurement(model.stat().st_size)}
    if request.dataset is not None:
        dataset = open_dataset(request.dataset, inputs["dataset"], "dataset")
        overlap = None
        if request.calibration is not None:
            overlap = _Overlap(open_dataset(request.calibration, inputs["calibration"], "calibration"), dataset)
        measured |= _measure(request, signature, dataset, model, inputs["reference.bin"], overlap)
    (outputs / "metrics.json").write_bytes(pretty(measured))


def _measure(
    request: EvaluateParams,
    signature: FrozenSignature,
    dataset: Dataset,
    model: Path,
    reference_path: Path,
    overlap: _Overlap | None,
) -> dict[str, Measurement]:
    tables = _Reference(reference_path, signature, len(dataset), "r")
    judged = next((i for i, spec in enumerate(signature.outputs) if spec.name == request.output), 0)
    metrics = {name: create(name) for name in request.metrics if name not in ALWAYS}
    always: list[dict[str, Metric]] = [{name: create(name) for name in ALWAYS} for _ in signature.outputs]
    classes = signature.outputs[judged].size
    for batch, results in _inferences(dataset, signature, request.inputs, model):
        if overlap is not None:
            overlap.look(batch)
        rows = slice(batch.first, batch.first + len(batch))
        labels = batch.labels
        if labels is not None and any(METRICS[name].needs_labels for name in metrics):
            _check_labels(labels, classes, batch.first, dataset)
        for index, (spec, found) in enumerate(zip(signature.outputs, results, strict=True)):
            _refuse_not_finite("evaluate: the model's", spec, found, batch.first)
            expected = tables.arrays[index][rows]
            for metric in always[index].values():
                metric.update(found, expected, None)
            if index == judged:
                for metric in metrics.values():
                    metric.update(found, expected, labels)
    if overlap is not None:
        overlap.refuse()
    measured: dict[str, Measurement] = {}
    for metric in metrics.values():
        measured |= metric.result()
    return measured | _worst([metric.result() for output in always for metric in output.values()])


def _worst(results: list[dict[str, Measurement]]) -> dict[str, Measurement]:
    """Return the worst of each parity value over all outputs: the greatest error, the least agreement."""
    worst: dict[str, Measurement] = {}
    for result in results:
        for name, found in result.items():
            pick = max if name == "max_abs_error" else min
            worst[name] = pick(worst.get(name, found), found, key=lambda measurement: measurement.value)
    return worst


def _inferences(
    dataset: Dataset, signature: FrozenSignature, stated: Mapping[str, Input], model: Path
) -> Iterator[tuple[Batch, list[NDArray[Any]]]]:
    """Yield each batch with its outputs, in order, computed by one single-threaded interpreter per core.

    `Interpreter.invoke` releases the GIL, and single-threaded interpreters give the same bits on any machine.
    """
    feeds = {spec.name: Feed(dataset, spec, stated[spec.name]) for spec in signature.inputs}
    workers = max(1, min(os.cpu_count() or 1, 8))
    models = _Models(model, signature, feeds)
    models.probe(next(dataset.batches(PROBED)))
    with ThreadPoolExecutor(workers) as executor:
        batches = dataset.batches(max(BATCH, min(TASK, BATCH_BYTES // _sample_bytes(signature))))
        pending = [(batch, executor.submit(models.run, batch)) for batch in islice(batches, 2 * workers)]
        while pending:
            batch, future = pending.pop(0)
            yield batch, future.result()
            pending += [(following, executor.submit(models.run, following)) for following in islice(batches, 1)]


def _sample_bytes(signature: FrozenSignature) -> int:
    return max(1, sum(4 * spec.size for spec in (*signature.inputs, *signature.outputs)))


class _Models:
    """Runners of one model, one per thread, batched where that gives the same bits."""

    def __init__(self, path: Path, signature: FrozenSignature, feeds: Mapping[str, Feed]) -> None:
        import threading

        self._path = path
        self._signature = signature
        self._feeds = feeds
        self._batch = 1
        self._local = threading.local()
        try:
            single = self._single()
            single.run(self._zeros(1))
            self._pixels = {name for name, feed in feeds.items() if feed.is_image and single.takes_pixels(name)}
        except (ValueError, RuntimeError) as error:
            raise StageError(f"evaluate: LiteRT cannot run the model: {str(error).splitlines()[0]}") from error

    def probe(self, batch: Batch) -> None:
        """Use batches if a few samples, padded to a full batch, come out bit for bit as they do one by one."""
        size = min(BATCH, BATCH_BYTES // _sample_bytes(self._signature))
        batchable = all(spec.shape and spec.shape[0] == 1 for spec in (*self._signature.inputs, *self._signature.outputs))
        if size < 2 or not batchable:
            return
        alone = self.run(batch)
        try:
            self._batch = size
            together = self.run(batch)
        except (ValueError, RuntimeError):
            together = []
        same = len(together) == len(alone) and all(map(np.array_equal, alone, together))
        if not same:
            self._batch = 1
            self._local.__dict__.clear()

    def run(self, batch: Batch) -> list[NDArray[Any]]:
        """Return each output of the batch's samples, `[n, values]`."""
        values = {
            name: (feed.pixels if name in self._pixels else feed.values)(batch.features[name], batch.first)
            for name, feed in self._feeds.items()
        }
        parts: list[list[NDArray[Any]]] = []
        for start in range(0, len(batch), self._batch):
            part = {name: array[start : start + self._batch] for name, array in values.items()}
            parts.append(self._run_part(part))
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _run_part(self, part: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        count = len(next(iter(part.values())))
        if count < self._batch:
            part = {
                name: np.concatenate([array, np.zeros((self._batch - count, *array.shape[1:]), array.dtype)])
                for name, array in part.items()
            }
        results = (self._batched() if self._batch > 1 else self._single()).run(part)
        rows = max(1, self._batch)
        return [result.reshape(rows, -1)[:count].astype(np.float32) for result in results]

    def _single(self) -> Runner:
        return self._runner("single", 1)

    def _batched(self) -> Runner:
        return self._runner("batched", self._batch)

    def _runner(self, kind: str, batch: int) -> Runner:
        from mlkit_build.tflite.runner import Runner

        if not hasattr(self._local, kind):
            setattr(self._local, kind, Runner(self._path, self._signature, batch))
        runner: Runner = getattr(self._local, kind)
        return runner

    def _zeros(self, count: int) -> dict[str, NDArray[Any]]:
        return {spec.name: np.zeros((count, *spec.shape[1:]), spec.dtype) for spec in self._signature.inputs}


class _TensorFlowModel:
    """The frozen graph in a session, batched where the graph allows and the results agree.

    Operators run single-threaded: sums split over another number of threads round differently.
    """

    def __init__(self, path: Path, signature: FrozenSignature) -> None:
        import tensorflow as tf

        self._signature = signature
        self._graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
        self._single = self._session(None)
        self._batched: Any = None
        self._probed = False

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return each output, `[n, values]` float32."""
        if not self._probed:
            self._probe({name: array[:PROBED] for name, array in values.items()})
        count = len(next(iter(values.values())))
        if self._batched is not None:
            return [array.reshape(count, -1) for array in self._run(self._batched, values)]
        rows = [
            self._run(self._single, {spec.name: values[spec.name][row].reshape(spec.shape) for spec in self._signature.inputs})
            for row in range(count)
        ]
        return [np.stack(column).reshape(count, -1) for column in zip(*rows, strict=True)]

    def _probe(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Use batches if the graph takes an unknown batch and gives the same results, up to rounding, as one by one."""
        self._probed = True
        if not all(spec.shape and spec.shape[0] == 1 for spec in (*self._signature.inputs, *self._signature.outputs)):
            return
        alone = self(values)
        try:
            candidate = self._session(-1)
            together = [array.reshape(len(alone[0]), -1) for array in self._run(candidate, values)]
        except Exception:  # TensorFlow raises many kinds here, and any of them means: not batchable
            return
        if len(together) == len(alone) and all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(alone, together, strict=True)
        ):
            self._batched = candidate

    def _session(self, batch: int | None) -> Any:
        import tensorflow as tf

        graph_def = self._graph_def
        if batch is not None:
            graph_def = tf.compat.v1.GraphDef()
            graph_def.CopyFrom(self._graph_def)
            inputs = {spec.tensor.partition(":")[0] for spec in self._signature.inputs}
            for node in graph_def.node:
                if node.name in inputs:
                    node.attr["shape"].shape.dim[0].size = batch
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(graph_def, name="")
        threads = os.cpu_count() or 1
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=threads)
        return tf.compat.v1.Session(graph=graph, config=config)

    def _run(self, session: Any, values: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        feed = {spec.tensor: values[spec.name] for spec in self._signature.inputs}
        results = session.run([spec.tensor for spec in self._signature.outputs], feed)
        return [np.asarray(result, np.float32) for result in results]


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
        self._order = calibration.identities()
        self._known = set(self._order)
        self._shared: set[bytes] = set()

    def look(self, batch: Batch) -> None:
        """Remember which samples of the batch were seen in calibration."""
        self._shared.update(self._known.intersection(identities(list(batch.features.values()))))

    def refuse(self) -> None:
        """Raise ConfigError if there were any."""
        shared = [index for index, identity in enumerate(self._order) if identity in self._shared]
        if shared:
            raise ConfigError(
                f"calibration: {len(shared)} of its {len(self._order)} samples are also in the validation dataset "
                f"(the first is sample {shared[0]} of those chosen); {self._calibration.origin}; {self._dataset.origin}",
                "calibrate on samples of the training set",
            )
