"""What shapes a graph's tensors have, followed through loops, branches, calls and TensorLists from what goes in.

TensorFlow's own shape functions do the work between these (`shapes_tensorflow`); at a loop they believe what its author noted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.graphs.functions import Library, call_body
from mlkit_build.graphs.shapes_tensorflow import Tensors, Value, data_inputs
from mlkit_build.graphs.surgery import TensorName, constant_value, needed_nodes
from mlkit_build.graphs.tensor_lists import LIST_OPERATORS, ListValue, Shape, both, joined, static

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

LOOPS = ("While", "StatelessWhile")
BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
CALL = "call"
"""The nodes of a function stand under this name while they are looked at."""
_SAME = ("Identity", "StopGradient")
_INT32, _INT64 = _WHOLE = (3, 9)
"""The types of sizes and shapes (`types.proto`)."""
_COUNTS = 16
"""As many whole numbers, a shape or a few sizes, are followed into functions."""
_LISTS_FROM_LISTS = ("TensorListSetItem", "TensorListPushBack", "TensorListScatterIntoExistingList")


Taken = tuple[tuple[Shape, Shape], ...]
"""For each argument its shape and, for a list, its elements'."""


@dataclass
class Analysis:
    """What all parts share.

    Attributes:
        lost: The origins of lists that went somewhere where they cannot be followed.
    """

    library: Library
    graph_def: GraphDef
    lost: set[str] = field(default_factory=set)
    flat: dict[str, tuple[list[NodeDef], list[str]]] = field(default_factory=dict)
    parts: dict[tuple[str, tuple[Value, ...]], Part] = field(default_factory=dict)


