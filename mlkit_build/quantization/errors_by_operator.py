"""Runs a quantized model and the float model on the same samples, and compares what every operator makes of them.

In parallel, with the same numbers on any number of cores: sums are made sample by sample and folded in the samples' order.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset
from mlkit_build.datasets.parallel import in_order
from mlkit_build.errors import StageError
from mlkit_build.metrics import significant
from mlkit_build.metrics.classification import classes
from mlkit_build.quantization.apart import cut_apart
from mlkit_build.quantization.attribution import Difference
from mlkit_build.quantization.matching import Matching
from mlkit_build.quantization.saturation import saturation_limits
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import tensor_name, type_name
from mlkit_build.tflite.runner import Port, Runner
from mlkit_build.tflite.signatures import signed_inputs

BATCH = 4
"""Samples that a core takes at once."""
EXACT = 1e-14
"""Noise per signal of float32's own rounding: less is none."""
_WORST_DB = -99.0

Values = Callable[[Batch], Mapping[str, NDArray[Any]]]
"""A batch -> `[n, *shape]` of every input, in the model's units."""


@dataclass(frozen=True)
class Sums:
    """What is summed up of a tensor and another that stands for it.

    Attributes:
        signal: Of the squares of the first.
        noise: Of the squares of their difference.
        count: How many values.
        worst: The greatest difference.
        low: The least value of the first.
        high: The greatest.
        clipped: How many values the integers of the second cannot stand for.
    """

    signal: float = 0.0
    noise: float = 0.0
    count: int = 0
    worst: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    clipped: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.signal + other.signal,
            self.noise + other.noise,
            self.count + other.count,
            max(self.worst, other.worst),
            min(self.low, other.low),
            max(self.high, other.high),
            self.clipped + other.clipped,
        )

    @property
    def noise_per_signal(self) -> float:
        """Noise per signal; 0 where there is no more than rounding."""
        if self.noise <= EXACT * self.signal:
            return 0.0
        return self.noise / self.signal if self.signal > 0 else math.inf

    def difference(self) -> Difference:
        """Return it as the report states it."""
        width = self.high - self.low
        rmse = math.sqrt(self.noise / self.count) / width if self.count and width > 0 else 0.0
        return Difference(decibels(self.noise_per_signal), _reproducible(rmse), _reproducible(self.worst))


def decibels(noise_per_signal: float) -> float | None:
    """Return the SQNR in dB; None where there is no noise."""
    if noise_per_signal == 0:
        return None
    if not math.isfinite(noise_per_signal):
        return _WORST_DB
    return max(_WORST_DB, round(-10 * math.log10(noise_per_signal), 2) + 0.0)  # of -0.0, 0.0


def _reproducible(value: float) -> float:
    return float(significant(value)) if math.isfinite(value) else float(np.finfo(np.float32).max)


def compared(expected: NDArray[Any], found: NDArray[Any], representable: tuple[float, float] = (-math.inf, math.inf)) -> Sums:
    """Return the sums of a tensor and of what stands for it. Where the first is not finite, as in a mask, nothing counts."""
    ours, theirs = expected.astype(np.float64).reshape(-1), found.astype(np.float64).reshape(-1)
    finite = np.isfinite(ours)
    if not finite.all():
        ours, theirs = ours[finite], theirs[finite]
    if not ours.size:
        return Sums()
    error = ours - theirs
    low, high = float(ours.min()), float(ours.max())
    clipped = 0
    if low < representable[0] or high > representable[1]:
        clipped = int(np.count_nonzero((ours < representable[0]) | (ours > representable[1])))
    noise = float(error @ error)
    if not math.isfinite(noise):
        noise = math.inf
    return Sums(float(ours @ ours), noise, ours.size, float(np.abs(error).max()), low, high, clipped)


@dataclass(frozen=True)
class Found:
    """What was measured of a pair.

    Attributes:
        total: Its outputs, against the float model's.
        own: Its outputs, against those of the float operator on the same inputs.
        first: Its first output alone, against the float model's.
    """

    total: Sums
    own: Sums | None
    first: Sums


