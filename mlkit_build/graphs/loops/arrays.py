"""TensorArrays without operators: while a graph is interpreted, an array is a map from an index to a tensor.

Unstacking fills it, reading looks it up, stacking packs it. In a functional loop, where indices are data, it is a TensorList.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlkit_build.graphs.loops.emitter import INT32, VARIANT, Emitter, integers, shown
from mlkit_build.graphs.loops.operators import Operation
from mlkit_build.graphs.loops.values import (
    Array,
    ArrayHandle,
    ArraySpec,
    Elements,
    Known,
    ListArray,
    Nothing,
    Shape,
    Spec,
    Symbol,
    Tensor,
    Value,
)

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto

_KINDS = ("", "Write", "Read", "Gather", "Scatter", "Concat", "Split", "Size", "Close", "Pack", "Unpack")
OPERATORS = {f"TensorArray{kind}{version}": kind for kind in _KINDS for version in ("", "V2", "V3")}
"""The operators of all three generations of TensorArrays, by what they do."""

_AFTER_HANDLE = {"Write": 3, "Read": 2, "Gather": 2, "Scatter": 3, "Concat": 1, "Split": 3, "Size": 1, "Pack": 1, "Unpack": 2}
"""Where the flow is among an operator's inputs."""


class Unreadable(ValueError):  # noqa: N818 - the caller makes an error of it, or not
    """An array cannot do what the graph asks of it."""


