"""A model that is traced: its graph for the shapes that a signature pins, with variables in place of what it captured."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import SourceError, words_of
from mlkit_build.graphs import DeclaredSignature, DeclaredTensor, LoadedGraph, OpenedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef

Shapes = Mapping[str, tuple[int, ...]]


def declared_outputs(names: Sequence[str], results: Sequence[Any]) -> tuple[DeclaredTensor, ...]:
    """Return the outputs with what is known of them before the model is traced with the shapes of a signature."""
    import tensorflow as tf

    shapes = [tf.TensorShape(tensor.shape) for tensor in results]
    return tuple(
        DeclaredTensor(
            name,
            f"{_output_node(name)}:0",
            None if shape.rank is None else tuple(shape.as_list()),
            tf.as_dtype(tensor.dtype).base_dtype.name,
        )
        for name, tensor, shape in zip(names, results, shapes, strict=True)
    )


def traced(
    trace: Callable[[list[Any]], Any],
    inputs: tuple[DeclaredTensor, ...],
    outputs: tuple[DeclaredTensor, ...],
    variables: Sequence[Any],
    origin: str,
    where: str,
    known: Any = None,
) -> OpenedModel:
    """Return the opened form of what `trace` makes of input specs: a concrete function.

    Args:
        known: What was traced with the declared shapes already; None if nothing was.
    """
    names = [spec.name for spec in outputs]

    def graph(shapes: Shapes) -> LoadedGraph:
        import tensorflow as tf

        specs = [tf.TensorSpec(shapes.get(spec.name, spec.shape), spec.dtype, name=node_name(spec.name)) for spec in inputs]
        if known is not None and all(spec.shape == shapes.get(spec.name, spec.shape) for spec in inputs):
            return _loaded(known, inputs, names, variables, origin)
        try:
            concrete = trace(specs)
        except Exception as error:
            raise SourceError(
                f"{where}: {origin}: the model cannot be traced with "
                f"{', '.join(f'{spec.name} {spec.shape}' for spec in specs)}: {words_of(error)}",
                "check the shapes in signature.inputs",
            ) from error
        return _loaded(concrete, inputs, names, variables, origin)

    return OpenedModel(origin, graph, (DeclaredSignature("", inputs, outputs),))


def _loaded(
    concrete: Any, inputs: tuple[DeclaredTensor, ...], outputs: list[str], variables: Sequence[Any], origin: str
) -> LoadedGraph:
    """Return the traced graph with its captured variables as variables, and its inputs and outputs under their own names."""
    import numpy as np
    import tensorflow as tf
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    from mlkit_build.graphs import constant_node
    from mlkit_build.graphs.tables import LOOKUPS, TABLE

    graph_def: GraphDef = concrete.graph.as_graph_def()
    nodes = {node.name: node for node in graph_def.node}
    inner = (node for function in graph_def.library.function for node in function.node_def)
    lookup = next((node for node in itertools.chain(nodes.values(), inner) if node.op in LOOKUPS), None)
    values: dict[str, Any] = {}
    captures = list(zip(concrete.captured_inputs, concrete.graph.internal_captures, strict=True))
    known = [*concrete.graph.variables, *variables]
    by_handle = {id(_variable(item).handle): _variable(item) for item in known}
    named = {id(_variable(item).handle): str(getattr(item, "path", None) or item.name).removesuffix(":0") for item in known}
    for captured, placeholder in captures:
        node = nodes[placeholder.op.name]
        variable = by_handle.get(id(captured))
        if variable is not None:
            values[node.name] = variable
            node.op = "VarHandleOp"
            node.attr.clear()
            node.attr["dtype"].type = variable.dtype.base_dtype.as_datatype_enum
            node.attr["shape"].shape.CopyFrom(variable.shape.as_proto())
            node.attr["shared_name"].s = named[id(captured)].encode()  # the node has the name of who reads it first
        elif captured.dtype not in (tf.resource, tf.variant):
            node.CopyFrom(constant_node(node.name, np.asarray(captured.numpy())))
        elif captured.dtype == tf.resource and lookup is not None:
            node.op = TABLE
            node.attr.clear()
            node.attr["key_dtype"].type, node.attr["value_dtype"].type = lookup.attr["Tin"].type, lookup.attr["Tout"].type
    own = [tensor for tensor in concrete.inputs if not any(tensor is placeholder for _, placeholder in captures)]
    results = [tensor for tensor in tf.nest.flatten(concrete.structured_outputs) if tensor is not None]
    for spec, tensor in zip(inputs, own, strict=True):
        if nodes[tensor.op.name].name != node_name(spec.name):
            _rename(graph_def, tensor.op.name, node_name(spec.name))
    renamed = {tensor.name: node_name(spec.name) for spec, tensor in zip(inputs, own, strict=True)}
    for name, tensor in zip(outputs, concrete.outputs[: len(results)], strict=True):
        identity = NodeDef(name=_output_node(name), op="Identity", input=[renamed.get(tensor.name, tensor.name)])
        identity.attr["T"].type = tensor.dtype.as_datatype_enum
        graph_def.node.append(identity)

    def value(name: str) -> NDArray[Any]:
        found: NDArray[Any] = values[name].numpy()
        return found

    return LoadedGraph(graph_def, value, origin)


def _variable(item: Any) -> Any:
    """Return the TensorFlow variable inside a Keras 3 variable, or the variable itself."""
    return item.value if hasattr(item, "value") and hasattr(item.value, "handle") else item


def _rename(graph_def: GraphDef, old: str, new: str) -> None:
    for node in graph_def.node:
        if node.name == old:
            node.name = new
        for index, item in enumerate(node.input):
            if item in (old, f"{old}:0"):
                node.input[index] = new
            elif item == f"^{old}":
                node.input[index] = f"^{new}"


def node_name(name: str) -> str:
    """Return a node name for a declared input (`graph.proto`: letters, digits, and some marks)."""
    return re.sub(r"[^A-Za-z0-9_.\-/]", "_", name).lstrip("_-/") or "input"


def _output_node(name: str) -> str:
    return f"outputs/{node_name(name)}"
