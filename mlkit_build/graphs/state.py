"""Variables that a model writes while it answers: state, which a graph of constants cannot keep.

Frozen, such a variable would stay at its stored value for ever. The model would convert and mispredict, and since the frozen
graph is what TensorFlow is measured by, no gate would see it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from mlkit_build.errors import StageError
from mlkit_build.graphs.surgery import VARIABLES, TensorName, needed_nodes
from mlkit_build.graphs.tables import refuse_tables

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_WRITING = ("Assign", "Scatter", "ResourceScatter", "ResourceStridedSliceAssign")
_PASSING = ("Identity", "RefIdentity", "Enter", "RefEnter", "Switch", "RefSwitch")
_SWITCHES = ("Switch", "RefSwitch")


def refuse_state(
    needed: Iterable[str], nodes: Mapping[str, NodeDef], original: Mapping[str, NodeDef], stops: Collection[str]
) -> None:
    """Refuse a graph whose outputs depend on a variable that computing them writes, or on what a lookup table holds.

    Args:
        needed: The nodes between inputs and outputs.
        nodes: Every node, calls written out: what a call holds is run with it, whether or not a result depends on it.
        original: The graph as its author saved it, with the control inputs that say what runs before what.
        stops: The inputs.

    Raises:
        StageError: There is one; names it and what writes it.
    """
    names = set(needed)
    refuse_tables([name for name in nodes if name in names], nodes, original)
    read = {name for name in names if nodes[name].op in VARIABLES}
    if not read:
        return
    run = {name: nodes[name] for name in nodes if name in names or name not in original}
    before = [item[1:] for name in names & set(original) for item in original[name].input if item.startswith("^")]
    run |= {name: original[name] for name in needed_nodes(original, sorted(set(before)), stops) if name not in run}
    for name in sorted(run):
        node = run[name]
        if node.op.startswith(_WRITING) and node.input:
            variable = _variable(node.input[0], run | dict(original) | dict(nodes))
            if variable in read and not (name not in names and _is_conditional(name, original)):
                raise StageError(
                    f"freeze: the model writes its variable {variable!r} while it answers ({node.op} {name}); frozen, it would "
                    "answer from the stored value for ever",
                    "take the state as an input and return it as an output, so that the app keeps it",
                )


def _variable(item: str, nodes: Mapping[str, NodeDef]) -> str | None:
    """Return the variable that the tensor is a handle of, or None."""
    name = TensorName.parse(item).node
    for _ in range(len(nodes)):
        node = nodes.get(name)
        if node is None or node.op in VARIABLES:
            return name if node is not None else None
        if node.op not in _PASSING:
            return None
        name = TensorName.parse(node.input[0]).node
    return None


def _is_conditional(name: str, original: Mapping[str, NodeDef]) -> bool:
    """Return whether a branch decides about the node: of a training graph's, often, whose branch is not taken here."""
    return any(original[above].op in _SWITCHES for above in needed_nodes(original, [name]))
