"""Branches that are known beforehand: `tf.cond` on a constant, as TensorFlow 1 wrote it with Switch and Merge.

A training graph's batch normalization often hangs under a cond on is_training. Once that is a constant, only one branch is
ever taken; the other one updates moving averages, needs reference variables, and does not import.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from mlkit_build.graphs.surgery import TensorName, constant_node, constant_value, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_PASSING = {"Identity", "PlaceholderWithDefault", "Enter", "RefEnter", "RefIdentity"}
_MERGE, _SWITCH = {"Merge", "RefMerge"}, {"Switch", "RefSwitch"}


def take_known_branches(nodes: dict[str, NodeDef], roots: Iterable[str], stops: Collection[str] = ()) -> None:
    """Replace, in place, each Switch on a constant and each Merge behind it by the one way that data can take.

    A while loop's Switch stays: its predicate is a LoopCond.
    """
    order = needed_nodes(nodes, roots, stops)
    predicates: dict[str, bool] = {}
    dead: set[str] = set()
    renamed: dict[str, str] = {}

    def is_dead(item: str) -> bool:
        name = TensorName.parse(item)
        return name.node in dead or (not item.startswith("^") and str(name) in dead)

    for name in order:
        node = nodes[name]
        if name in stops:
            continue
        if node.op in _MERGE:
            data = [item for item in node.input if not item.startswith("^")]
            alive = [item for item in data if not is_dead(item)]
            if not alive:
                dead.add(name)
            elif len(alive) == 1 and len(data) > 1:
                nodes[name] = _identity(node, alive[0])
                index = f"{name}/value_index"
                nodes[index] = constant_node(index, np.array(data.index(alive[0]), np.int32))
                renamed[f"{name}:1"] = index
            continue
        if any(is_dead(item) for item in node.input):
            dead.add(name)
            continue
        if node.op in _SWITCH:
            taken = predicates.get(TensorName.parse(node.input[1]).node)
            if taken is not None:
                nodes[name] = _identity(node, node.input[0])
                dead.add(f"{name}:{0 if taken else 1}")
                renamed[f"{name}:1"] = name
                # What the branch knows of its own predicate: tf.cond switches the predicate by itself.
                node = nodes[name]
        known = _predicate(node, predicates)
        if known is not None:
            predicates[name] = known
    for name in order if renamed else ():
        node = nodes[name]
        if any(str(TensorName.parse(item)) in renamed for item in node.input if not item.startswith("^")):
            entries = [item if item.startswith("^") else renamed.get(str(TensorName.parse(item)), item) for item in node.input]
            del node.input[:]
            node.input.extend(entries)


def _predicate(node: NodeDef, known: dict[str, bool]) -> bool | None:
    from tensorflow.core.framework.types_pb2 import DT_BOOL

    if node.op == "Const":
        value = constant_value(node) if node.attr["dtype"].type == DT_BOOL else None
        return bool(value) if value is not None and value.size == 1 else None
    inputs = [TensorName.parse(item).node for item in node.input if not item.startswith("^")]
    if node.op in _PASSING:
        return known.get(inputs[0])
    if node.op == "LogicalNot" and inputs[0] in known:
        return not known[inputs[0]]
    return None


def _identity(node: NodeDef, source: str) -> NodeDef:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    identity = NodeDef(name=node.name, op="Identity", input=[source, *(item for item in node.input if item.startswith("^"))])
    identity.attr["T"].CopyFrom(node.attr["T"])
    return identity
