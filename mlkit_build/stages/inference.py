"""Runs many samples through a model: the shipped file in LiteRT, and the frozen graph in TensorFlow.

Of a shipped file with Flex operators, those alone run in TensorFlow.

Each model runs single-threaded, one batch per core at a time: sums split over another number of threads round differently,
and so nothing here depends on the machine's cores but the speed. Both are batched where the model allows it and where a few
samples come out as they do one by one.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset
from mlkit_build.datasets.feeding import Feed
from mlkit_build.errors import StageError
from mlkit_build.recipe import Input
from mlkit_build.signature import FrozenSignature, TensorSpec

if TYPE_CHECKING:
    from mlkit_build.tflite.flex import FlexModel, FlexRunner
    from mlkit_build.tflite.runner import Runner

BATCH = 128
"""Samples per inference where the model allows."""
BATCH_BYTES = 1 << 22
"""A batch's inputs and outputs stay within 4 MB: batching pays for small models, whose Python call is the larger part."""
TASK = 1024
"""Samples that a thread is given at once where they are as small: each task costs Python's time, which threads share."""
PROBED = 3
"""Samples on which batched and single inference are compared before batches are trusted."""
MOST_THREADS = 8

Outputs = list[NDArray[Any]]
"""Each output of a batch's samples, `[n, values]` float32, in the signature's order."""


def feeds(dataset: Dataset, signature: FrozenSignature, stated: Mapping[str, Input]) -> dict[str, Feed]:
    """Return what turns the dataset's features into the model's inputs. Raises ConfigError where they do not fit."""
    return {spec.name: Feed(dataset, spec, stated.get(spec.name, Input())) for spec in signature.inputs}


