"""Dropout that is switched off still draws random numbers; this removes it where it provably changes nothing.

With keep probability 1 (or rate 0), TF1's dropout compares a uniform number in [0, 1) with a constant below it, or takes the
floor of 1 plus it. Both have one possible result. TensorFlow's converter does not see that and ships a random operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.graphs.seeded import draw_seeded
from mlkit_build.graphs.surgery import TensorName, constant_node, constant_value, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

Range = tuple[Any, Any]
"""Every value of a tensor lies in [low, high], two NumPy scalars of the tensor's own type; equal ends are a constant.

Every step is computed in the tensor's type: each operator below is monotone in each input, and so is rounding, so the ends
are exact bounds of what a kernel computes. In wider arithmetic they would not be: 0.9 + 0.1 u reaches 1 in float32.
"""

_DRAWN = ("float16", "float32", "float64")
_ARITHMETIC = {"Add": np.add, "AddV2": np.add, "Sub": np.subtract, "Mul": np.multiply}
_DIVISION = ("RealDiv", "Div")


def switch_off_dropout(graph_def: GraphDef, outputs: list[TensorName]) -> GraphDef:
    """Return the graph with every random decision that can only go one way replaced by its outcome.

    And with random numbers of constant seeds as the constants that they are.

    Raises:
        ConfigError: Dropout keeps nothing, and divides by zero.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph_def = draw_seeded(graph_def, outputs)
    nodes = {node.name: node for node in graph_def.node}
    order = needed_nodes(nodes, [output.node for output in outputs])
    if not any(nodes[name].op == "RandomUniform" for name in order):
        return graph_def
    ranges: dict[str, Range] = {}
    decided: set[str] = set()
    kept = {output.node for output in outputs}
    for name in order:
        outcome = None if name in kept else _outcome(nodes[name], ranges)
        if outcome is not None:
            nodes[name] = constant_node(name, outcome)
            decided.add(name)
            ranges[name] = (outcome[()], outcome[()])
            continue
        _refuse_division_by_zero(nodes[name], nodes, ranges)
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
    return [node for node in graph_def.node if node.op.startswith(("Random", "Multinomial"))]


def _inputs(node: NodeDef) -> list[str]:
    return [TensorName.parse(item).node for item in node.input if not item.startswith("^")]


def _range(node: NodeDef, ranges: dict[str, Range]) -> Range | None:
    if node.op == "RandomUniform":
        # TensorFlow draws k * eps for whole k, so that the greatest value is 1 - eps (`random_distributions.h`).
        dtype = _type(node, "dtype")
        return (dtype.type(0), dtype.type(1 - np.finfo(dtype).eps)) if dtype.name in _DRAWN else None
    value = constant_value(node)
    if value is not None:
        known = value.size == 1 and value.dtype.kind in "fiub" and bool(np.isfinite(value).all())
        return (value.ravel()[0], value.ravel()[0]) if known else None
    inputs = _inputs(node)
    if not inputs or any(name not in ranges for name in inputs):
        return None
    if node.op == "Identity":
        return ranges[inputs[0]]
    if node.op == "Cast":
        low, high = ranges[inputs[0]]
        dtype = _type(node, "DstT")
        return (low.astype(dtype), high.astype(dtype)) if low == high and dtype.kind in "fiub" else None
    if node.op in _ARITHMETIC:
        return _arithmetic(_ARITHMETIC[node.op], ranges[inputs[0]], ranges[inputs[1]])
    if node.op in _DIVISION and all(low == high for low, high in (ranges[name] for name in inputs)):
        return _arithmetic(np.divide, ranges[inputs[0]], ranges[inputs[1]])
    return None


def _type(node: NodeDef, attribute: str) -> np.dtype[Any]:
    from tensorflow import as_dtype

    dtype: np.dtype[Any] = np.dtype(as_dtype(node.attr[attribute].type).as_numpy_dtype)
    return dtype


def _arithmetic(operation: Any, left: Range, right: Range) -> Range | None:
    """Combine two ranges; None where the type overflows."""
    with np.errstate(all="ignore"):
        ends = [operation(a, b) for a in left for b in right]
    if any(end.dtype.kind != "f" or not np.isfinite(end) for end in ends):
        return None
    return min(ends), max(ends)


def _outcome(node: NodeDef, ranges: dict[str, Range]) -> NDArray[Any] | None:
    """Return the one value that a comparison or a floor of random numbers can have, or None."""
    inputs = _inputs(node)
    if node.op in ("GreaterEqual", "Less") and all(name in ranges for name in inputs):
        (low, high), (limit_low, limit_high) = (ranges[name] for name in inputs)
        always, never = low >= limit_high, high < limit_low
        if always or never:
            return np.array(bool(always) == (node.op == "GreaterEqual"))
    if node.op == "Floor" and inputs[0] in ranges:
        low, high = ranges[inputs[0]]
        if np.floor(low) == np.floor(high):
            return np.asarray(np.floor(low))
    return None


def _refuse_division_by_zero(node: NodeDef, nodes: Mapping[str, NodeDef], ranges: Mapping[str, Range]) -> None:
    """Refuse what a keep probability of 0 makes of dropout: all answers would be infinite or no numbers."""
    divisor = _inputs(node)[1] if node.op in _DIVISION else None
    if divisor is None or ranges.get(divisor) != (0, 0):
        return
    stated = [name for name in needed_nodes(nodes, [divisor]) if nodes[name].op == "Const" and name in ranges]
    listed = ", ".join(f"{name}:0 is {ranges[name][0]:g}" for name in stated)
    raise ConfigError(
        f"signature.constants: the model's dropout divides by zero ({node.name}), since {listed}",
        "a keep probability is 1.0 at inference, a dropout rate 0.0",
    )


def _neutral(node: NodeDef, ranges: dict[str, Range]) -> str | None:
    """Return the input that the node passes on unchanged, or None."""
    inputs = [str(item) for item in node.input if not item.startswith("^")]
    known = [ranges.get(TensorName.parse(item).node) for item in inputs]
    if node.op in ("Select", "SelectV2") and known[0] in ((1.0, 1.0), (0.0, 0.0)):
        return inputs[1] if known[0] == (1.0, 1.0) else inputs[2]
    if node.op == "Mul" and (1.0, 1.0) in known and None in known:
        return inputs[known.index(None)]
    if node.op in _DIVISION and known[1] == (1.0, 1.0) and known[0] is None:
        return inputs[0]
    return None


def _identity(node: NodeDef, source: str) -> NodeDef:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    identity = NodeDef(name=node.name, op="Identity", input=[source])
    identity.attr["T"].CopyFrom(node.attr["T"])
    return identity