class Comparison:
    """The quantized model beside the float one. Threads may share it.

    Args:
        float_model: As parsed.
        quantized: As parsed.
        matching: Which operators stand for each other.
    """

    def __init__(self, float_model: Any, quantized: Any, matching: Matching) -> None:
        self.pairs = matching.pairs
        self._graph = quantized.subgraphs[0]
        self._apart = cut_apart(float_model, matching.pairs)
        limits, tensors = saturation_limits(float_model), float_model.subgraphs[0].tensors
        self._saturated = {index: limits[name] for index, item in enumerate(tensors) if (name := tensor_name(item)) in limits}
        self._models = {"float": flatbuffer.packed(float_model), "quantized": flatbuffer.packed(quantized)}
        self._inputs = {"float": signed_inputs(float_model), "quantized": signed_inputs(quantized)}
        self._local = threading.local()

    def run(self, dataset: Dataset, values: Values) -> list[Found]:
        """Return what every pair comes to over all samples.

        Raises:
            StageError: LiteRT cannot run one of the models.
        """
        total: list[Found] = []
        for _, rows in in_order(dataset, BATCH, lambda batch: self._rows(values(batch), len(batch))):
            for row in rows:
                total = [_sum(one, other) for one, other in zip(total, row, strict=True)] if total else row
        return total

    def representable(self, index: int) -> tuple[float, float] | None:
        """Return what the integers of a quantized model's tensor can stand for; None where it is floating point."""
        scaled = self._scaled(index)
        if scaled is None:
            return None
        scale, zero_point = scaled
        limits = np.iinfo(type_name(self._graph.tensors[index]))
        return (limits.min - zero_point) * scale, (limits.max - zero_point) * scale

    def _rows(self, feeds: Mapping[str, NDArray[Any]], rows: int) -> list[list[Found]]:
        return [list(self._row({name: array[row] for name, array in feeds.items()})) for row in range(rows)]

    def _row(self, sample: Mapping[str, NDArray[Any]]) -> Iterator[Found]:
        ours, theirs = self._ran("float", sample), self._ran("quantized", sample)
        apart = self._ran_apart(theirs)
        for pair in self.pairs:
            parts, own = [], []
            for expected, found in pair.outputs:
                values, end = self._real(theirs, found), self._saturated.get(expected, math.inf)
                parts.append(compared(_within(ours.tensor(expected)(), end), _within(values, end), self._limits(found)))
                if pair.place is None:
                    own.append(compared(_within(self._real(theirs, pair.inputs[0][1]), end), _within(values, end)))
                elif pair.comparable and apart is not None:
                    own.append(compared(_within(apart.tensor(expected)(), end), _within(values, end)))
            yield Found(_total(parts), _total(own) if own else None, parts[0])

    def _limits(self, index: int) -> tuple[float, float]:
        """Return the range beyond which a value is clipped; up to a step past the ends, as a softmax's 1, it is rounded."""
        found, scaled = self.representable(index), self._scaled(index)
        if found is None or scaled is None:
            return -math.inf, math.inf
        return found[0] - 1.001 * scaled[0], found[1] + 1.001 * scaled[0]

    def _scaled(self, index: int) -> tuple[float, int] | None:
        tensor = self._graph.tensors[index]
        quantization = tensor.quantization
        if type_name(tensor) not in ("int8", "uint8", "int16") or quantization is None or quantization.scale is None:
            return None
        if len(quantization.scale) != 1:
            return None
        return float(quantization.scale[0]), int(quantization.zeroPoint[0])

    def _real(self, interpreter: Any, index: int) -> NDArray[Any]:
        """Return what a tensor of the quantized model stands for: a copy, or a view to be forgotten before the next run."""
        values: NDArray[Any] = interpreter.tensor(index)()
        scaled = self._scaled(index)
        if scaled is None:
            return values
        real: NDArray[np.float32] = (values.astype(np.float32) - np.float32(scaled[1])) * np.float32(scaled[0])
        return real

    def _ran(self, which: str, sample: Mapping[str, NDArray[Any]]) -> Any:
        interpreter = self._interpreter(which, self._models[which])
        details = {item["index"]: item for item in interpreter.get_input_details()}
        for name, index in self._inputs[which].items():
            interpreter.set_tensor(index, Port(details[index]).encode(sample[name]))
        interpreter.invoke()
        return interpreter

    def _ran_apart(self, theirs: Any) -> Any:
        """Return an interpreter in which every float operator has run on what its quantized twin read; None if there is none."""
        if not self._apart.inputs:
            return None
        interpreter = self._interpreter("apart", self._apart.data)
        for index, source in self._apart.inputs.items():
            interpreter.set_tensor(index, self._real(theirs, source))
        interpreter.invoke()
        return interpreter

    def _interpreter(self, which: str, data: bytes) -> Any:
        found = vars(self._local).setdefault("interpreters", {})
        if which not in found:
            found[which] = _opened(which, data)
        return found[which]


def _within(values: NDArray[Any], end: float) -> NDArray[Any]:
    """Return the values cut at where the function ends that alone reads them: beyond it, an error is none."""
    return values if end == math.inf else np.clip(values, -end, end)


def _opened(which: str, data: bytes) -> Any:
    import warnings

    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors is for debugging
        interpreter = Interpreter(model_content=data, num_threads=1, experimental_preserve_all_tensors=True)
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise StageError(f"attribute: LiteRT cannot run the {which} model: {str(error).splitlines()[0]}") from error
    return interpreter


def _total(parts: Sequence[Sums]) -> Sums:
    total = Sums()
    for part in parts:
        total += part
    return total


def _sum(one: Found, other: Found) -> Found:
    own = one.own + other.own if one.own is not None and other.own is not None else None
    return Found(one.total + other.total, own, one.first + other.first)


def outputs_of(path: Path, signature: FrozenSignature, dataset: Dataset, values: Values) -> list[NDArray[np.float32]]:
    """Return `[samples, values]` of every output of a model, in the signature's order, as an app gets them.

    Raises:
        StageError: LiteRT cannot run it.
    """
    local = threading.local()

    def run(batch: Batch) -> list[list[NDArray[Any]]]:
        if not hasattr(local, "runner"):
            try:
                local.runner = Runner(path, signature)
            except (ValueError, RuntimeError) as error:
                raise StageError(f"attribute: LiteRT cannot run the model: {str(error).splitlines()[0]}") from error
        feeds, rows = values(batch), []
        for row in range(len(batch)):
            for spec in signature.inputs:
                local.runner.buffer(spec.name)[...] = local.runner.encode(spec.name, feeds[spec.name][row])
            rows.append([np.array(output, np.float32).reshape(-1) for output in local.runner.invoke()])
        return rows

    found = [row for _, rows in in_order(dataset, BATCH, run) for row in rows]
    return [np.stack(column) for column in zip(*found, strict=True)]


def together(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> float:
    """Return the noise per signal of all outputs: the mean of each one's."""
    return sum(compared(one, other).noise_per_signal for one, other in zip(expected, found, strict=True)) / max(1, len(expected))


def agreement(expected: NDArray[Any], found: NDArray[Any]) -> float | None:
    """Return the share of samples whose highest value is at the same place; None for outputs of a single value."""
    if expected.shape[1] < 2:
        return None
    return _reproducible(float(np.mean(classes(expected) == classes(found))))