def in_order(dataset: Dataset, signature: FrozenSignature, run: Callable[[Batch], Outputs]) -> Iterator[tuple[Batch, Outputs]]:
    """Yield each batch with what `run` makes of it, in the dataset's order.

    One thread per core decodes a batch and runs it, so that one decodes while another infers: `Interpreter.invoke` and
    `Session.run` release the GIL.
    """
    workers = max(1, min(os.cpu_count() or 1, MOST_THREADS))
    batches = dataset.batches(max(BATCH, min(TASK, 2 * BATCH_BYTES // _sample_bytes(signature))))
    decoding = threading.Lock()

    def work() -> tuple[Batch, Outputs] | None:
        with decoding:
            batch = next(batches, None)
        return None if batch is None else (batch, run(batch))

    done: dict[int, tuple[Batch, Outputs]] = {}
    expected = 0
    with ThreadPoolExecutor(workers) as executor:
        pending = deque(executor.submit(work) for _ in range(2 * workers))
        while pending:
            finished = pending.popleft().result()
            if finished is None:
                continue
            pending.append(executor.submit(work))
            done[finished[0].first] = finished
            while expected in done:
                batch, outputs = done.pop(expected)
                expected += len(batch)
                yield batch, outputs


def _sample_bytes(signature: FrozenSignature) -> int:
    return max(1, sum(4 * spec.size for spec in (*signature.inputs, *signature.outputs)))


def _batchable(signature: FrozenSignature) -> bool:
    return all(spec.shape and spec.shape[0] == 1 for spec in (*signature.inputs, *signature.outputs))


class LiteRtModel:
    """The shipped file, with an interpreter per thread. Batched only where that gives the same bits.

    Args:
        path: The `.tflite`.
        signature: The frozen signature.
        feeds: What turns features into inputs.
        first: A few samples to try batches on.
        flex: Whether the model has Flex operators, which TensorFlow then runs, one sample at a time.

    Raises:
        StageError: LiteRT cannot run the model.
    """

    def __init__(
        self, path: Path, signature: FrozenSignature, feeds: Mapping[str, Feed], first: Batch, *, flex: bool = False
    ) -> None:
        self._path = path
        self._signature = signature
        self._feeds = feeds
        self._batch = 1
        self._local = threading.local()
        self._flex = self._split() if flex else None
        if self._flex is not None:
            return  # nothing to try: some operators refuse zeros (no matrix of them has an inverse), and batches
        try:
            self._runner().invoke()
        except (ValueError, RuntimeError) as error:
            raise StageError(f"evaluate: LiteRT cannot run the model: {str(error).splitlines()[0]}") from error
        self._probe(first)

    def run(self, batch: Batch) -> Outputs:
        """Return the outputs of the batch's samples. Threads may share it."""
        runner, parts = self._runner(), []
        for start in range(0, len(batch), self._batch):
            end = min(start + self._batch, len(batch))
            for spec in self._signature.inputs:
                self._fill(runner, spec, batch.features[spec.name][start:end], batch.first + start)
            parts.append([result.reshape(self._batch, -1)[: end - start] for result in runner.invoke()])
        return [np.concatenate(column).astype(np.float32, copy=False) for column in zip(*parts, strict=True)]

    def _fill(self, runner: Runner | FlexRunner, spec: TensorSpec, raw: NDArray[Any], first: int) -> None:
        """Write samples into the interpreter's memory, as an app would, and zeros where a batch is not full."""
        feed = self._feeds[spec.name]
        rows = runner.buffer(spec.name).reshape(self._batch, *spec.shape[1:])
        if rows.dtype == spec.dtype:
            feed.write(raw, first, rows[: len(raw)])
        elif rows.dtype == np.uint8 and feed.is_image:
            rows[: len(raw)] = feed.pixels(raw, first)
        else:
            rows[: len(raw)] = runner.encode(spec.name, feed.values(raw, first))
        rows[len(raw) :] = 0

    def _probe(self, batch: Batch) -> None:
        """Use batches if a few samples, padded to a full batch, come out bit for bit as they do one by one."""
        size = min(BATCH, BATCH_BYTES // _sample_bytes(self._signature))
        if size < 2 or not _batchable(self._signature):
            return
        alone = self.run(batch)
        try:
            self._batch = size
            together = self.run(batch)
        except (ValueError, RuntimeError):
            together = []
        if len(together) != len(alone) or not all(map(np.array_equal, alone, together)):
            self._batch = 1

    def _split(self) -> FlexModel:
        from mlkit_build.tflite.flex import FlexModel

        return FlexModel(self._path, self._signature)

    def _runner(self) -> Runner | FlexRunner:
        """Return this thread's interpreter for the batch in use."""
        from mlkit_build.tflite.runner import Runner

        if not hasattr(self._local, "runners"):
            self._local.runners = {}
        runners: dict[int, Runner | FlexRunner] = self._local.runners
        if self._batch not in runners:
            runners[self._batch] = self._flex.runner() if self._flex else Runner(self._path, self._signature, self._batch)
        return runners[self._batch]


class TensorFlowModel:
    """The frozen graph in a session. Batched only where the results agree up to rounding.

    Args:
        path: The frozen graph.
        signature: The frozen signature.
        feeds: What turns features into inputs.
        first: A few samples to try batches on.
    """

    def __init__(self, path: Path, signature: FrozenSignature, feeds: Mapping[str, Feed], first: Batch) -> None:
        import tensorflow as tf

        self._signature = signature
        self._feeds = feeds
        self._graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
        self._single = self._session(None)
        self._batched: Any = None
        self._probe(first)

    def run(self, batch: Batch) -> Outputs:
        """Return the outputs of the batch's samples. Threads may share it."""
        values = {name: feed.values(batch.features[name], batch.first) for name, feed in self._feeds.items()}
        if self._batched is not None:
            return [array.reshape(len(batch), -1) for array in self._run(self._batched, values)]
        rows = [
            self._run(self._single, {spec.name: values[spec.name][row].reshape(spec.shape) for spec in self._signature.inputs})
            for row in range(len(batch))
        ]
        return [np.stack(column).reshape(len(batch), -1) for column in zip(*rows, strict=True)]

    def _probe(self, batch: Batch) -> None:
        """Use batches if the graph takes an unknown batch and gives the same results, up to rounding, as one by one."""
        if not _batchable(self._signature):
            return
        alone = self.run(batch)
        try:
            self._batched = self._session(-1)
            together = self.run(batch)
        except Exception:  # TensorFlow raises many kinds here, and any of them means: not batchable
            together = []
        if len(together) != len(alone) or not all(
            np.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in zip(alone, together, strict=True)
        ):
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