class Part:
    """One function, or the graph itself, with the arguments of one use; TensorFlow's own shape functions do the work between
    the loops, branches and lists.

    Attributes:
        entries: node -> input -> the constant to put there.
        attributes: node -> attribute -> the value to put there.
        inside: node -> (function's name, part) for each function that it uses.
    """

    def __init__(
        self, analysis: Analysis, nodes: list[NodeDef], values: dict[str, Value], path: str, around: tuple[str, ...]
    ) -> None:
        self.analysis = analysis
        self.nodes = {node.name: node for node in nodes}
        self.values = values
        self._tensors = Tensors(self.nodes, values, analysis.graph_def, self._is_ours, analysis.lost)
        self._taken = tuple((value.shape, value.held.element if value.held else None) for value in values.values())
        self.path = path
        self.around = around
        self.results: list[Value] = []
        self.entries: dict[str, dict[int, NDArray[Any]]] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self.inside: dict[str, list[tuple[str, Part]]] = {}
        self._made: list[tuple[str, NodeDef, int, Shape]] = []
        self._put: list[tuple[frozenset[str], Shape]] = []

    def evaluate(self, results: Sequence[str] = ()) -> None:
        """Go through the loops, branches and lists in their order, then give the results."""
        for name in needed_nodes(self.nodes, list(self.nodes)):
            node = self.nodes[name]
            function = self._special(node)
            if function is not None:
                function(node)
        self.results = [self._value(item) for item in results]

    def taken(self) -> Taken:
        """Return the shapes of the arguments."""
        return self._taken

    def parts(self) -> Iterator[Part]:
        """Yield this part and all inside it."""
        yield self
        for used in self.inside.values():
            for _, part in used:
                yield from part.parts()

    def settle_made(self) -> None:
        """Let the nodes that make lists say what is put into the lists."""
        put: dict[str, Shape] = {}
        for part in self.parts():
            for origins, shape in part._put:
                put |= {origin: joined(put[origin], shape) if origin in put else shape for origin in origins}
        for part in self.parts():
            for origin, node, entry, declared in part._made:
                if origin in put and origin not in self.analysis.lost:
                    shape = put[origin]
                    if static(shape) and not static(declared):
                        part._set_entry(node, entry, shape)

    # What an operator on lists needs.

    def shape(self, item: str) -> Shape:
        return self._value(item).shape

    def held(self, item: str) -> ListValue | None:
        return self._value(item).held

    def said(self, item: str) -> Shape:
        if self.shape(item) == ():
            return None
        constant = self._constant(item)
        if constant is not None:
            return tuple(None if size < 0 else size for size in constant)
        return self._tensors.as_shape(self._source(item))

    def number(self, item: str) -> int | None:
        constant = self._constant(item)
        return constant[0] if constant is not None and len(constant) == 1 else None

    def made(self, node: NodeDef, entry: int, declared: Shape) -> str:
        origin = f"{self.path}/{node.name}"
        self._made.append((origin, node, entry, declared))
        return origin

    def put(self, origins: Collection[str], shape: Shape) -> None:
        self._put.append((frozenset(origins), shape))

    def settle(self, node: NodeDef, entry: int, shape: Shape) -> None:
        if static(shape) and not static(self.said(node.input[entry])):
            self._set_entry(node, entry, shape)

    def settle_count(self, node: NodeDef, count: int | None) -> None:
        if count is not None:
            self._set_attribute(node, "num_elements").i = count

    def give(self, node: NodeDef, *values: Shape | ListValue) -> None:
        from tensorflow import variant

        numbers = node.attr["element_dtype"].type
        for index, value in enumerate(values):
            if isinstance(value, ListValue):
                known = Value(variant.as_datatype_enum, (), held=value)
            elif node.op in _LISTS_FROM_LISTS and index == 0:
                known = Value(variant.as_datatype_enum, ())
            else:
                known = Value(_INT64 if index and node.op.startswith("TensorListConcat") else numbers, value)
            self.values[f"{node.name}:{index}"] = known

    def give_count(self, node: NodeDef, count: int | None) -> None:
        self.values[f"{node.name}:0"] = Value(_INT32, (), None if count is None else (count,))

    # Loops, branches and calls.

    def _special(self, node: NodeDef) -> Any:
        if node.op in LIST_OPERATORS:
            return lambda node: LIST_OPERATORS[node.op](self, node)
        if node.op in LOOPS:
            return self._loop
        if node.op in BRANCHES:
            return self._branch
        return self._call if node.op in CALLS or node.op in self.analysis.library else None

    def _is_ours(self, node: NodeDef) -> bool:
        return self._special(node) is not None

    def _loop(self, node: NodeDef) -> None:
        """Find what holds before and after every step: the inputs, made less certain until a step changes nothing."""
        body, condition = node.attr["body"].func.name, node.attr["cond"].func.name
        state = [self._argument(item) for item in data_inputs(node)]
        while True:
            part = self._enter(node, body, state)
            merged = [before.or_(after) for before, after in zip(state, part.results, strict=True)]
            if merged == state:
                break
            for before, after, both_ways in zip(state, part.results, merged, strict=True):
                self._lose(before, after, both_ways)
            state = merged
        self.inside[node.name] = [(body, part), (condition, self._enter(node, condition, state))]
        self._give_all(node, state)

    def _branch(self, node: NodeDef) -> None:
        arguments = [self._argument(item) for item in data_inputs(node)[1:]]
        names = [node.attr[key].func.name for key in ("then_branch", "else_branch") if key in node.attr]
        names += [function.name for function in node.attr["branches"].list.func] if "branches" in node.attr else []
        parts = [(name, self._enter(node, name, arguments)) for name in names]
        self.inside[node.name] = parts
        merged = parts[0][1].results
        for _, part in parts[1:]:
            both_ways = [one.or_(other) for one, other in zip(merged, part.results, strict=True)]
            for one, other, value in zip(merged, part.results, both_ways, strict=True):
                self._lose(one, other, value)
            merged = both_ways
        self._give_all(node, merged)

    def _call(self, node: NodeDef) -> None:
        name = node.attr["f"].func.name if node.op in CALLS else node.op
        part = self._enter(node, name, [self._argument(item) for item in data_inputs(node)])
        self.inside[node.name] = [(name, part)]
        for index, value in enumerate(part.results):
            self.values[f"{node.name}:{index}"] = value

    def _give_all(self, node: NodeDef, values: Sequence[Value]) -> None:
        for index, value in enumerate(values):
            self.values[f"{node.name}:{index}"] = value
        noted = [_sizes_of(shape) for shape in node.attr["output_shapes"].list.shape] if "output_shapes" in node.attr else []
        if len(noted) != len(values):
            noted = [None] * len(values)
        better = [old if static(old) else both(old, value.shape) for old, value in zip(noted, values, strict=True)]
        if better != noted:
            shapes = self._set_attribute(node, "output_shapes").list.shape
            for shape in better:
                _write(shapes.add(), shape)

    def _enter(self, node: NodeDef, name: str, arguments: Sequence[Value]) -> Part:
        """Return the function, evaluated for these arguments. Raises ValueError where it calls itself."""
        from tensorflow.core.framework.node_def_pb2 import NodeDef

        path = f"{self.path}/{node.name}/{name}"
        key = (path, tuple(arguments))
        if key in self.analysis.parts:
            return self.analysis.parts[key]
        if name in self.around:
            raise ValueError(f"the function {name} calls itself")
        function = self.analysis.library[name]
        if path not in self.analysis.flat:
            caller = NodeDef(name=CALL, attr={**node.attr, **(node.attr["f"].func.attr if node.op in CALLS else {})})
            names = [arg.name for arg in function.signature.input_arg]
            self.analysis.flat[path] = call_body(function, caller, names, self.analysis.library)
        nodes, results = self.analysis.flat[path]
        values = {f"{arg.name}:0": value for arg, value in zip(function.signature.input_arg, arguments, strict=True)}
        part = Part(self.analysis, nodes, values, path, (*self.around, name))
        part.evaluate(results)
        self.analysis.parts[key] = part
        return part

    # Tensors.

    def _source(self, item: str) -> str:
        """Return the tensor of which this one is a copy."""
        tensor = TensorName.parse(item)
        while str(tensor) not in self.values and self.nodes[tensor.node].op in (*_SAME, "IdentityN"):
            tensor = TensorName.parse(self.nodes[tensor.node].input[tensor.index])
        return str(tensor)

    def _value(self, item: str) -> Value:
        source = self._source(item)
        if source not in self.values:
            self.values[source] = self._tensors.value(source)
        return self.values[source]

    def _argument(self, item: str) -> Value:
        """Return the tensor's value with its numbers, where it is a few constant ones."""
        value = self._value(item)
        if value.constant is None and value.dtype in _WHOLE and _count(value.shape) <= _COUNTS:
            value = Value(value.dtype, value.shape, self._constant(item), value.held)
            self.values[self._source(item)] = value
        return value

    def _constant(self, item: str) -> tuple[int, ...] | None:
        source = self._source(item)
        if source in self.values and self.values[source].constant is not None:
            return self.values[source].constant
        node = self.nodes.get(TensorName.parse(source).node)
        if node is None or self._is_ours(node):
            return None
        value = constant_value(node)
        if value is None:
            value = self._tensors.constant(source)
        return None if value is None else tuple(int(number) for number in np.ravel(value))

    def _lose(self, *values: Value) -> None:
        """Note the lists of which the last value, made of the others, no longer tells."""
        if values[-1].held is None:
            for value in values:
                self.analysis.lost |= value.origins()

    def _set_entry(self, node: NodeDef, entry: int, shape: Shape) -> None:
        self.entries.setdefault(node.name, {})[entry] = np.array(shape or (), np.int32)

    def _set_attribute(self, node: NodeDef, name: str) -> Any:
        from tensorflow.core.framework.attr_value_pb2 import AttrValue

        return self.attributes.setdefault(node.name, {}).setdefault(name, AttrValue())


def _count(shape: Shape) -> float:
    """Return how many numbers a tensor of the shape holds."""
    return math.inf if shape is None else math.prod(math.inf if size is None else size for size in shape)


def _sizes_of(shape: Any) -> Shape:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)


def _write(proto: Any, shape: Shape) -> None:
    if shape is None:
        proto.unknown_rank = True
    for size in shape or ():
        proto.dim.add().size = -1 if size is None else size
