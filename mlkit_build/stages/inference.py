"""Runs many samples through a model: the shipped file in LiteRT, and the frozen graph in TensorFlow.

Of a shipped file with Flex operators, those alone run in TensorFlow.

Each model runs single-threaded, one batch per core at a time: sums split over another number of threads round differently,
and so nothing here depends on the machine's cores but the speed. Both are batched where the model allows it and where a few
samples come out as they do one by one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset
from mlkit_build.datasets.feeding import Feed
from mlkit_build.datasets.parallel import in_order
from mlkit_build.errors import ConfigError, MlkitBuildError, StageError, operator_reason
from mlkit_build.recipe import Input
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.probing import among_others, begin_alike, close, same, with_noise

if TYPE_CHECKING:
    from mlkit_build.tflite.flex import FlexModel, FlexRunner
    from mlkit_build.tflite.runner import Runner

BATCH = 128
"""Samples per inference where the model allows."""
BATCH_BYTES = 1_000_000
"""A batch's inputs and outputs stay within 1 MB, in a core's cache: batching pays for small models, whose Python call is the
larger part, and costs MobileNetV2 a third of its speed."""
TASK = 1024
"""Samples that a thread is given at once: each task costs Python's time, which threads share."""
TASK_BYTES = 1 << 23
"""A task's inputs and outputs stay within 8 MB: few enough tasks wait for the memory to stay flat, and threads end together."""
_WRONG_INDEX = re.compile(r"indices\[[\d,]*\] = (-?\d+) is not in \[0, (\d+)\)")
"""What the kernels of TensorFlow's gathers say (`gather_op.cc`)."""

Outputs = list[NDArray[Any]]
"""Each output of a batch's samples, `[n, values]` float32, in the signature's order."""


def feeds(dataset: Dataset, signature: FrozenSignature, stated: Mapping[str, Input]) -> dict[str, Feed]:
    """Return what turns the dataset's features into the model's inputs. Raises ConfigError where they do not fit."""
    return {spec.name: Feed(dataset, spec, stated.get(spec.name, Input())) for spec in signature.inputs}


