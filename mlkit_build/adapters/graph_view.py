"""What adapters ask a graph: who reads a tensor, what computes it, and which constant it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel
from mlkit_build.graphs import TensorName, needed_nodes
from mlkit_build.graphs.surgery import PLACEHOLDERS, constant_value

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

MOST_FOLDED = 64
"""Constants are computed from at most this many nodes: weights kept as int8 and the like, and no part of the model itself."""

RENAMING = ("Identity", "StopGradient", "CheckNumerics")
"""Operators that pass a tensor on as it is."""
RESHAPING = ("Reshape", "Squeeze", "ExpandDims")
"""Operators that pass a tensor's values on in another shape."""


class GraphView:
    """A copy of a model's graph, to be read and edited.

    Attributes:
        graph_def: The copy. `nodes` holds its nodes by name.
    """

    def __init__(self, model: FrozenModel) -> None:
        self.graph_def = type(model.graph_def)()
        self.graph_def.CopyFrom(model.graph_def)
        self.nodes: dict[str, NodeDef] = {node.name: node for node in self.graph_def.node}
        self._readers: dict[str, list[NodeDef]] = {}
        for node in self.graph_def.node:
            for name in dict.fromkeys(TensorName.parse(item).node for item in node.input):
                self._readers.setdefault(name, []).append(node)

    def readers(self, name: str) -> list[NodeDef]:
        """Return the nodes that read the node called `name`, or wait for it."""
        return self._readers.get(name, [])

    def behind(self, tensor: str, through: Collection[str]) -> Iterator[NodeDef]:
        """Yield what computes `tensor`, going back through the first input of each operator in `through`."""
        node = self.nodes[TensorName.parse(tensor).node]
        yield node
        while node.op in through and TensorName.parse(tensor).index == 0:
            tensor = node.input[0]
            node = self.nodes[TensorName.parse(tensor).node]
            yield node

    def origin(self, tensor: str, through: Collection[str]) -> NodeDef:
        """Return the first node behind `tensor` that is not in `through`."""
        *_, node = self.behind(tensor, through)
        return node

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of a tensor that depends on a few constants only; None for any other."""
        source = self.origin(tensor, RENAMING)
        value = constant_value(source)
        if value is not None:
            return value
        needed = [self.nodes[name] for name in needed_nodes(self.nodes, [source.name])]
        if len(needed) > MOST_FOLDED or any(node.op in PLACEHOLDERS for node in needed):
            return None
        import tensorflow as tf

        part = type(self.graph_def)(versions=self.graph_def.versions, library=self.graph_def.library)
        part.node.extend(needed)
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            tf.graph_util.import_graph_def(part, name="")
            return np.asarray(session.run(str(TensorName.parse(tensor))))
