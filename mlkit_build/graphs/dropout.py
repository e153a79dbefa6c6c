"""Dropout that is switched off still draws random numbers; this removes it where it provably changes nothing.

With keep probability 1 (or rate 0), TF1's dropout compares a uniform number in [0, 1) with a constant below it, or takes the
floor of 1 plus it. Both have one possible result. TensorFlow's converter does not see that and ships a random operator.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.graphs.surgery import TensorName, constant_node, constant_value, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

Range = tuple[float, float]
"""Every value of a tensor lies in [low, high); low == high is a constant."""

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "Add": operator.add,
    "AddV2": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "RealDiv": operator.truediv,
}


def switch_off_dropout(graph_def: GraphDef, outputs: list[TensorName]) -> GraphDef:
    """Return the graph with every random decision that can only go one way replaced by its outcome."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    nodes = {node.name: node for node in graph_def.node}
    order = needed_nodes(nodes, [output.node for output in outputs])
    if not any(nodes[name].op == "RandomUniform" for name in order):
        return graph_def
    ranges: dict[str, Range] = {}
    decided: set[str] = set()
    for name in order:
        outcome = _outcome(nodes[name], ranges)
        if outcome is not None:
            nodes[name] = constant_node(name, outcome)
            decided.add(name)
            ranges[name] = (float(outcome), float(outcome))
            continue
        found = _range(nodes[name], ranges)
        if found is not None:
            ranges[name] = found
    for name in order if decided else ():
        neutral = _neutral(nodes[name], ranges)
        if neutral is not None:
            nodes[name] = _identity(nodes[name], neutral)
    result = GraphDef()
    result.CopyFrom(graph_def)
    del result.node[:]
    result.node.extend(nodes[node.name] for node in graph_def.node)
    return result


def random_nodes(graph_def: GraphDef) -> list[NodeDef]:
    """Return the nodes that draw random numbers: a model that still has one gives another answer each time."""
    return [node for node in graph_def.node if node.op.startswith(("Random", "StatelessRandom", "Multinomial"))]


def _inputs(node: NodeDef) -> list[str]:
    return [TensorName.parse(item).node for item in node.input if not item.startswith("^")]


def _range(node: NodeDef, ranges: dict[str, Range]) -> Range | None:
    if node.op == "RandomUniform":
        return (0.0, 1.0)
    value = constant_value(node)
    if value is not None:
        return (float(value), float(value)) if value.ndim == 0 and value.dtype.kind in "fiub" else None
    inputs = _inputs(node)
    if not inputs or any(name not in ranges for name in inputs):
        return None
    if node.op == "Identity":
        return ranges[inputs[0]]
    if node.op == "Cast":
        low, high = ranges[inputs[0]]
        return (low, high) if low == high else None
    if node.op in _ARITHMETIC:
        return _arithmetic(node.op, ranges[inputs[0]], ranges[inputs[1]])
    return None


def _arithmetic(op: str, left: Range, right: Range) -> Range | None:
    """Combine two ranges of which at most one is random, where the excluded end stays the upper one; else None."""
    left_random, right_random = left[0] != left[1], right[0] != right[1]
    if left_random and right_random:
        return None
    if right_random and op in ("Sub", "RealDiv"):
        return None
    factor = right[0] if left_random else left[0]
    if (left_random or right_random) and op in ("Mul", "RealDiv") and factor <= 0:
        return None
    if op == "RealDiv" and right[0] == 0:
        return None
    operation = _ARITHMETIC[op]
    return operation(left[0], right[0]), operation(left[1], right[1])


def _outcome(node: NodeDef, ranges: dict[str, Range]) -> NDArray[Any] | None:
    """Return the one value that a comparison or a floor of random numbers can have, or None."""
    inputs = _inputs(node)
    if node.op in ("GreaterEqual", "Less") and all(name in ranges for name in inputs):
        (low, high), (limit_low, limit_high) = (ranges[name] for name in inputs)
        always, never = low >= limit_high, high <= limit_low and low < limit_low
        if always or never:
            return np.array(always if node.op == "GreaterEqual" else never)
    if node.op == "Floor" and inputs[0] in ranges:
        low, high = ranges[inputs[0]]
        last = high if low == high else math.nextafter(high, -math.inf)
        if math.floor(low) == math.floor(last):
            from tensorflow import as_dtype

            return np.array(math.floor(low), dtype=as_dtype(node.attr["T"].type).as_numpy_dtype)
    return None


def _neutral(node: NodeDef, ranges: dict[str, Range]) -> str | None:
    """Return the input that the node passes on unchanged, or None."""
    inputs = [str(item) for item in node.input if not item.startswith("^")]
    known = [ranges.get(TensorName.parse(item).node) for item in inputs]
    if node.op in ("Select", "SelectV2") and known[0] in ((1.0, 1.0), (0.0, 0.0)):
        return inputs[1] if known[0] == (1.0, 1.0) else inputs[2]
    if node.op == "Mul" and (1.0, 1.0) in known and None in known:
        return inputs[known.index(None)]
    if node.op == "RealDiv" and known[1] == (1.0, 1.0):
        return inputs[0]
    return None


def _identity(node: NodeDef, source: str) -> NodeDef:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    identity = NodeDef(name=node.name, op="Identity", input=[source])
    identity.attr["T"].CopyFrom(node.attr["T"])
    return identity
