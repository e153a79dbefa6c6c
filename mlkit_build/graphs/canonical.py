"""The canonical form: equal graphs, equal bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlkit_build.graphs.functions import Library, functions_of, library_of
from mlkit_build.graphs.surgery import TensorName, has_control_flow_v1, needed_nodes, remove_training_marks

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef


_TRACED = re.compile(r"^(__inference_|__forward_)+|(_\d+)+$")
"""What the tracer adds to a function's name."""

_UNUSED = re.compile(r"_\d+(___redundant_placeholder\d+)$")
"""The tracer's number in the name of an argument that nothing reads."""


def canonical_form(graph_def: GraphDef, outputs: Iterable[TensorName]) -> GraphDef:
    """Return only what `outputs` need, inputs before users, with the functions in use.

    The order follows the edges from the outputs, so that it does not depend on how the source listed its nodes, and
    `GraphDef.SerializeToString(deterministic=True)` of the result depends on the computation alone.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    control = has_control_flow_v1(graph_def)
    nodes = {node.name: node for node in graph_def.node}
    result = GraphDef()
    result.versions.producer = graph_def.versions.producer
    result.versions.min_consumer = graph_def.versions.min_consumer
    result.node.extend(nodes[name] for name in needed_nodes(nodes, [output.node for output in outputs], control=control))
    remove_training_marks(result, keep_control=control)
    if graph_def.library.function:
        all_functions = GraphDef(library=graph_def.library)
        remove_training_marks(all_functions, keep_control=control)
        _add_functions(result, library_of(all_functions))
    return result


def _add_functions(graph_def: GraphDef, library: Library) -> None:
    """Add the functions that the nodes use, under names that tell their order of use: the tracer's numbers depend on what the
    process traced before."""
    for function in library.values():
        for argument in function.signature.input_arg:
            argument.name = _UNUSED.sub(r"\1", argument.name)
    names: dict[str, str] = {}
    waiting = list(graph_def.node)
    for node in waiting:  # grows while it is walked
        for used in [node.op, *functions_of(node)]:
            if used in library and used not in names:
                names[used] = f"{_TRACED.sub('', used)}_{len(names)}"
                waiting.extend(library[used].node_def)
    for node in waiting:
        node.op = names.get(node.op, node.op)
        for value in node.attr.values():
            for function in (value.func, *value.list.func):
                if function.name in names:
                    function.name = names[function.name]
    for old, new in names.items():
        library[old].signature.name = new
        graph_def.library.function.append(library[old])
