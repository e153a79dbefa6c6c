"""One operator at a time: computed where all is known, simplified where that is safe, written otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.graphs.loops.operators import Operation, Operators
from mlkit_build.graphs.loops.values import Known, Shape, Spec, Symbol, Tensor, Value
from mlkit_build.graphs.loops.writer import Writer

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

INT32, VARIANT = 3, 21
"""TensorFlow's numbers of these types (`types.proto`)."""


class Emitter:
    """Puts operators into the graph that is being written at the moment.

    Attributes:
        writer: That graph; a functional loop's body is written by another one for a while.
    """

    def __init__(self, operators: Operators) -> None:
        self.operators = operators
        self.writer = Writer(operators)

    def compute(
        self, operation: Operation, name: str, inputs: Sequence[Tensor], keep: NodeDef | None = None
    ) -> tuple[Tensor, ...]:
        """Return the results of an operator; `keep` is the node of the source that it is, where it runs once.

        Raises:
            ValueError: TensorFlow refuses the operator on these inputs.
        """
        simple = _simplified(operation, name, inputs)
        if simple is not None:
            return (simple,)
        known = [item for item in inputs if isinstance(item, Known)]
        if known and len(known) == len(inputs):
            values = self.operators.values(operation, known, name)
            if values is not None:
                return values
        if keep is not None:
            return self.writer.keep(keep, operation, self.operators.specs(operation, inputs), inputs)
        return self.writer.add(operation, name, inputs)

    def make(self, op: str, name: str, inputs: Sequence[Tensor], **attributes: Any) -> Tensor:
        """Return the first result of a new operator."""
        return self.compute(Operation.new(op, **attributes), name, inputs)[0]

    def select(self, predicate: Tensor, when_true: Tensor, when_false: Tensor, name: str) -> Tensor:
        """Return one of two tensors of equal type and shape, as a scalar predicate says.

        Raises:
            ValueError: Their shapes differ or are unknown: SelectV2 would broadcast, where a cond does not.
        """
        if same(when_true, when_false):
            return when_true
        if isinstance(predicate, Known):
            return when_true if bool(predicate.array) else when_false
        if when_true.spec != when_false.spec or not when_true.spec.static:
            raise ValueError(f"its branches have the shapes {shown(when_true.spec)} and {shown(when_false.spec)}")
        return self.make("SelectV2", name, [predicate, when_true, when_false], T=when_true.spec.dtype)

    def stack(self, items: Sequence[Tensor], name: str) -> Tensor:
        """Return the tensors as one, along a new first axis."""
        return self.make("Pack", name, items, T=items[0].spec.dtype, N=len(items), axis=0)

    def pick(self, stacked: Tensor, index: Tensor, name: str) -> Tensor:
        """Return one slice of a stacked tensor, counted by a scalar."""
        axis = integers(0, f"{name}/axis")
        types = {"Tparams": stacked.spec.dtype, "Tindices": index.spec.dtype, "Taxis": INT32}
        return self.make("GatherV2", name, [stacked, index, axis], batch_dims=0, **types)

    def zeros(self, spec: Spec, name: str) -> Known:
        """Return a tensor of zeros of a static shape."""
        from tensorflow import as_dtype

        return Known(np.zeros([size or 0 for size in spec.shape or ()], as_dtype(spec.dtype).as_numpy_dtype), spec.dtype, name)


def integers(value: Any, name: str) -> Known:
    """Return an int32 constant."""
    return Known(np.asarray(value, np.int32), INT32, name)


def shown(spec: Spec) -> str:
    """Return a shape as messages show it: `[1, ?, 3]`."""
    if spec.shape is None:
        return "[unknown]"
    return "[" + ", ".join("?" if size is None else str(size) for size in spec.shape) + "]"


def same(first: Value, second: Value) -> bool:
    """Return whether two values are one constant, or one tensor."""
    if isinstance(first, Known) and isinstance(second, Known):
        return first.key == second.key
    return isinstance(first, Symbol) and first == second


def _simplified(operation: Operation, name: str, inputs: Sequence[Tensor]) -> Tensor | None:
    """Return what an operator gives where that needs no operator, or None."""
    op, first = operation.op, inputs[0] if inputs else None
    if first is None:
        return None
    if op in ("Shape", "Size", "Rank") and first.spec.shape is not None:
        return _shape_of(operation, name, first)
    if op in ("LogicalAnd", "LogicalOr"):
        absorbing = op == "LogicalOr"
        for value, other in ((first, inputs[1]), (inputs[1], first)):
            if isinstance(value, Known) and value.array.ndim == 0:
                if bool(value.array) != absorbing:
                    return other
                if other.spec.shape == ():
                    return value
    if op in ("Select", "SelectV2") and isinstance(first, Known) and first.array.size:
        yes, no = inputs[1:]
        chosen = bool(first.array.flat[0])
        if bool((first.array == chosen).all()) and yes.spec == no.spec and _fits(op, first.spec.shape, yes.spec.shape):
            return yes if chosen else no
    return None


def _fits(op: str, condition: Shape, branches: Shape) -> bool:
    """Return whether what is selected has the shape of the branches: SelectV2 broadcasts all three."""
    if condition is None or branches is None or None in branches:
        return False
    if op == "Select":
        return True
    padded = (1,) * (len(branches) - len(condition)) + condition
    return len(padded) == len(branches) and all(size in (1, known) for size, known in zip(padded, branches, strict=True))


def _shape_of(operation: Operation, name: str, tensor: Tensor) -> Known | None:
    shape = tensor.spec.shape
    assert shape is not None
    dtype = operation.attributes["out_type"].type if "out_type" in operation.attributes else INT32
    kind = np.int64 if dtype == 9 else np.int32
    sizes: NDArray[Any]
    if operation.op == "Rank":
        return integers(len(shape), name)
    if None in shape:
        return None
    sizes = np.array(shape, kind)
    return Known(sizes if operation.op == "Shape" else np.asarray(np.prod(sizes, dtype=kind)), dtype, name)
