"""Values in place of variables: what freezing is about. Reference variables, resource variables, and embedding lookups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlkit_build.errors import SourceError
from mlkit_build.graphs.surgery import VARIABLES, LoadedGraph, TensorName, constant_node

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef


def put_variables(needed: list[str], nodes: dict[str, NodeDef], loaded: LoadedGraph) -> None:
    """Replace variables by their values, and what reads them by what reads a constant, in place.

    Args:
        needed: The nodes between inputs and outputs, in order; a lookup adds its axis.
        nodes: Every node by name.
        loaded: Where the values come from.

    Raises:
        SourceError: A variable has no value, or is used in a way that a constant cannot stand for.
    """
    handles = set()
    for name in needed:
        node = nodes[name]
        if node.op in VARIABLES:
            if node.op == "VarHandleOp":
                handles.add(name)
            nodes[name] = constant_node(name, loaded.variable(name))
    for name in list(needed) if handles else ():
        node = nodes[name]
        read = [TensorName.parse(item).node for item in node.input]
        if not handles.intersection(read):
            continue
        if node.op in ("ReadVariableOp", "Identity"):
            if node.op == "Identity":
                handles.add(name)
            nodes[name] = reader_node("Identity", node, "dtype" if node.op == "ReadVariableOp" else "T", nodes[read[0]])
        elif node.op == "ResourceGather":
            axis = f"{name}/axis"
            gather = reader_node("GatherV2", node, "dtype", nodes[read[0]])
            nodes[axis] = constant_node(axis, np.array(0, np.int32))
            del gather.input[:]
            gather.input.extend([*node.input, axis])
            gather.attr["Tparams"].type = gather.attr.pop("T").type
            gather.attr["Tindices"].CopyFrom(node.attr["Tindices"])
            gather.attr["Taxis"].type = nodes[axis].attr["dtype"].type
            gather.attr["batch_dims"].i = node.attr["batch_dims"].i
            nodes[name] = gather
            needed.insert(needed.index(name), axis)
        else:
            raise SourceError(
                f"source.path: {loaded.origin}: the operator {node.op} ({name}) uses the variable {read[0]!r} in a way that "
                "cannot be frozen from a checkpoint",
                "export the model's inference graph, without training operators and functions over variables",
            )


def reader_node(op: str, node: NodeDef, attribute: str, value: NodeDef) -> NodeDef:
    """Return the operator `op` in place of `node`, with its first input and the type of `attribute` or, for `T`, of `value`."""
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    reader = NodeDef(name=node.name, op=op, input=node.input[:1])
    reader.attr["T"].CopyFrom(node.attr[attribute] if attribute == "dtype" else value.attr["dtype"])
    return reader
