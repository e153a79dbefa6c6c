"""TensorLists without operators, as TensorArrays: TensorFlow 2 keeps its arrays in them.

A list has no handle beside what it holds. Where a loop or a branch stays functional, it is made a TensorList again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mlkit_build.graphs.loops.arrays import Arrays, Unreadable, merged
from mlkit_build.graphs.loops.emitter import INT32, VARIANT, integers
from mlkit_build.graphs.loops.operators import Operation
from mlkit_build.graphs.loops.values import Array, ArraySpec, Elements, Known, Shape, Spec, Symbol, Tensor, Value

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef


class Lists:
    """Carries out the operators of TensorLists."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.emitter = arrays.emitter

    def perform(self, node: NodeDef, inputs: Sequence[Value], name: str) -> tuple[Value, ...] | None:
        """Return the results of an operator on lists, or None where the operator itself has to do it.

        Raises:
            ValueError: It cannot be done; says why.
        """
        made = _MAKERS.get(node.op)
        if made is not None:
            return made(self, node, inputs, name)
        used = _USERS.get(node.op)
        if used is None or not isinstance(inputs[0], Array):
            return None
        return used(self, node, inputs[0], [_tensor(item) for item in inputs[1:]], name)

    def handle(self, value: Value, name: str) -> Tensor:
        """Return a value as a tensor: a list as a TensorList.

        Raises:
            ValueError: It is none, or the shape of its elements is unknown.
        """
        if not isinstance(value, Array):
            return _tensor(value)
        if not value.spec.dynamic:
            return self.arrays.as_list(value, value.spec.element, name).handle
        element = value.spec.element
        shape = integers(-1 if element is None else [-1 if size is None else size for size in element], f"{name}/element_shape")
        attributes = {"element_dtype": value.spec.dtype, "shape_type": INT32}
        if not len(value.elements):
            operation = Operation.new("EmptyTensorList", **attributes)
            given: list[Tensor] = [shape, integers(-1, f"{name}/max_num_elements")]
        else:
            operation = Operation.new("TensorListFromTensor", **attributes)
            given = [self.arrays.stacked(value, f"{name}/stack"), shape]
        return self.emitter.writer.add(operation, name, given, [Spec(VARIANT, ())])[0]

    def _reserve(self, node: NodeDef, inputs: Sequence[Value], name: str) -> tuple[Value, ...] | None:
        size = inputs[1]
        if not isinstance(size, Known):
            return None
        return (Array(_spec(node, name, inputs[0], int(size.array)), Elements()),)

    def _empty(self, node: NodeDef, inputs: Sequence[Value], name: str) -> tuple[Value, ...]:
        return (Array(replace(_spec(node, name, inputs[0], 0), dynamic=True), Elements()),)

    def _from_tensor(self, node: NodeDef, inputs: Sequence[Value], name: str) -> tuple[Value, ...] | None:
        rows = _tensor(inputs[0])
        if not rows.spec.shape or rows.spec.shape[0] is None:
            return None
        array = Array(_spec(node, name, inputs[1], rows.spec.shape[0]), Elements())
        return (self.arrays.scatter(array, None, rows, name),)

    def _from_rows(self, node: NodeDef, inputs: Sequence[Value], name: str) -> tuple[Value, ...] | None:
        """`TensorListScatter`, `TensorListScatterV2`: of a tensor's rows, where indices say."""
        rows, indices = _tensor(inputs[0]), inputs[1]
        count = inputs[3] if len(inputs) > 3 else integers(-1, name)
        if not isinstance(indices, Known) or not isinstance(count, Known):
            return None
        size = int(count.array) if int(count.array) >= 0 else int(indices.array.max(initial=-1)) + 1
        return (self.arrays.scatter(Array(_spec(node, name, inputs[2], size), Elements()), indices, rows, name),)

    def _split(self, node: NodeDef, inputs: Sequence[Value], name: str) -> tuple[Value, ...] | None:
        lengths = inputs[2]
        if not isinstance(lengths, Known):
            return None
        array = Array(_spec(node, name, inputs[1], lengths.array.size), Elements())
        return (self.arrays.split(array, _tensor(inputs[0]), lengths, name),)

    def _get(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        return (self.arrays.read(_stated(array, rest[1]), rest[0], name),)

    def _set(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        index, size = rest[0], array.size or 0
        if isinstance(index, Known) and not 0 <= int(index.array) < size:
            if int(index.array) < 0 or not node.attr["resize_if_index_out_of_bounds"].b:
                raise Unreadable(f"writes index {int(index.array)} of a list of {size}")
            array = _of_size(array, int(index.array) + 1)
        return (self.arrays.write(array, index, rest[1], name),)

    def _stack(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        return (self.arrays.stacked(_stated(array, rest[0]), name),)

    def _gather(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        return (self.arrays.gather(_stated(array, rest[1]), rest[0], name),)

    def _concat(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        return self.arrays.concat(array, name)

    def _scatter(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        indices = rest[1]
        if isinstance(indices, Known):
            array = _of_size(array, max(array.size or 0, int(indices.array.max(initial=-1)) + 1))
        return (self.arrays.scatter(array, indices, rest[0], name),)

    def _push(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        size = array.size or 0
        return (self.arrays.write(_of_size(array, size + 1), integers(size, f"{name}/index"), rest[0], name),)

    def _pop(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        size = array.size or 0
        last = self.arrays.read(_stated(array, rest[0]), integers(size - 1, f"{name}/index"), name)
        return _of_size(array, size - 1), last

    def _resize(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        if not isinstance(rest[0], Known):
            raise Unreadable(f"data decide the size of the list {array.spec.name!r}")
        return (_of_size(array, int(rest[0].array)),)

    def _length(self, node: NodeDef, array: Array, rest: Sequence[Tensor], name: str) -> tuple[Value, ...]:
        return (integers(array.size, name),)


_MAKERS: dict[str, Callable[[Lists, NodeDef, Sequence[Value], str], tuple[Value, ...] | None]] = {
    "TensorListReserve": Lists._reserve,
    "EmptyTensorList": Lists._empty,
    "TensorListFromTensor": Lists._from_tensor,
    "TensorListScatter": Lists._from_rows,
    "TensorListScatterV2": Lists._from_rows,
    "TensorListSplit": Lists._split,
}

_USERS: dict[str, Callable[[Lists, NodeDef, Array, Sequence[Tensor], str], tuple[Value, ...]]] = {
    "TensorListGetItem": Lists._get,
    "TensorListSetItem": Lists._set,
    "TensorListStack": Lists._stack,
    "TensorListGather": Lists._gather,
    "TensorListConcatV2": Lists._concat,
    "TensorListScatterIntoExistingList": Lists._scatter,
    "TensorListPushBack": Lists._push,
    "TensorListPopBack": Lists._pop,
    "TensorListResize": Lists._resize,
    "TensorListLength": Lists._length,
}

OPERATORS = frozenset([*_MAKERS, *_USERS])
"""The operators on lists that need none. The others are given a TensorList."""


def _tensor(value: Value) -> Tensor:
    if isinstance(value, Known | Symbol):
        return value
    raise Unreadable("reads an array where a tensor is expected")


def _spec(node: NodeDef, name: str, element: Value, size: int) -> ArraySpec:
    return ArraySpec(name, node.attr["element_dtype"].type, size, _said(element), dynamic=False)


def _said(shape: Value) -> Shape:
    """Return the shape that a tensor holds; a single number, -1, says nothing."""
    if not isinstance(shape, Known) or shape.array.ndim == 0:
        return None
    return tuple(None if size < 0 else int(size) for size in shape.array)


def _stated(array: Array, shape: Value) -> Array:
    return replace(array, spec=replace(array.spec, element=merged(array.spec.element, _said(shape))))


def _of_size(array: Array, size: int) -> Array:
    """Return the list with room for `size` elements; those behind them are dropped."""
    if size < 0:
        raise Unreadable(f"takes an element of the list {array.spec.name!r}, which is empty")
    if size == array.size:
        return array
    elements = array.elements
    kept = [(index, value) for index, value in elements if index < size]
    if len(kept) < len(elements):
        elements = Elements()
        for index, value in kept:
            elements = elements.with_element(index, value)
    return Array(replace(array.spec, size=size), elements)