def predictions(
    dataset: Dataset, signature: FrozenSignature, run: Callable[[Batch], Outputs], multiple: int = 1
) -> Iterator[tuple[Batch, Outputs]]:
    """Yield each batch with what `run` makes of it, in the dataset's order, on every core: a multiple of `multiple` at once."""
    size = min(TASK, TASK_BYTES // _sample_bytes(signature))
    return in_order(dataset, max(multiple, size - size % multiple), run)


def _sample_bytes(signature: FrozenSignature) -> int:
    return max(1, sum(4 * spec.size for spec in (*signature.inputs, *signature.outputs)))


def _batchable(signature: FrozenSignature) -> bool:
    return all(spec.shape and spec.shape[0] == 1 for spec in (*signature.inputs, *signature.outputs))


def ready(runner: Runner | FlexRunner, spec: TensorSpec, feed: Feed, raw: NDArray[Any], first: int) -> NDArray[Any]:
    """Return samples for `fill`, `[n, ...]`, as an app would feed them. Raises ConfigError as `Feed.values`."""
    dtype = runner.dtype(spec.name)
    if dtype == spec.dtype:
        return feed.ready(raw, first)
    if dtype == np.uint8 and feed.is_image:
        return feed.pixels(raw, first)
    return runner.encode(spec.name, feed.values(raw, first))


def fill(runner: Runner | FlexRunner, spec: TensorSpec, feed: Feed, samples: NDArray[Any], batch: int) -> None:
    """Write samples that are `ready` into the interpreter's memory, and zeros where a batch is not full."""
    rows = runner.buffer(spec.name).reshape(batch, *spec.shape[1:])
    if rows.dtype == spec.dtype:
        feed.write(samples, rows[: len(samples)])
    else:
        rows[: len(samples)] = samples
    if len(samples) < batch:
        rows[len(samples) :] = 0


class LiteRtModel:
    """The shipped file, with an interpreter per thread. Batched only where that gives the same bits.

    Args:
        path: The `.tflite`.
        signature: The frozen signature.
        feeds: What turns features into inputs.
        first: A few samples to try batches on.
        flex: Whether the model has Flex operators, which TensorFlow then runs, one sample at a time.

    Attributes:
        batch: How many samples go in at once.

    Raises:
        StageError: LiteRT cannot run the model.
    """

    def __init__(
        self, path: Path, signature: FrozenSignature, feeds: Mapping[str, Feed], first: Batch, *, flex: bool = False
    ) -> None:
        self._path = path
        self._signature = signature
        self._feeds = feeds
        self.batch = 1
        self._idle: list[Runner | FlexRunner] = []
        self._flex = self._split() if flex else None
        if self._flex is not None:
            return  # nothing to try: some operators refuse zeros (no matrix of them has an inverse), and batches
        one = Batch(first.first, {name: values[:1] for name, values in first.features.items()}, None)
        try:
            self.run(one)  # not what its memory holds at first: numbers of any size, which are no indices
        except (ValueError, RuntimeError) as error:
            raise StageError(f"evaluate: LiteRT cannot run the model: {str(error).splitlines()[0]}") from error
        self._probe(first)

    def run(self, batch: Batch) -> Outputs:
        """Return the outputs of the batch's samples. Threads may share it."""
        runner, parts = self._runner(), []
        inputs = [(spec, self._feeds[spec.name]) for spec in self._signature.inputs]
        samples = [ready(runner, spec, feed, batch.features[spec.name], batch.first) for spec, feed in inputs]
        for start in range(0, len(batch), self.batch):
            end = min(start + self.batch, len(batch))
            for (spec, feed), values in zip(inputs, samples, strict=True):
                fill(runner, spec, feed, values[start:end], self.batch)
            parts.append([result.reshape(self.batch, -1)[: end - start] for result in runner.invoke()])
        self._idle.append(runner)
        return [np.concatenate(column).astype(np.float32, copy=False) for column in zip(*parts, strict=True)]

    def _probe(self, batch: Batch) -> None:
        """Use batches if a few samples come out bit for bit as one by one, beside zeros and beside what is unlike them."""
        size = min(BATCH, BATCH_BYTES // _sample_bytes(self._signature))
        if size < 2 or not _batchable(self._signature):
            return
        try:
            trial = with_noise(batch, self._signature, self._feeds)
            alone = self.run(trial)
            self._use(size)
            kept, others = among_others(trial, self._signature, self._feeds, size)
            are_equal = begin_alike(alone, self.run(trial), len(trial), same)
            are_equal &= all(begin_alike(alone, self.run(other), kept, same) for other in others)
        except (ValueError, RuntimeError):
            are_equal = False
        if not are_equal:
            self._use(1)

    def _use(self, batch: int) -> None:
        self.batch = batch
        self._idle = []

    def _split(self) -> FlexModel:
        from mlkit_build.tflite.flex import FlexModel

        return FlexModel(self._path, self._signature)

    def _runner(self) -> Runner | FlexRunner:
        """Return an interpreter for the batch in use that no other thread has: one that was used before, or else a new one."""
        from mlkit_build.tflite.runner import Runner

        with suppress(IndexError):
            return self._idle.pop()
        return self._flex.runner() if self._flex else Runner(self._path, self._signature, self.batch)


class TensorFlowModel:
    """The frozen graph in a session. Batched only where the results agree up to rounding.

    Args:
        path: The frozen graph.
        signature: The frozen signature.
        feeds: What turns features into inputs.
        first: A few samples to try batches on.
        sample: Returns what to call a sample in messages.
    """

    def __init__(
        self,
        path: Path,
        signature: FrozenSignature,
        feeds: Mapping[str, Feed],
        first: Batch,
        sample: Callable[[int], str] = "sample {}".format,
    ) -> None:
        import tensorflow as tf

        self._signature = signature
        self._feeds = feeds
        self._graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
        self._sample = sample
        self._single = self._session(None)
        self._batched: Any = None
        self._probe(first)

    @property
    def batched(self) -> bool:
        """Whether samples go in together."""
        return self._batched is not None

    def run(self, batch: Batch) -> Outputs:
        """Return the outputs of the batch's samples. Threads may share it.

        Raises:
            ConfigError: A sample holds an index that the model has nothing at.
            StageError: TensorFlow cannot run the model on a sample.
        """
        from tensorflow.errors import OpError

        values = {name: feed.values(batch.features[name], batch.first) for name, feed in self._feeds.items()}
        try:
            return self._results(batch, values)
        except OpError as error:
            raise self._refusal(error, batch, values) from error

    def _results(self, batch: Batch, values: Mapping[str, NDArray[Any]]) -> Outputs:
        if self._batched is not None:
            return [array.reshape(len(batch), -1) for array in self._run(self._batched, values)]
        rows = [self._run(self._single, self._alone(values, row)) for row in range(len(batch))]
        return [np.stack(column).reshape(len(batch), -1) for column in zip(*rows, strict=True)]

    def _refusal(self, error: Exception, batch: Batch, values: Mapping[str, NDArray[Any]]) -> MlkitBuildError:
        """Return what TensorFlow says of a batch, for an index out of range with the input and the sample that hold it."""
        row, error = self._failing(values, len(batch)) or (None, error)
        sample = f"a sample of {batch.first}..{batch.first + len(batch) - 1}" if row is None else self._sample(batch.first + row)
        wrong = _WRONG_INDEX.search(str(error))
        if wrong is None:
            return StageError(f"reference: TensorFlow cannot run the model on {sample}: {operator_reason(error)}")
        index, expected = int(wrong[1]), f"expected 0..{int(wrong[2]) - 1}"
        hint = "the model has nothing there: check how the array was made, and with which vocabulary"
        holding = [
            spec.name
            for spec in self._signature.inputs
            if row is not None and not spec.dtype.startswith("float") and (values[spec.name][row] == index).any()
        ]
        if len(holding) == 1:
            origin = self._feeds[holding[0]].origin
            return ConfigError(f"{origin}: {sample}: the input {holding[0]!r} holds the index {index}, {expected}", hint)
        return ConfigError(f"dataset: the model looks up the index {index} for {sample}, {expected}", hint)

    def _failing(self, values: Mapping[str, NDArray[Any]], count: int) -> tuple[int, Exception] | None:
        """Return the first sample that TensorFlow cannot run the model on alone, and what it says of it."""
        from tensorflow.errors import OpError

        for row in range(count):
            try:
                self._run(self._single, self._alone(values, row))
            except OpError as error:
                return row, error
        return None

    def _alone(self, values: Mapping[str, NDArray[Any]], row: int) -> dict[str, NDArray[Any]]:
        return {spec.name: values[spec.name][row].reshape(spec.shape) for spec in self._signature.inputs}

    def _probe(self, batch: Batch) -> None:
        """Use batches if the graph takes an unknown batch and gives the same results, up to rounding, beside any others."""
        if not _batchable(self._signature):
            return
        self.run(batch)  # tells what is wrong with these
        try:
            trial = with_noise(batch, self._signature, self._feeds)
            alone = self.run(trial)
            self._batched = self._session(-1)
            kept, others = among_others(trial, self._signature, self._feeds, 2 * len(trial))
            are_close = begin_alike(alone, self.run(trial), len(trial), close)
            are_close &= all(begin_alike(alone, self.run(other), kept, close) for other in others)
        except Exception:  # TensorFlow raises many kinds here, and any of them means: not batchable
            are_close = False
        if not are_close:
            self._batched = None

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
