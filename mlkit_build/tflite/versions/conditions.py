"""What the version of an operator depends on, and the conditions on it that the tables of rules are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlkit_build.records import dataclass

ABSENT = "absent"


@dataclass(frozen=True)
class Tensor:
    """One input or output of an operator.

    Attributes:
        type: NumPy's name of the type, e.g. `int8`; `absent` for an optional input that is left out.
        shape: As the flatbuffer says it; empty when it says none.
        scales: Of its quantization; empty when it has none.
        blocks: Whether each block of a channel has a scale, in a tensor of scales.
        sparse: Whether only the values that are not zero are stored.
    """

    type: str = ABSENT
    shape: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    blocks: bool = False
    sparse: bool = False


@dataclass(frozen=True)
class Operation:
    """One operator: its tensors in order, and its table of options in the schema, None where it has none."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: Any = None

    def input(self, index: int) -> Tensor:
        """Return an input, absent where there are fewer."""
        return self.inputs[index] if index < len(self.inputs) else Tensor()

    def output(self, index: int = 0) -> Tensor:
        """Return an output, absent where there are fewer."""
        return self.outputs[index] if index < len(self.outputs) else Tensor()


Condition = Callable[[Operation], bool]
Rules = tuple[tuple[int, Condition], ...]
"""Version and what needs it; the first that holds decides."""


def always(_: Operation) -> bool:
    """Hold for every operator."""
    return True


def reads(index: int, *types: str) -> Condition:
    """Hold when an input is of one of the types."""
    return lambda op: op.input(index).type in types


def writes(index: int, *types: str) -> Condition:
    """Hold when an output is of one of the types."""
    return lambda op: op.output(index).type in types


def both(*conditions: Condition) -> Condition:
    """Hold when all do."""
    return lambda op: all(condition(op) for condition in conditions)


def either(*conditions: Condition) -> Condition:
    """Hold when one does."""
    return lambda op: any(condition(op) for condition in conditions)


def unless(condition: Condition) -> Condition:
    """Hold when the other does not."""
    return lambda op: not condition(op)


def kernel(data: str, weights: str, result: str, position: int = 1) -> Condition:
    """Hold for the kernel that takes such data and weights (the input at `position`) and gives such results."""
    return both(reads(0, data), reads(position, weights), writes(0, result))


def converts(*types: str) -> Condition:
    """Hold when the first input or the first output is of one of the types."""
    return either(reads(0, *types), writes(0, *types))


def option(*names: str) -> Condition:
    """Hold when one of the options is neither zero nor false."""
    return lambda op: any(getattr(op.options, name, 0) for name in names)


def option_is_not(name: str, value: int) -> Condition:
    """Hold when the option has another value."""
    return lambda op: getattr(op.options, name, value) != value


def per_channel(index: int) -> Condition:
    """Hold when an input has a scale for each channel. A single channel is no such case: its scale is that of the tensor.

    TensorFlow takes the weights of a single channel for per-channel ones, and has runtimes before 2.17 refuse a dense layer with
    one output, which they compute rightly.
    """
    return lambda op: len(op.input(index).scales) > 1


def rank_above(limit: int, index: int = 0) -> Condition:
    """Hold when an input has more dimensions."""
    return lambda op: len(op.input(index).shape) > limit


def rank_is_not(rank: int) -> Condition:
    """Hold when the first input has more or fewer dimensions."""
    return lambda op: len(op.input(0).shape) != rank


def by_type(index: int = 0, **versions: int) -> Rules:
    """Return the rules `type of an input = version`."""
    return tuple((version, reads(index, name)) for name, version in versions.items())


def quantized(op: Operation) -> bool:
    """Hold when one of the first two inputs has a scale. For TensorFlow an empty table of quantization is enough."""
    return any(tensor.scales for tensor in op.inputs[:2])


def broadcasts_above_4(op: Operation) -> bool:
    """Hold when the inputs differ in shape and one has more than four dimensions."""
    return op.input(0).shape != op.input(1).shape and max(len(tensor.shape) for tensor in op.inputs) > 4


def grouped(op: Operation) -> bool:
    """Hold for a convolution whose filters read a part of the channels each."""
    data, filters = op.input(0).shape, op.input(1).shape
    return len(data) == len(filters) == 4 and data[3] != filters[3]


def product_grows(op: Operation) -> bool:
    """Hold when a product must be scaled up: the scales of the factors multiply to that of the result or more."""
    scales = _first_scales(op)
    return len(scales) == 3 and scales[0] * scales[1] / scales[2] >= 1


def general_scales(op: Operation) -> bool:
    """Hold when the int16 kernel for scales that are powers of two will not do: the option says so, or the scales do.

    ai-edge-quantizer leaves the option at its default, which says that the scales are powers of two.
    """
    return not getattr(op.options, "potScaleInt16", True) or any(math.frexp(scale)[0] != 0.5 for scale in _first_scales(op))


def _first_scales(op: Operation) -> list[float]:
    return [scale for tensor in (*op.inputs[:2], op.output()) for scale in tensor.scales[:1] if scale]
