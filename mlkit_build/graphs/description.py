"""What TensorFlow knows of a graph's tensors: their types and shapes, without running anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from mlkit_build.graphs.surgery import TensorName

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

_WEIGHTS_BYTES = 4096
"""Constants above this size are weights: no shape depends on their values."""


def described(graph_def: GraphDef, tensors: Sequence[str]) -> list[tuple[str, tuple[int | None, ...] | None]]:
    """Return dtype and shape of each tensor; None is an unknown size or rank.

    Raises:
        ValueError: TensorFlow refuses the graph, or it has no such tensor.
    """
    import tensorflow as tf

    with _graph_that_lists({TensorName.parse(tensor).node for tensor in tensors}).as_default():
        try:
            found = tf.graph_util.import_graph_def(_without_weights(graph_def), return_elements=list(tensors), name="")
        except (KeyError, tf.errors.OpError) as error:
            raise ValueError(str(error)) from error
    return [
        (tensor.dtype.base_dtype.name, None if tensor.shape.rank is None else tuple(tensor.shape.as_list())) for tensor in found
    ]


def shown_shape(shape: Sequence[int | None] | None) -> str:
    """Return a shape for a message: `[1, ?, 10]`, or `unknown`."""
    return "unknown" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _graph_that_lists(names: Collection[str]) -> Any:
    """Return a graph that wraps no other nodes than these for Python, which is most of an import's time."""
    import tensorflow as tf
    from tensorflow.python.client.pywrap_tf_session import TF_OperationName

    class Listing(tf.Graph):  # type: ignore[misc]
        def _add_new_tf_operations(self, compute_devices: bool = True) -> list[Any]:
            wanted = [operation for operation in self.new_operations() if TF_OperationName(operation) in names]
            return [self._create_op_from_tf_operation(operation, compute_device=compute_devices) for operation in wanted]

    return Listing()


def _without_weights(graph_def: GraphDef) -> GraphDef:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    light = GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.op == "Const" and node.ByteSize() > _WEIGHTS_BYTES:
            weights = light.node.add(name=node.name, op="Placeholder")
            weights.attr["dtype"].CopyFrom(node.attr["dtype"])
            weights.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
        else:
            light.node.append(node)
    return light
