"""The cuts and stitches that freezing is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

CONTROL_FLOW_V1 = {
    "Switch",
    "RefSwitch",
    "Merge",
    "RefMerge",
    "Enter",
    "RefEnter",
    "Exit",
    "RefExit",
    "NextIteration",
    "LoopCond",
}
VARIABLES = {"Variable", "VariableV2", "VarHandleOp"}
PLACEHOLDERS = {"Placeholder", "PlaceholderV2"}


@dataclass(frozen=True)
class TensorName:
    """`node:index`, the way graphs name tensors."""

    node: str
    index: int = 0

    @classmethod
    @lru_cache(maxsize=1 << 15)
    def parse(cls, text: str) -> TensorName:
        """Read `node:index`, `node` or a node's input entry; a control input `^node` reads as its node.

        Cached: freezing walks the same edges about ten times, and making a frozen dataclass costs more than the walk.
        """
        node, colon, index = text.removeprefix("^").rpartition(":")
        if not colon:
            return cls(index)
        return cls(node, int(index)) if index.isdigit() else cls(text.removeprefix("^"))

    def __str__(self) -> str:
        return f"{self.node}:{self.index}"


def find_tensor(text: str, nodes: Mapping[str, NodeDef], where: str, origin: str) -> TensorName:
    """Return the tensor that the recipe calls `text`.

    Raises:
        ConfigError: The graph has no such node; lists the nearest names.
    """
    name = TensorName.parse(text)
    if name.node in nodes:
        return name
    from difflib import get_close_matches

    near = get_close_matches(name.node, nodes, n=5, cutoff=0.4)
    near += [node for node in nodes if name.node.lower() in node.lower() and node not in near][: 5 - len(near)]
    placeholders = [node.name for node in nodes.values() if node.op in PLACEHOLDERS]
    hint = f"nearest names: {', '.join(f'{node}:0' for node in near)}" if near else f"placeholders: {', '.join(placeholders)}"
    raise ConfigError(f"{where}: no tensor {text!r} in {origin} ({len(nodes)} nodes)", hint)


def needed_nodes(
    nodes: Mapping[str, NodeDef], roots: Iterable[str], stops: Collection[str] = (), *, control: bool = True
) -> list[str]:
    """Return the names of all nodes that the roots depend on, inputs before their users, without entering `stops`.

    The order depends on the graph's edges alone, not on how its file lists them. Without `control`, only data count.
    """
    order: list[str] = []
    seen: set[str] = set()
    for root in roots:
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            name, done = stack.pop()
            if done:
                order.append(name)
                continue
            if name in seen or name not in nodes:
                continue
            seen.add(name)
            stack.append((name, True))
            if name not in stops:
                entries = [item for item in nodes[name].input if control or not item.startswith("^")]
                stack += [(TensorName.parse(item).node, False) for item in reversed(entries)]
    return order


def without_training_marks(graph_def: GraphDef) -> GraphDef:
    """Return a copy free of what only its training session needed.

    Devices and colocation name machines and nodes that are not here; `_output_shapes` contradicts pinned shapes and fails
    to import on graphs with BatchNorm; other attributes with an underscore steer TensorFlow's own optimizers, and some are
    drawn at random. Control inputs order side effects, of which inference has none - except in graphs with control flow v1,
    where they say which branch a constant lives in.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    clean = GraphDef()
    clean.CopyFrom(graph_def)
    remove_training_marks(clean, keep_control=has_control_flow_v1(clean))
    return clean


def has_control_flow_v1(graph_def: GraphDef) -> bool:
    """Return whether control inputs mean something in this graph: which branch, which loop."""
    return any(node.op in CONTROL_FLOW_V1 for node in graph_def.node)


def remove_training_marks(graph_def: GraphDef, *, keep_control: bool) -> None:
    """Do in place what `without_training_marks` does to a copy."""
    for function in graph_def.library.function:
        _drop_private(function.attr)
        function.arg_attr.clear()
        function.resource_arg_unique_id.clear()
        for node in function.node_def:
            _unmark(node)
    del graph_def.library.gradient[:]
    for node in graph_def.node:
        _unmark(node)
        if not keep_control:
            drop_control_inputs(node)


def drop_control_inputs(node: NodeDef) -> None:
    """Leave the node its data alone."""
    data = [item for item in node.input if not item.startswith("^")]
    if len(data) < len(node.input):
        del node.input[:]
        node.input.extend(data)


def with_all_attributes(graph_def: GraphDef) -> GraphDef:
    """Return the graph, changed in place, with every attribute that its author left at its default (`strip_default_attrs`).

    Graphs that mean the same are then spelled the same, and nodes can be looked at and run without their definition.
    """
    from tensorflow.python.framework import op_def_registry

    for node in [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]:
        definition = op_def_registry.get(node.op)
        for attribute in definition.attr if definition is not None else ():
            if attribute.HasField("default_value") and attribute.name not in node.attr:
                node.attr[attribute.name].CopyFrom(attribute.default_value)
    return graph_def


def _unmark(node: NodeDef) -> None:
    node.device = ""
    node.ClearField("experimental_debug_info")
    _drop_private(node.attr)


def _drop_private(attributes: Any) -> None:
    for name in [name for name in attributes if name.startswith("_")]:
        del attributes[name]


def constant_node(name: str, value: NDArray[Any]) -> NodeDef:
    """Return a Const node that holds `value`."""
    from tensorflow import as_dtype, make_tensor_proto
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    node = NodeDef(name=name, op="Const")
    node.attr["dtype"].type = as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(make_tensor_proto(value))
    return node


def placeholder_node(name: str, dtype: str, shape: Iterable[int]) -> NodeDef:
    """Return a Placeholder node with a static shape."""
    from tensorflow import TensorShape, as_dtype
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    node = NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = as_dtype(dtype).as_datatype_enum
    node.attr["shape"].shape.CopyFrom(TensorShape(list(shape)).as_proto())
    return node


def constant_value(node: NodeDef) -> NDArray[Any] | None:
    """Return the value of a Const node, or None."""
    from tensorflow import make_ndarray

    return np.asarray(make_ndarray(node.attr["value"].tensor)) if node.op == "Const" else None
