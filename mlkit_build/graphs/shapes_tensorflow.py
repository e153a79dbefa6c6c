"""What TensorFlow's own shape functions say of a function's nodes, between the loops, branches, calls and lists.

Nodes are brought into a graph of TensorFlow as they are asked for; stand-ins take the place of what is known from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlkit_build.graphs.functions import functions_of
from mlkit_build.graphs.surgery import TensorName
from mlkit_build.graphs.tensor_lists import ListValue, Shape, joined, joined_lists
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_LARGE_BYTES = 4096
"""Constants beyond this hold weights: their shape matters, their values do not."""


@dataclass(frozen=True)
class Value:
    """What is known of a tensor: its type and shape, its value if it is a few constant numbers, its elements if it is a list."""

    dtype: int
    shape: Shape
    constant: tuple[int, ...] | None = None
    held: ListValue | None = None

    def or_(self, other: Value) -> Value:
        """Return what holds for either."""
        shape = joined(self.shape, other.shape)
        held = joined_lists(self.held, other.held) if self.held and other.held else None
        return Value(self.dtype, shape, self.constant if (self.constant, self.shape) == (other.constant, shape) else None, held)

    def origins(self) -> frozenset[str]:
        return self.held.made if self.held else frozenset()


class Tensors:
    """The tensors of one function, or of the graph itself.

    Args:
        nodes: Its nodes by name.
        values: Tensor -> what is known of it from elsewhere; grows while the function is looked at.
        graph_def: Where its library is.
        is_ours: Whether a node's results are to be in `values`, instead of being TensorFlow's to infer.
        lost: Takes the origins of lists that go into TensorFlow, where they cannot be followed.
    """

    def __init__(
        self,
        nodes: Mapping[str, NodeDef],
        values: Mapping[str, Value],
        graph_def: GraphDef,
        is_ours: Callable[[NodeDef], bool],
        lost: set[str],
    ) -> None:
        import tensorflow as tf

        self._nodes = nodes
        self._values = values
        self._graph_def = graph_def
        self._is_ours = is_ours
        self._lost = lost
        self._graph = tf.Graph()
        self._tensors: dict[str, Any] = {}

    def value(self, source: str) -> Value:
        """Return a tensor's type and shape."""
        tensor = self._tensor(source)
        return Value(tensor.dtype.base_dtype.as_datatype_enum, _sizes(tensor.shape))

    def constant(self, source: str) -> Any:
        """Return a tensor's value as an array where it is constant, else None."""
        from tensorflow.python.framework.tensor_util import try_evaluate_constant  # also folds what hangs on known shapes

        return try_evaluate_constant(self._tensor(source))

    def as_shape(self, source: str) -> Shape:
        """Return the shape that a tensor's numbers state, as far as it is known."""
        import tensorflow as tf

        tensor = self._tensor(source)
        with self._graph.as_default():
            return _sizes(tf.reshape(tf.compat.v1.placeholder(tf.bool), tensor).shape)

    def _tensor(self, source: str) -> Any:
        """Return the tensor in TensorFlow's graph, after bringing there what it needs."""
        import tensorflow as tf

        if source in self._tensors:
            return self._tensors[source]
        part = tf.compat.v1.GraphDef(versions=self._graph_def.versions)
        outside: dict[str, Any] = {}
        names = self._missing(source, outside)
        for name in names:
            copy = part.node.add()
            copy.CopyFrom(_light(self._nodes[name]))
            entries = data_inputs(copy)
            self._lost.update(*(self._values[item].origins() for item in map(_full, entries) if item in self._values))
            del copy.input[:]
            copy.input.extend(entries)
        if any(True for node in part.node for _ in functions_of(node)):
            part.library.CopyFrom(self._graph_def.library)
        if names:
            with self._graph.as_default():
                made = tf.graph_util.import_graph_def(part, input_map=outside, return_elements=names, name="part")
            for operation, name in zip(made, names, strict=True):
                self._tensors |= {f"{name}:{index}": tensor for index, tensor in enumerate(operation.outputs)}
        return self._tensors[source]

    def _missing(self, source: str, outside: dict[str, Any]) -> list[str]:
        """Return the nodes that the tensor needs and TensorFlow's graph lacks, inputs first; what it has goes into `outside`."""
        names: list[str] = []
        seen: set[str] = set()
        waiting: list[tuple[str, bool]] = [(source, False)]
        while waiting:
            item, done = waiting.pop()
            name = TensorName.parse(item).node
            if done:
                names.append(name)
            elif (
                item in self._values
                and item not in self._tensors
                and (name not in self._nodes or self._is_ours(self._nodes[name]))
            ):
                self._tensors[item] = outside[item] = self._stand_in(self._values[item])
            elif item in self._tensors:
                outside[item] = self._tensors[item]
            elif name not in seen:
                seen.add(name)
                waiting.append((item, True))
                waiting += [(_full(entry), False) for entry in reversed(data_inputs(self._nodes[name]))]
        return names

    def _stand_in(self, value: Value) -> Any:
        import tensorflow as tf

        dtype = tf.as_dtype(value.dtype)
        with self._graph.as_default():
            if value.constant is not None:
                return tf.constant(value.constant if value.shape else value.constant[0], dtype, value.shape)
            return tf.compat.v1.placeholder(dtype, value.shape)


def data_inputs(node: NodeDef) -> list[str]:
    """Return the tensors that the node reads, without those it only waits for."""
    return [item for item in node.input if not item.startswith("^")]


def _full(item: str) -> str:
    return str(TensorName.parse(item))


def _light(node: NodeDef) -> NodeDef:
    """Return the node, or for a large constant a placeholder of its shape."""
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    if node.op != "Const" or node.ByteSize() <= _LARGE_BYTES:
        return node
    light = NodeDef(name=node.name, op="Placeholder")
    light.attr["dtype"].CopyFrom(node.attr["dtype"])
    light.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    return light


def _sizes(shape: Any) -> Shape:
    return None if shape.rank is None else tuple(shape.as_list())
