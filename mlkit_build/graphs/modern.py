"""Operators of old graphs in the words of today, where an equal one converts and they themselves do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_PASSING = ("Print", "PrintV2", "CheckNumerics", "CheckNumericsV2", "PreventGradient", "StopGradient")
"""Operators that pass their input on and do something beside, which no phone needs."""


def modernize(nodes: dict[str, NodeDef], needed: list[str]) -> None:
    """Replace, in place, each of the needed nodes that has an equal of today; a node that this takes is added to `needed`."""
    for name in list(needed):
        node = nodes[name]
        if node.op in _PASSING and node.input and "T" in node.attr:
            kind = node.attr["T"].type
            del node.input[1:]
            _become(node, "Identity", T=kind)
        elif node.op == "FusedBatchNormV2":
            node.op = "FusedBatchNormV3"  # one more result, which inference does not read
        elif node.op == "AccumulateNV2":
            node.op = "AddN"
            node.attr.pop("shape", None)
        elif node.op == "ClipByValue":
            # As `tf.clip_by_value` writes it: the lower limit wins where the two contradict each other.
            below = type(node)(name=f"{name}/minimum", op="Minimum", input=[node.input[0], node.input[2]])
            below.attr["T"].type = node.attr["T"].type
            low = node.input[1]
            del node.input[:]
            node.input.extend([below.name, low])
            node.op = "Maximum"
            nodes[below.name] = below
            needed.insert(needed.index(name), below.name)


def _become(node: NodeDef, op: str, **types: int) -> None:
    node.op = op
    node.attr.clear()
    for attribute, kind in types.items():
        node.attr[attribute].type = kind
