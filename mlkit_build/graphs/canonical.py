"""The canonical form: equal graphs, equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlkit_build.graphs.surgery import TensorName, needed_nodes, without_training_marks

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef


def canonical_form(graph_def: GraphDef, outputs: Iterable[TensorName]) -> GraphDef:
    """Return only what `outputs` need, inputs before users, with the functions in use sorted by name.

    The order follows the edges from the outputs, so that it does not depend on how the source listed its nodes, and
    `GraphDef.SerializeToString(deterministic=True)` of the result depends on the computation alone.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    clean = without_training_marks(graph_def)
    nodes = {node.name: node for node in clean.node}
    result = GraphDef()
    result.versions.producer = graph_def.versions.producer
    result.versions.min_consumer = graph_def.versions.min_consumer
    result.node.extend(nodes[name] for name in needed_nodes(nodes, [output.node for output in outputs]))
    library = {function.signature.name: function for function in clean.library.function}
    used: set[str] = set()
    waiting = list(result.node)
    while waiting:
        node = waiting.pop()
        names = [node.op] + [
            function.name for value in node.attr.values() for function in (value.func, *value.list.func) if function.name
        ]
        for name in names:
            if name in library and name not in used:
                used.add(name)
                waiting.extend(library[name].node_def)
    result.library.function.extend(library[name] for name in sorted(used))
    return result
