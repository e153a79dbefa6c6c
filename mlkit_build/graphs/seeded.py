"""Random numbers that are the same every time: a stateless operator with a constant seed is a constant, and becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlkit_build.graphs.surgery import TensorName, constant_node, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_STATELESS = ("StatelessRandom", "StatelessTruncatedNormal", "StatelessMultinomial")


def draw_seeded(graph_def: GraphDef, outputs: Sequence[TensorName]) -> GraphDef:
    """Return the graph with every random number that depends on constants alone replaced by what TensorFlow draws.

    TensorFlow promises the same numbers for the same seed and shape; the converter has no counterpart for drawing them.
    """
    nodes = {node.name: node for node in graph_def.node}
    order = needed_nodes(nodes, [output.node for output in outputs])
    if not any(nodes[name].op.startswith(_STATELESS) for name in order):
        return graph_def
    fixed: set[str] = set()
    for name in order:
        known = nodes[name].op == "Const" or (nodes[name].input and all(item in fixed for item in _inputs(nodes[name])))
        if known and not _is_stateful(nodes[name]):
            fixed.add(name)
    # Draws whose numbers are read by something else than another draw: keys and counters are parts of a draw.
    read = {item for name in order if not nodes[name].op.startswith(_STATELESS) for item in _inputs(nodes[name])}
    read |= {output.node for output in outputs}
    drawn = [name for name in order if name in fixed and name in read and nodes[name].op.startswith(_STATELESS)]
    if not drawn:
        return graph_def
    result = type(graph_def)()
    result.CopyFrom(graph_def)
    values = _values(graph_def, drawn)
    for node in result.node:
        if node.name in values:
            node.CopyFrom(values[node.name])
    return result


def _inputs(node: NodeDef) -> list[str]:
    return [TensorName.parse(item).node for item in node.input]


def _is_stateful(node: NodeDef) -> bool:
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    return definition is None or bool(definition.is_stateful) or any(value.HasField("func") for value in node.attr.values())


def _values(graph_def: GraphDef, names: Sequence[str]) -> dict[str, NodeDef]:
    """Return the nodes as constants, by name; only those with one output, as all draws have that a model reads."""
    import tensorflow as tf

    nodes = {node.name: node for node in graph_def.node}
    part = type(graph_def)(versions=graph_def.versions)
    part.node.extend(nodes[name] for name in needed_nodes(nodes, names))
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(part, name="")
        single = [name for name in names if len(graph.get_operation_by_name(name).outputs) == 1]
        with tf.compat.v1.Session(graph=graph) as session:
            found = session.run([f"{name}:0" for name in single])
    return {name: constant_node(name, value) for name, value in zip(single, found, strict=True)}
