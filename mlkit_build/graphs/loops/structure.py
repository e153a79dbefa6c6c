"""The loops and branches of a graph of TensorFlow 1: which loop each node belongs to, and which branches of conds.

A node belongs to the innermost loop on whose steps its value depends, not to the one it was written in: what a loop's body
computes from invariants alone belongs outside, and so does a whole inner loop that never looks at the outer one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlkit_build.graphs.surgery import TensorName

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

OUTSIDE = ""
"""The region of what no loop repeats."""

Guard = tuple[tuple[TensorName, bool], ...]
"""The branches that a node lives in, outermost first: the predicate and the value it must have."""


@dataclass(frozen=True)
class Variable:
    """A loop variable: its Merge, where it starts, and where its value for the next step comes from."""

    merge: str
    start: TensorName
    following: TensorName


@dataclass(frozen=True)
class Choice:
    """A Merge that joins the two branches of a cond."""

    predicate: TensorName
    when_true: TensorName
    when_false: TensorName


@dataclass
class Region:
    """A loop, or what lies outside all loops.

    Attributes:
        frame: The frame's name; empty outside.
        scope: The loop's name as its author wrote it.
        parent: The frame of the region that it is repeated in.
        units: Nodes, and loops by frame (`While`), in an order in which they can be computed.
        condition_units: Those that the loop's condition needs.
    """

    frame: str
    scope: str = ""
    parent: str = OUTSIDE
    variables: list[Variable] = field(default_factory=list)
    condition: TensorName | None = None
    units: list[Unit] = field(default_factory=list)
    condition_units: list[Unit] = field(default_factory=list)
    guard: Guard = ()


@dataclass(frozen=True)
class Unit:
    """One node, or one whole loop."""

    name: str
    loop: bool = False


@dataclass
class Structure:
    """The loops and branches of a graph.

    Attributes:
        regions: By frame; `OUTSIDE` is the graph itself.
        region_of: Node -> frame.
        choices: Merge -> what it chooses between.
        guards: Node -> the branches that it lives in.
    """

    regions: dict[str, Region]
    region_of: dict[str, str]
    choices: dict[str, Choice]
    guards: dict[str, Guard]

    def chain(self, frame: str) -> list[Region]:
        """Return the regions from the outermost loop down to `frame`."""
        chain = []
        while frame != OUTSIDE:
            chain.append(self.regions[frame])
            frame = self.regions[frame].parent
        return chain[::-1]


def op_of(node: NodeDef) -> str:
    """Return a node's operator; for reference variables' control flow, that of values."""
    op = str(node.op)
    plain = op.removeprefix("Ref")
    return plain if plain in ("Switch", "Merge", "Enter", "Exit", "NextIteration", "Identity") else op


def data_inputs(node: NodeDef) -> list[TensorName]:
    """Return what a node reads, without what merely controls it."""
    return [TensorName.parse(item) for item in node.input if not item.startswith("^")]