class Arrays:
    """Carries out the operators of TensorArrays."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.discovered: dict[str, Shape] = {}

    def perform(self, node: NodeDef, inputs: Sequence[Value], name: str) -> tuple[Value, ...]:
        """Return the results of a TensorArray operator.

        Raises:
            ValueError: It cannot be done; says why.
        """
        kind = OPERATORS[node.op]
        if kind == "":
            return self._create(node, inputs[0])
        if kind == "Close":
            return ()
        array = _flow(inputs[0], inputs[_AFTER_HANDLE[kind]])
        rest = [item for item in inputs[1 : _AFTER_HANDLE[kind]] if isinstance(item, Known | Symbol)]
        if kind in ("Pack", "Gather", "Concat"):
            stated = node.attr["element_shape_except0" if kind == "Concat" else "element_shape"].shape
            array = replace(array, spec=_stated(array.spec, None if kind == "Concat" else _shape(stated)))
        if kind == "Size":
            return (self._size(array, name),)
        if kind == "Write":
            return (self.write(array, rest[0], rest[1], name),)
        if kind == "Read":
            return (self.read(array, rest[0], name),)
        if kind in ("Gather", "Pack"):
            return (self.gather(array, rest[0] if rest else None, name),)
        if kind in ("Scatter", "Unpack"):
            return (self.scatter(array, rest[0] if kind == "Scatter" else None, rest[-1], name),)
        if kind == "Concat":
            return self.concat(array, name)
        return (self.split(array, rest[0], rest[1], name),)

    def _create(self, node: NodeDef, size: Value) -> tuple[Value, ...]:
        known = int(size.array) if isinstance(size, Known) else None
        dtype, dynamic = node.attr["dtype"].type, node.attr["dynamic_size"].b
        element = _shape(node.attr["element_shape"].shape) if "element_shape" in node.attr else None
        spec = ArraySpec(node.name, dtype, known, element, dynamic)
        return (ArrayHandle(spec), Array(spec, Elements()))

    def _size(self, array: Array | ListArray, name: str) -> Tensor:
        if isinstance(array, Array):
            if array.size is None:
                raise Unreadable(f"the size of the TensorArray {array.spec.name!r} depends on data")
            return integers(array.size, name)
        if array.spec.size is not None:
            return integers(array.spec.size, name)
        return self.emitter.make("TensorListLength", name, [array.handle])

    def write(self, array: Array | ListArray, index: Tensor, value: Tensor, name: str) -> Value:
        """Return the array with one more element."""
        if array.spec.dtype != value.spec.dtype:
            raise Unreadable(f"the TensorArray {array.spec.name!r} does not hold values of this type")
        if isinstance(array, ListArray):
            return self._set(array, index, value, name)
        if not isinstance(index, Known):
            raise Unreadable(f"data decide where in the TensorArray {array.spec.name!r} is written")
        return Array(array.spec, array.elements.with_element(int(index.array), value))

    def _set(self, array: ListArray, index: Tensor, value: Tensor, name: str) -> ListArray:
        if array.spec.element is None or None in array.spec.element:
            self.discovered[array.spec.name] = value.spec.shape
        operation = Operation.new("TensorListSetItem", element_dtype=value.spec.dtype, resize_if_index_out_of_bounds=False)
        made = self.emitter.writer.add(operation, name, [array.handle, index, value], [array.handle.spec])
        return replace(array, handle=made[0])

    def read(self, array: Array | ListArray, index: Tensor, name: str) -> Tensor:
        """Return one element."""
        if isinstance(array, ListArray):
            shape = self._element_shape(array.spec)
            operation = Operation.new("TensorListGetItem", element_dtype=array.spec.dtype)
            inputs = [array.handle, index, integers(shape, f"{name}/element_shape")]
            return self.emitter.writer.add(operation, name, inputs, [Spec(array.spec.dtype, shape)])[0]
        if isinstance(index, Known):
            return self._element(array, int(index.array), name)
        return self.emitter.pick(self.stacked(array, f"{name}/stack"), index, name)

    def _element(self, array: Array, index: int, name: str) -> Tensor:
        found = array.elements.get(index)
        if found is not None:
            return found
        if index < 0 or (array.size is not None and index >= array.size):
            raise Unreadable(f"reads index {index} of the TensorArray {array.spec.name!r}, which has {array.size}")
        # TensorFlow reads zeros where nothing was written, if it knows how many (`tensor_array.h`, TensorArray::LockedRead).
        return self.emitter.zeros(Spec(array.spec.dtype, self._element_shape(array.spec, array.elements)), f"{name}/unwritten")

    def _element_shape(self, spec: ArraySpec, elements: Elements | None = None) -> Shape:
        written = next((value.spec.shape for _, value in elements or ()), None)
        shape = merged(spec.element, written)
        if shape is None or None in shape:
            raise Unreadable(f"the shape of the elements of the TensorArray {spec.name!r} is unknown")
        return shape

    def stacked(self, array: Array | ListArray, name: str) -> Tensor:
        """Return all elements as one tensor."""
        if isinstance(array, ListArray):
            shape = self._element_shape(array.spec)
            count = -1 if array.spec.size is None else array.spec.size
            operation = Operation.new("TensorListStack", element_dtype=array.spec.dtype, num_elements=count)
            spec = Spec(array.spec.dtype, (array.spec.size, *(shape or ())))
            return self.emitter.writer.add(operation, name, [array.handle, integers(shape, f"{name}/element_shape")], [spec])[0]
        if array.stacked is not None:
            return array.stacked
        if array.size is None:
            raise Unreadable(f"the size of the TensorArray {array.spec.name!r} depends on data")
        return self._packed(array, range(array.size), name)

    def _packed(self, array: Array, indices: Sequence[int], name: str) -> Tensor:
        items = [self._element(array, index, name) for index in indices]
        if not items:
            shape = self._element_shape(array.spec, array.elements)
            return self.emitter.zeros(Spec(array.spec.dtype, (0, *(shape or ()))), name)
        different = next((item for item in items if item.spec.shape != items[0].spec.shape), None)
        if different is not None:
            raise Unreadable(
                f"the elements of the TensorArray {array.spec.name!r} differ in shape: "
                f"{shown(items[0].spec)} and {shown(different.spec)}"
            )
        return self.emitter.stack(items, name)

    def gather(self, array: Array | ListArray, indices: Tensor | None, name: str) -> Tensor:
        """Return these elements as one tensor; without indices, all."""
        size = array.size if isinstance(array, Array) else array.spec.size
        if indices is None or (isinstance(indices, Known) and indices.array.tolist() == list(range(size or 0))):
            return self.stacked(array, name)
        if isinstance(array, Array) and isinstance(indices, Known):
            return self._packed(array, [int(index) for index in indices.array], name)
        return self.emitter.pick(self.stacked(array, f"{name}/stack"), indices, name)

    def scatter(self, array: Array | ListArray, indices: Tensor | None, value: Tensor, name: str) -> Value:
        """Return the array with a tensor's rows in these places; without indices, from the first on."""
        if isinstance(array, ListArray) or not isinstance(indices, Known | None):
            raise Unreadable(f"data decide where in the TensorArray {array.spec.name!r} is written")
        if not value.spec.shape or value.spec.shape[0] is None:
            raise Unreadable(f"how many elements the TensorArray {array.spec.name!r} gets depends on data")
        count = value.spec.shape[0]
        where = range(count) if indices is None else [int(index) for index in indices.array]
        whole = len(array.elements) == 0 and list(where) == list(range(count))
        items = self._unstacked(value, name) if count else ()
        elements = array.elements
        for index, item in zip(where, items, strict=True):
            elements = elements.with_element(index, item)
        result = Array(array.spec, elements)
        return replace(result, stacked=value) if whole and result.size in (count, None) else result

    def _unstacked(self, value: Tensor, name: str) -> tuple[Tensor, ...]:
        assert value.spec.shape
        if isinstance(value, Known):
            return tuple(Known(item, value.spec.dtype, f"{name}/element_{index}") for index, item in enumerate(value.array))
        count = value.spec.shape[0]
        assert count is not None
        return self.emitter.compute(Operation.new("Unpack", T=value.spec.dtype, num=count, axis=0), name, [value])

    def concat(self, array: Array | ListArray, name: str) -> tuple[Value, ...]:
        """Return the elements one after the other as one tensor, and how long each is."""
        if isinstance(array, ListArray):
            shape = self._element_shape(array.spec)
            if not shape or shape[0] is None or array.spec.size is None:
                raise Unreadable(f"the elements of the TensorArray {array.spec.name!r} cannot be concatenated")
            count, first = array.spec.size, shape[0]
            stacked = self.stacked(array, f"{name}/stack")
            flat = integers([count * first, *shape[1:]], f"{name}/shape")
            joined = self.emitter.make("Reshape", name, [stacked, flat], T=array.spec.dtype, Tshape=INT32)
            return joined, _lengths([first] * count, name)
        if array.size is None:
            raise Unreadable(f"the size of the TensorArray {array.spec.name!r} depends on data")
        items = [self._element(array, index, name) for index in range(array.size)]
        lengths = [item.spec.shape[0] for item in items if item.spec.shape]
        if not items or len(lengths) != len(items):
            raise Unreadable(f"the elements of the TensorArray {array.spec.name!r} cannot be concatenated")
        known = None not in lengths
        second = _lengths(lengths, name) if known else Nothing(f"the lengths in the TensorArray {array.spec.name!r} are data")
        if len(items) == 1:
            return items[0], second
        inputs = [*items, integers(0, f"{name}/axis")]
        return self.emitter.make("ConcatV2", name, inputs, T=array.spec.dtype, N=len(items), Tidx=INT32), second

    def split(self, array: Array | ListArray, value: Tensor, lengths: Tensor, name: str) -> Value:
        """Return the array with runs of a tensor's rows as its elements."""
        if isinstance(array, ListArray) or not isinstance(lengths, Known):
            raise Unreadable(f"data decide how the TensorArray {array.spec.name!r} is split")
        count = int(lengths.array.size)
        inputs = [value, lengths, integers(0, f"{name}/axis")]
        operation = Operation.new("SplitV", T=value.spec.dtype, Tlen=lengths.spec.dtype, num_split=count)
        items = self.emitter.compute(operation, name, inputs)
        elements = array.elements
        for index, item in enumerate(items):
            elements = elements.with_element(index, item)
        return Array(array.spec, elements)

    def select(self, predicate: Tensor, when_true: Array, when_false: Array, name: str) -> Array:
        """Return the array that a cond leaves behind, element by element."""
        elements = when_true.elements
        if when_true.spec.dynamic and len(elements) != len(when_false.elements):
            raise Unreadable(f"data decide how many elements the TensorArray {when_true.spec.name!r} has")
        indices = sorted({index for side in (when_true, when_false) for index, _ in side.elements})
        for index in indices:
            sides = [side.elements.get(index) for side in (when_true, when_false)]
            if sides[0] is sides[1] and sides[0] is not None:
                continue
            spec = next(side.spec for side in sides if side is not None)
            yes, no = (self.emitter.zeros(spec, f"{name}/unwritten") if side is None else side for side in sides)
            elements = elements.with_element(index, self.emitter.select(predicate, yes, no, f"{name}/element_{index}"))
        stacked = when_true.stacked if when_true.stacked is when_false.stacked else None
        return Array(when_true.spec, elements, stacked)

    def select_list(self, predicate: Tensor, when_true: ListArray, when_false: ListArray, name: str) -> ListArray:
        """Return the TensorList that a cond leaves behind: lists cannot be selected, what they hold can."""
        sides = [self.stacked(side, f"{name}/stack_{number}") for number, side in enumerate((when_true, when_false))]
        chosen = self.emitter.select(predicate, sides[0], sides[1], name)
        shape = integers(self._element_shape(when_true.spec), f"{name}/element_shape")
        operation = Operation.new("TensorListFromTensor", element_dtype=when_true.spec.dtype, shape_type=INT32)
        made = self.emitter.writer.add(operation, f"{name}/list", [chosen, shape], [when_true.handle.spec])
        return replace(when_true, handle=made[0])

    def as_list(self, array: Array | ListArray, element: Shape, name: str) -> ListArray:
        """Return the array as a TensorList whose elements have the shape `element`, as far as it is known."""
        if isinstance(array, ListArray):
            return array
        element = merged(element, next((value.spec.shape for _, value in array.elements), None))
        sizes = -1 if element is None else [-1 if size is None else size for size in element]
        shape = integers(sizes, f"{name}/element_shape")
        attributes = {"element_dtype": array.spec.dtype, "shape_type": INT32}
        spec = replace(array.spec, element=element, size=array.size)
        if array.size is None:
            raise Unreadable(f"the size of the TensorArray {array.spec.name!r} depends on data")
        if array.spec.dynamic:
            raise Unreadable(f"the TensorArray {array.spec.name!r} grows as it is written")
        result = [Spec(VARIANT, ())]
        if len(array.elements) == array.size and array.size:
            operation = Operation.new("TensorListFromTensor", **attributes)
            made = self.emitter.writer.add(operation, name, [self.stacked(array, f"{name}/stack"), shape], result)
            return ListArray(spec, made[0])
        reserve = Operation.new("TensorListReserve", **attributes)
        handle = self.emitter.writer.add(reserve, name, [shape, integers(array.size, f"{name}/size")], result)[0]
        listed = ListArray(spec, handle)
        for index, value in array.elements:
            listed = self._set(listed, integers(index, f"{name}/index"), value, f"{name}/element_{index}")
        return listed


def _flow(handle: Value, flow: Value) -> Array | ListArray:
    if isinstance(flow, Array | ListArray):
        return flow
    if isinstance(handle, ArrayHandle) and isinstance(flow, Known):
        # The first two generations had no flow to begin with, but a constant.
        return Array(handle.spec, Elements())
    if isinstance(flow, Nothing):
        raise Unreadable(flow.reason)
    raise Unreadable("a TensorArray's flow does not come from the array")


def _stated(spec: ArraySpec, shape: Shape) -> ArraySpec:
    return spec if shape is None else replace(spec, element=shape if spec.element is None else merged(spec.element, shape))


def merged(first: Shape, second: Shape) -> Shape:
    """Return what two statements of one shape say together."""
    if first is None or second is None or len(first) != len(second):
        return first if second is None else second
    return tuple(other if size is None else size for size, other in zip(first, second, strict=True))


def _shape(proto: TensorShapeProto) -> Shape:
    return None if proto.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in proto.dim)


def _lengths(lengths: Sequence[int | None], name: str) -> Known:
    return Known(np.array(lengths, np.int64), 9, f"{name}/lengths")
