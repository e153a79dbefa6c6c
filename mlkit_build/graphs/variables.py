"""Values in place of variables: what freezing is about. Reference variables, resource variables, embedding lookups, and the
functions of loops and branches that are handed a variable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlkit_build.errors import SourceError, StageError
from mlkit_build.graphs.functions import Library
from mlkit_build.graphs.loaded import LoadedGraph
from mlkit_build.graphs.surgery import VARIABLES, TensorName, constant_node

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

MAX_BYTES = 2**31 - 1
"""Protobuf's limit for one message: a GraphDef with more in its constants cannot be written."""

_READERS = ("ReadVariableOp", "Identity", "ResourceGather")
_LOOPS = ("While", "StatelessWhile")
_FIRST_PASSED = {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}
"""Operators whose first inputs do not reach their functions: a branch's condition."""


def put_variables(needed: list[str], nodes: dict[str, NodeDef], loaded: LoadedGraph, library: Library) -> None:
    """Replace variables by their values, and what reads them by what reads a constant, in place.

    Args:
        needed: The nodes between inputs and outputs, in order; a lookup adds its axis.
        nodes: Every node by name.
        loaded: Where the values come from.
        library: The functions; those that are handed a variable get a version that takes its value.

    Raises:
        SourceError: A variable has no value, or is used in a way that a constant cannot stand for.
        StageError: Together they are larger than a GraphDef can be.
    """
    handles: dict[str, int] = {}
    total = 0
    names = [name for name in needed if nodes[name].op in VARIABLES]
    known = loaded.together(names) if loaded.together and names else {}
    for name in needed:
        node = nodes[name]
        if node.op in VARIABLES:
            array = known[name] if name in known else loaded.variable(name)
            total += array.nbytes
            if total > MAX_BYTES:
                raise StageError(
                    f"freeze: the variables that the outputs need have more than 2 GB ({name!r} is one); a GraphDef can hold "
                    "no more, and neither can a .tflite",
                    "cut the model into parts with signature.inputs and signature.outputs, or store the weights in float16",
                )
            value = constant_node(name, array)
            if node.op == "VarHandleOp":
                handles[name] = value.attr["dtype"].type
            nodes[name] = value
    if not handles:
        return
    values = _Values(library, loaded.origin)
    for name in list(needed):
        axis = values.put(nodes[name], handles)
        if axis is not None:
            nodes[axis.name] = axis
            needed.insert(needed.index(name), axis.name)


class _Values:
    """Makes nodes and functions that held handles hold values."""

    def __init__(self, library: Library, origin: str) -> None:
        self._library = library
        self._origin = origin
        self._made: dict[tuple[str, tuple[tuple[int, int], ...]], str] = {}

    def put(self, node: NodeDef, handles: dict[str, int], separator: str = ":0") -> NodeDef | None:
        """Change the node in place where it reads one of `handles` (tensor's node -> type); return a node to add, or None.

        Handles that it passes on are added to `handles`.
        """
        read = [TensorName.parse(item).node if separator == ":0" else item for item in node.input if not item.startswith("^")]
        taken = {index: handles[item] for index, item in enumerate(read) if item in handles}
        if not taken:
            return None
        if node.op in _READERS:
            kind = taken[0]
            if node.op == "Identity":
                handles[node.name if separator == ":0" else f"{node.name}:output:0"] = kind
            if node.op == "ResourceGather":
                return _gather(node, kind, "" if separator == ":0" else ":output:0")
            node.op = "Identity"
            node.attr.clear()
            node.attr["T"].type = kind
            return None
        functions = [value.func for value in node.attr.values() if value.func.name in self._library]
        functions += [function for value in node.attr.values() for function in value.list.func if function.name in self._library]
        if not functions:
            raise SourceError(
                f"source.path: {self._origin}: the operator {node.op} ({node.name}) uses the variable {read[min(taken)]!r} in a "
                "way that cannot be frozen",
                "export the model's inference graph, without training operators",
            )
        skipped = _FIRST_PASSED.get(node.op, 0)
        passed = {index - skipped: kind for index, kind in taken.items()}
        for function in functions:
            function.name = self._function(function.name, passed)
        for attribute in ("T", "Tin"):
            if attribute in node.attr:
                for index, kind in passed.items():
                    node.attr[attribute].list.type[index] = kind
        if node.op in _LOOPS and "output_shapes" in node.attr:
            for index in passed:  # a handle has a scalar's shape, its value has its own
                if index < len(node.attr["output_shapes"].list.shape):
                    node.attr["output_shapes"].list.shape[index].Clear()
                    node.attr["output_shapes"].list.shape[index].unknown_rank = True
        return None

    def _function(self, name: str, values: Mapping[int, int]) -> str:
        """Return the name of the function that takes values where `name` takes handles: position -> type.

        It has the old name with another number behind it; the canonical form counts them anew.
        """
        key = (name, tuple(sorted(values.items())))
        if key in self._made:
            return self._made[key]
        made = f"{name}_{len(self._library)}"
        self._made[key] = made
        function = type(self._library[name])()
        function.CopyFrom(self._library[name])
        function.signature.name = made
        arguments = function.signature.input_arg
        held = {arguments[index].name: kind for index, kind in values.items() if index < len(arguments)}
        for index, kind in values.items():
            if index < len(arguments):
                arguments[index].type = kind
                arguments[index].ClearField("handle_data")
        nodes = []
        renamed = {}
        for node in function.node_def:
            was = node.op
            axis = self.put(node, held, separator="")
            nodes += [axis, node] if axis is not None else [node]  # TensorFlow insists on inputs before users
            if was == "ReadVariableOp" and node.op == "Identity":
                renamed[f"{node.name}:value:0"] = f"{node.name}:output:0"
        del function.node_def[:]
        function.node_def.extend(nodes)
        for node in function.node_def:
            for index, item in enumerate(node.input):
                node.input[index] = renamed.get(item, item)
        for result in function.signature.output_arg:
            source = renamed.get(function.ret[result.name], function.ret[result.name])
            function.ret[result.name] = source
            if source in held:
                result.type = held[source]
                result.ClearField("handle_data")
        self._library[made] = function
        return made


def _gather(node: NodeDef, kind: int, output: str) -> NodeDef:
    """Make the lookup in a variable a lookup in a constant; return its axis, whose tensor has `output` behind its name."""
    axis = constant_node(f"{node.name}/axis", np.array(0, np.int32))
    indices, batch_dims = node.attr["Tindices"].type, node.attr["batch_dims"].i
    node.op = "GatherV2"
    node.attr.clear()
    node.attr["Tparams"].type = kind
    node.attr["Tindices"].type = indices
    node.attr["Taxis"].type = axis.attr["dtype"].type
    node.attr["batch_dims"].i = batch_dims
    node.input.insert(2, f"{axis.name}{output}")
    return axis


def reader_node(op: str, node: NodeDef, attribute: str, value: NodeDef) -> NodeDef:
    """Return the operator `op` in place of `node`, with its first input and the type of `attribute` or, for `T`, of `value`."""
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    reader = NodeDef(name=node.name, op=op, input=node.input[:1])
    reader.attr["T"].CopyFrom(node.attr[attribute] if attribute == "dtype" else value.attr["dtype"])
    return reader
