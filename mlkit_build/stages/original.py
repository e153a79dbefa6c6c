"""The model as its author saved it, run by TensorFlow itself: what a frozen graph is compared with.

Nothing of freeze's surgery happens here: functions are called, loops loop, and variables are variables that TensorFlow
assigns and reads. Operators that reach out of the process are not run, since a model file may be hostile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import operator_reason
from mlkit_build.graphs import LoadedGraph, TensorName, needed_nodes
from mlkit_build.graphs.functions import Library, functions_of, library_of
from mlkit_build.graphs.surgery import VARIABLES
from mlkit_build.stages.params import FreezeParams

if TYPE_CHECKING:
    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_STATE = (
    *VARIABLES,
    *("Placeholder", "ReadVariableOp", "VarIsInitializedOp", "IsVariableInitialized", "Assert", "NoOp", "ResourceGather"),
    *("If", "While", "Case", "PartitionedCall", "StatefulPartitionedCall", "ResourceGatherNd", "VariableShape"),
)
_STATES = ("TensorArray", "Stack", "Temporary", "Random", "Multinomial")
"""Stateful operators whose state is the process's own, by name and by how their names begin."""
_FILES = ("ReadFile", "MatchingFiles", "DecodeProtoV2", "EncodeProto")
"""Operators that read files and keep no state."""


class NotRunnableError(Exception):
    """The model cannot be run as it was saved; says why, to follow `not compared: `."""


