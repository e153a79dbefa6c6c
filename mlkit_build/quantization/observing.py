"""What a float model's tensors hold while it runs on samples: in parallel, and the same bits on any number of cores.

Each core has an interpreter of its own that keeps every tensor; `Interpreter.invoke` and NumPy's reductions release the GIL. A
sample's ranges are kept apart until all are known and then folded in an order that the samples' contents decide.

Ranges are read in the interpreter's own memory: ai-edge-quantizer copies every tensor of every sample first, which is most of
the time that it takes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import StageError
from mlkit_build.records import dataclass
from mlkit_build.tflite.model import operator_name, tensor_name, type_name

BINS = 2048
"""Of a tensor's histogram, from its least to its greatest value."""


_CREATING = threading.Lock()
"""Filters of warnings are the whole process's."""


@dataclass(frozen=True)
class Tensor:
    """One tensor that is observed: float32, and not a constant."""

    index: int
    name: str
    rank: int


def observed_tensors(model: Any) -> tuple[Tensor, ...]:
    """Return the tensors of the main subgraph that operators read or write and that vary, in the model's order."""
    graph = model.subgraphs[0]
    mentioned = {int(index) for operator in graph.operators for index in [*operator.inputs, *operator.outputs] if index >= 0}
    found = []
    for index in sorted(mentioned):
        tensor = graph.tensors[index]
        data = model.buffers[tensor.buffer].data
        if type_name(tensor) == "float32" and (data is None or not len(data)):
            found.append(Tensor(index, tensor_name(tensor), 0 if tensor.shape is None else len(tensor.shape)))
    return tuple(found)


def dense_inputs(model: Any) -> tuple[str, ...]:
    """Return the names of the tensors that FULLY_CONNECTED operators multiply with their weights."""
    graph = model.subgraphs[0]
    names = [
        tensor_name(graph.tensors[operator.inputs[0]])
        for operator in graph.operators
        if operator_name(model.operatorCodes[operator.opcodeIndex]) == "FULLY_CONNECTED"
    ]
    return tuple(dict.fromkeys(names))


class UnrunnableSampleError(Exception):
    """LiteRT cannot run the model on a sample: the row of what was fed, and its reason."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


class Observer:
    """Runs a float model and looks at its tensors. Threads may share it.

    Args:
        data: The flatbuffer; everything in it is read by something (see `quantization.unread`).
        tensors: Which tensors to look at.
        inputs: Signature name of each input -> its tensor's index.
    """

    def __init__(self, data: bytes, tensors: Sequence[Tensor], inputs: Mapping[str, int]) -> None:
        self._data = data
        self._tensors = tensors
        self._inputs = dict(inputs)
        self._local = threading.local()

    def ranges(self, feeds: Mapping[str, NDArray[Any]], rows: int) -> NDArray[np.float32]:
        """Return `[rows, tensors, 2]`: the least and greatest finite value of every tensor in every sample."""
        found = np.empty((rows, len(self._tensors), 2), np.float32)
        for row in range(rows):
            interpreter = self._run(feeds, row)
            for position, tensor in enumerate(self._tensors):
                found[row, position] = _ends(self._values(interpreter, tensor))
        return found

    def histograms(self, feeds: Mapping[str, NDArray[Any]], rows: int, ends: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return `[tensors, BINS]`: how many values of all samples lie in each part of `ends` (`[tensors, 2]`)."""
        counts = np.zeros((len(self._tensors), BINS), np.int64)
        for row in range(rows):
            interpreter = self._run(feeds, row)
            for position, tensor in enumerate(self._tensors):
                low, high = map(float, ends[position])
                if low < high:
                    values = self._values(interpreter, tensor)
                    counts[position] += np.histogram(values, BINS, (low, high))[0]
                    del values
        return counts

    def products(self, feeds: Mapping[str, NDArray[Any]], rows: int) -> list[tuple[NDArray[np.float64], int]]:
        """Return for every tensor `X^T X` of its rows of the last dimension, in all samples, and how many rows these are."""
        sums: list[Any] = [(0.0, 0)] * len(self._tensors)
        for row in range(rows):
            interpreter = self._run(feeds, row)
            for position, tensor in enumerate(self._tensors):
                values = self._values(interpreter, tensor)
                flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
                del values
                product, count = sums[position]
                sums[position] = (product + flat.T @ flat, count + len(flat))
        return sums

    def _run(self, feeds: Mapping[str, NDArray[Any]], row: int) -> Any:
        interpreter = self._interpreter()
        for name, index in self._inputs.items():
            interpreter.set_tensor(index, feeds[name][row])
        try:
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise UnrunnableSampleError(row, str(error).splitlines()[0]) from error
        return interpreter

    def _values(self, interpreter: Any, tensor: Tensor) -> NDArray[np.float32]:
        """Return a view of the interpreter's memory, to be forgotten before it runs again."""
        try:
            values: NDArray[np.float32] = interpreter.tensor(tensor.index)()
        except (ValueError, RuntimeError) as error:
            raise StageError(f"calibrate: LiteRT has no values for the tensor {tensor.name}: {error}") from error
        return values

    def _interpreter(self) -> Any:
        if not hasattr(self._local, "interpreter"):
            import warnings

            from ai_edge_litert.interpreter import Interpreter

            with _CREATING, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that keeping all tensors is for debugging
                interpreter = Interpreter(model_content=self._data, num_threads=1, experimental_preserve_all_tensors=True)
            try:
                interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise StageError(f"calibrate: LiteRT cannot run the float model: {str(error).splitlines()[0]}") from error
            self._local.interpreter = interpreter
        return self._local.interpreter


def _ends(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return minimum and maximum; of tensors that hold infinities by design, such as the filling of a PADV2, of the rest."""
    if not values.size:
        return 0.0, 0.0
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    return float(low), float(high)


def folded(ranges: NDArray[np.float32], observer: str) -> NDArray[np.float32]:
    """Return `[tensors, 2]` of `[samples, tensors, 2]`, whose samples are in the order to fold them in.

    `moving_average` is ai-edge-quantizer's: the first sample's range, moved by a twentieth towards that of each further one.
    """
    if observer == "moving_average":
        average: NDArray[np.float32] = ranges[0].copy()
        for sample in ranges[1:]:
            average = np.float32(0.95) * average + np.float32(0.05) * sample
        return average
    return np.stack([ranges[..., 0].min(axis=0), ranges[..., 1].max(axis=0)], axis=-1)


def percentiles(counts: NDArray[np.int64], ends: NDArray[np.float32], percentile: float) -> NDArray[np.float32]:
    """Return `[tensors, 2]`: the ranges that hold `percentile` percent of the values, cut at both ends alike.

    Ends fall on the edges of bins, outward. A range that holds zero goes on doing so: quantization maps zero to itself.
    """
    cut = ends.copy()
    total = counts.sum(axis=1, keepdims=True)
    below = np.cumsum(counts, axis=1)
    share = (100 - percentile) / 200
    for tensor in np.nonzero(total[:, 0])[0]:
        low, high = map(float, ends[tensor])
        outside = share * float(total[tensor, 0])
        first = int(np.searchsorted(below[tensor], outside, side="right"))
        last = int(np.searchsorted(below[tensor], float(total[tensor, 0]) - outside, side="left"))
        step = (high - low) / BINS
        cut[tensor] = low + first * step, high if last >= BINS - 1 else low + (last + 1) * step
    zero = (ends[:, 0] <= 0) & (ends[:, 1] >= 0)
    cut[zero] = np.stack([np.minimum(cut[zero, 0], 0), np.maximum(cut[zero, 1], 0)], axis=-1)
    return cut
