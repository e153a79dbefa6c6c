"""A TensorFlow 1 session and its tensors, as a notebook has them. Its graph is copied and its variables read: nothing changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import SourceError, operator_reason
from mlkit_build.graphs import DeclaredSignature, DeclaredTensor, LoadedGraph, OpenedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def open_session(session: Any, inputs: Any, outputs: Any, origin: str, where: str) -> OpenedModel:
    """Open the graph of a TensorFlow 1 session.

    Args:
        inputs: Name -> tensor (or a tensor's name); or a list of them, which keep their own names.
        outputs: Likewise.

    Raises:
        SourceError: A tensor is not one of the session's graph.
    """
    graph = session.graph
    declared = DeclaredSignature("", _tensors(graph, inputs, f"{where}: inputs"), _tensors(graph, outputs, f"{where}: outputs"))
    graph_def = graph.as_graph_def()
    # A read that waits for something, as the one behind an assignment, would run that something.
    reads = [node for node in graph_def.node if node.op == "ReadVariableOp" and len(node.input) == 1]
    readers = {node.input[0]: f"{node.name}:0" for node in reversed(reads)}

    def value(name: str) -> NDArray[Any]:
        from tensorflow.errors import OpError

        try:
            found: NDArray[Any] = session.run(readers.get(name, f"{name}:0"))
        except (OpError, TypeError, ValueError) as error:
            raise SourceError(
                f"{where}: the variable {name!r} has no value in the session: {operator_reason(error)}",
                "initialize or restore the variables before exporting",
            ) from error
        return found

    def together(names: Sequence[str]) -> dict[str, NDArray[Any]]:
        from tensorflow.errors import OpError

        try:
            return dict(zip(names, session.run([readers.get(name, f"{name}:0") for name in names]), strict=True))
        except (OpError, TypeError, ValueError, RuntimeError):
            return {}  # one by one, to name the one that has no value

    return OpenedModel.of(LoadedGraph(graph_def, value, origin, together), (declared,))


def _tensors(graph: Any, tensors: Any, where: str) -> tuple[DeclaredTensor, ...]:
    if isinstance(tensors, Mapping):
        named = [(str(name), tensor) for name, tensor in tensors.items()]
    else:
        listed = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
        named = [("", tensor) for tensor in listed]
    found = []
    for name, item in named:
        text = item if isinstance(item, str) else getattr(item, "name", repr(item))
        try:
            tensor = graph.get_tensor_by_name(text if ":" in text else f"{text}:0")
        except (KeyError, ValueError) as error:
            raise SourceError(f"{where}: the session's graph has no tensor {text!r}", "give tensors of that graph") from error
        if not isinstance(item, str) and item is not tensor and getattr(item, "graph", graph) is not graph:
            raise SourceError(f"{where}: {text} is a tensor of another graph than the session's", "give tensors of that graph")
        shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
        own = tensor.op.name.rsplit("/", 1)[-1]
        found.append(DeclaredTensor(name or own, tensor.name, shape, tensor.dtype.base_dtype.name))
    return tuple(found)