class OriginalModel:
    """A session with the graph as it was saved.

    Args:
        loaded: The graph and where its variables' values come from.
        request: Complete: every input and output has its tensor.

    Raises:
        NotRunnableError: TensorFlow cannot run it, may not, or would answer otherwise each time.
    """

    def __init__(self, loaded: LoadedGraph, request: FreezeParams) -> None:
        import tensorflow as tf

        self._inputs = {name: _tensor(spec.tensor) for name, spec in request.inputs.items()}
        self._outputs = [_tensor(tensor) for tensor in request.outputs.values()]
        constants = {_tensor(name): value for name, value in request.constants.items()}
        graph_def, variables = _part(loaded.graph_def, [*self._inputs.values(), *constants], self._outputs)
        kept = {node.name for node in graph_def.node}  # the outputs need no others, and what is not there cannot be fed
        _refuse_reaching_out(graph_def)
        try:
            with tf.Graph().as_default() as graph:
                tf.graph_util.import_graph_def(graph_def, name="")
                assignments = [(name, *_assignment(graph, name)) for name in variables]
            config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
            self._session = tf.compat.v1.Session(graph=graph, config=config)
            for name, assign, value in assignments:
                self._session.run(assign, {value: loaded.variable(name)})
        except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            raise NotRunnableError(f"TensorFlow does not run the graph as it was saved: {operator_reason(error)}") from error
        self._constants = {name: np.asarray(value) for name, value in constants.items() if TensorName.parse(name).node in kept}

    def run(self, samples: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Return each output of each sample, `[n, values]`.

        Args:
            samples: Input -> `[n, ...]`, each sample with a batch of 1 of its own: `[n, 1, height, width, channels]`.

        Raises:
            NotRunnableError: TensorFlow fails.
        """
        import tensorflow as tf

        def one(row: int) -> list[NDArray[np.float32]]:
            feed = {tensor: samples[name][row] for name, tensor in self._inputs.items()}
            results = self._session.run(self._outputs, {**feed, **self._constants})
            return [np.asarray(result, np.float32).reshape(-1) for result in results]

        try:
            rows = [one(row) for row in range(len(next(iter(samples.values()))))]
            again = one(0)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise NotRunnableError(f"TensorFlow does not run the graph as it was saved: {operator_reason(error)}") from error
        if not all(np.allclose(ours, theirs, 1e-5, 1e-6, equal_nan=True) for ours, theirs in zip(again, rows[0], strict=True)):
            raise NotRunnableError("it draws random numbers, which freeze switched off: it answers otherwise each time")
        return [np.stack(column) for column in zip(*rows, strict=True)]


def _tensor(text: str | None) -> str:
    return str(TensorName.parse(text or ""))


def _part(graph_def: GraphDef, given: Sequence[str], outputs: Sequence[str]) -> tuple[GraphDef, list[str]]:
    """Return the nodes that the outputs need, with placeholders for what is given, and the names of its variables.

    Raises:
        NotRunnableError: What is given is one of several tensors of its node.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    part = GraphDef()
    part.CopyFrom(graph_def)
    for node in _every_node(part):
        for key in [key for key in node.attr if key.startswith("_") and key != "_class"]:
            del node.attr[key]  # `_output_shapes` of training graphs contradict their operators
        node.device = ""
    nodes = {node.name: node for node in part.node}
    stops = [TensorName.parse(text) for text in given]
    if any(stop.index for stop in stops):
        raise NotRunnableError("an input is one of several tensors of its operator")
    missing = [tensor for tensor in (*given, *outputs) if TensorName.parse(tensor).node not in nodes]
    if missing:
        raise NotRunnableError(f"the graph has no {missing[0]}")
    types = _types(part, [str(stop) for stop in stops if nodes[stop.node].op != "Placeholder"])
    for stop in stops:
        node = nodes[stop.node]
        dtype = types.get(str(stop), node.attr["dtype"].type)
        node.op = "Placeholder"
        del node.input[:]
        node.attr.clear()
        node.attr["dtype"].type = dtype
        node.attr["shape"].shape.unknown_rank = True
    needed = set(needed_nodes(nodes, [TensorName.parse(tensor).node for tensor in outputs]))
    kept = [node for node in part.node if node.name in needed]
    result = GraphDef(versions=part.versions)
    result.node.extend(kept)
    result.library.function.extend(_called(kept, library_of(part)))
    return result, [node.name for node in kept if node.op in VARIABLES]


def _called(nodes: Sequence[NodeDef], library: Library) -> list[FunctionDef]:
    """Return the functions that nodes call, and those that these call."""
    waiting, found = list(nodes), {}
    while waiting:
        node = waiting.pop()
        for name in (node.op, *functions_of(node)):
            if name in library and name not in found:
                found[name] = library[name]
                waiting += library[name].node_def
    return [found[name] for name in sorted(found)]


def _types(graph_def: GraphDef, tensors: Sequence[str]) -> dict[str, int]:
    """Return the types of tensors that are no placeholders."""
    import tensorflow as tf

    if not tensors:
        return {}
    nodes = {node.name: node for node in graph_def.node}
    part = type(graph_def)(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(nodes[name] for name in needed_nodes(nodes, [TensorName.parse(tensor).node for tensor in tensors]))
    try:
        with tf.Graph().as_default():
            found = tf.graph_util.import_graph_def(part, return_elements=list(tensors), name="")
    except ValueError as error:
        raise NotRunnableError(f"TensorFlow does not take the graph as it was saved: {operator_reason(error)}") from error
    return {text: tensor.dtype.base_dtype.as_datatype_enum for text, tensor in zip(tensors, found, strict=True)}


def _refuse_reaching_out(graph_def: GraphDef) -> None:
    from tensorflow.python.framework import op_def_registry

    library = {function.signature.name for function in graph_def.library.function}
    for node in _every_node(graph_def):
        definition = op_def_registry.get(node.op)
        if node.op in library:
            continue
        if definition is None:
            raise NotRunnableError(f"it holds {node.op} ({node.name}), which is not TensorFlow's own")
        is_harmless = node.op in _STATE or node.op.startswith(_STATES) or not definition.is_stateful
        if node.op in _FILES or not is_harmless:
            raise NotRunnableError(f"it holds {node.op} ({node.name}), which reaches out of the model")


def _every_node(graph_def: GraphDef) -> Iterator[NodeDef]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _assignment(graph: Any, name: str) -> tuple[Any, Any]:
    """Return the operation that gives a variable its value, and what to feed it."""
    import tensorflow as tf

    tensor = graph.get_tensor_by_name(f"{name}:0")
    dtype = tf.as_dtype(tensor.op.get_attr("dtype"))
    value = tf.compat.v1.placeholder(dtype, name=f"assigned/{name}")
    if tensor.op.type == "VarHandleOp":
        return tf.raw_ops.AssignVariableOp(resource=tensor, value=value), value
    return tf.raw_ops.Assign(ref=tensor, value=value, validate_shape=False), value
