"""Operators that no LiteRT model can hold: which a graph has, where, and what to do. Promises to refuse nothing that converts.

An operator is named only where the table says that no form of it converts, where data reach it - the converter computes what
depends on constants alone - and where more than its shape is used. All else is left to the converter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlkit_build.graphs.operators_cut import cut
from mlkit_build.graphs.operators_table import ADVICE, CUSTOM, LOOPS, SELECT
from mlkit_build.graphs.surgery import PLACEHOLDERS, TensorName
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

SHAPE_ONLY = {"Shape", "ShapeN", "Rank", "Size", "ZerosLike", "OnesLike"}
"""What these give depends on their input's shape alone, which the converter folds where it is static."""

SHOWN = 3
"""Nodes of one operator that a message names."""

_LOOP = ("while", "cond", "true_fn", "false_fn", "body", "TensorArray", "map", "foldl", "scan")
"""Scopes that TensorFlow opens by itself."""


@dataclass(frozen=True)
class Finding:
    """One operator that does not convert.

    Attributes:
        operator: TensorFlow's name of it.
        nodes: Its nodes; one inside a function reads `node (in caller)`, after the node of the graph that calls it.
        scopes: The scopes that the author wrote around them, two levels at most.
        hint: What may stand in its place; empty where nothing is known.
        cut: Where the graph could be cut instead; the same for all findings of a graph.
        selectable: TensorFlow's own kernel can be shipped with the app for it (`convert.allow_select_ops`).
    """

    operator: str
    nodes: tuple[str, ...]
    scopes: tuple[str, ...]
    hint: str = ""
    cut: str = ""
    selectable: bool = False


@dataclass(frozen=True)
class Place:
    """A node, and the node of the graph through which it runs: itself, or the caller of the function that holds it."""

    node: str
    caller: str

    def __str__(self) -> str:
        return self.node if self.node == self.caller else f"{self.node} (in {self.caller})"


def unconvertible(graph_def: GraphDef, *, allow_select_ops: bool = False, outputs: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Return the operators that certainly do not convert, by name; empty where the converter has to decide.

    Costs a walk over the nodes, and one import of the graph where something was found.

    Args:
        allow_select_ops: Name only those that TensorFlow's own kernels, linked into the app, cannot run either.
        outputs: Output nodes; by default those that nothing reads.
    """
    refused = CUSTOM if allow_select_ops else SELECT | CUSTOM
    places: dict[str, list[Place]] = {}
    for operator, place in _reached(graph_def, list(outputs)):
        if operator in refused:
            places.setdefault(operator, []).append(place)
    return findings(places, graph_def)


def findings(
    places: Mapping[str, Sequence[Place]], graph_def: GraphDef, selectable: Collection[str] | None = None
) -> tuple[Finding, ...]:
    """Return findings for operators at known places of a graph, sorted by operator.

    Args:
        selectable: The operators whose kernels TensorFlow can link in, where the converter said so; else the table's.
    """
    if not places:
        return ()
    # A loop's own arrays are no place to cut: the loop as a whole can be unrolled or written otherwise.
    outside = {operator: found for operator, found in places.items() if not operator.startswith(LOOPS)}
    where = cut(graph_def, {place.caller for found in outside.values() for place in found})
    return tuple(
        Finding(
            operator=operator,
            nodes=tuple(sorted({str(place) for place in places[operator]})),
            scopes=tuple(sorted({_scope(place) for place in places[operator]} - {""})),
            hint=advice(operator),
            cut=where,
            selectable=operator in (SELECT if selectable is None else selectable),
        )
        for operator in sorted(places)
    )


def describe(found: Sequence[Finding], *, allow_select_ops: bool | None = None) -> tuple[str, str]:
    """Return a message that names every operator, and a hint that says what to do.

    Args:
        allow_select_ops: Whether that is set already, so that it is not proposed; None where it could not help, as where the
            graph did not freeze.
    """
    parts = []
    for finding in found:
        count, names = len(finding.nodes), ", ".join(finding.nodes[:SHOWN])
        more = f", ... in {', '.join(finding.scopes)}" if finding.scopes else ", ..."
        shown = f"{finding.operator} ({names}{more if count > SHOWN else ''})" if names else finding.operator
        parts.append(f"{count} x {shown}" if count > 1 else shown)
    hints = [*dict.fromkeys(finding.cut for finding in found if finding.cut)]
    hints += [*dict.fromkeys(f"{_those(found, finding.hint)}: {finding.hint}" for finding in found if finding.hint)]
    stuck = [finding.operator for finding in found if not finding.selectable]
    if not stuck and allow_select_ops is False:
        kept = "them" if len(found) > 1 else "it"
        hints.append(
            f"for target=custom, convert.allow_select_ops=true keeps {kept}, in an app that links TensorFlow's Flex delegate"
        )
    elif allow_select_ops is False and len(stuck) < len(found):
        hints.append(f"convert.allow_select_ops=true would not help with {', '.join(stuck)}")
    what = "these operators have" if len(found) > 1 else "this operator has"
    how = (
        "neither a LiteRT counterpart nor a kernel for convert.allow_select_ops" if allow_select_ops else "no LiteRT counterpart"
    )
    return f"{what} {how}: {'; '.join(parts)}", "; ".join(hints)


def advice(operator: str) -> str:
    """Return what may stand in the operator's place, or an empty string."""
    return next((text for pattern, text in ADVICE if re.fullmatch(pattern, operator)), "")


def _those(found: Sequence[Finding], hint: str) -> str:
    return ", ".join(finding.operator for finding in found if finding.hint == hint)


def _scope(place: Place) -> str:
    own = [part for part in place.caller.split("/")[:-1] if not part.startswith(_LOOP)]
    return "/".join(own[:2])


def _reached(graph_def: GraphDef, outputs: list[str]) -> Iterable[tuple[str, Place]]:
    """Yield (operator, place) of all nodes, functions' included, that data reach and whose values the outputs use."""
    library = {function.signature.name: function for function in graph_def.library.function}
    inputs = {node.name: [TensorName.parse(item).node for item in node.input if item[0] != "^"] for node in graph_def.node}
    if not outputs:
        read = {TensorName.parse(item).node for node in graph_def.node for item in node.input}
        outputs = [name for name in inputs if name not in read]
    done: set[tuple[str, str]] = set()
    waiting = [(node, Place(node.name, node.name)) for node in _live(list(graph_def.node), inputs, outputs, ())]
    while waiting:
        node, place = waiting.pop(0)
        yield node.op, place
        for name in _called(node, library):
            if (name, place.caller) in done:
                continue
            done.add((name, place.caller))
            function = library[name]
            if any(attribute in function.attr for attribute in ("_implements", "api_implements")):
                continue  # the converter may have an operator for the function as a whole
            given = [argument.name for argument in function.signature.input_arg]
            inner = {item.name: [text.split(":")[0] for text in item.input if text[0] != "^"] for item in function.node_def}
            roots = [text.split(":")[0] for text in function.ret.values()]
            for item in _live(list(function.node_def), inner, roots, given):
                waiting.append((item, Place(item.name, place.caller)))


def _called(node: Any, library: Mapping[str, Any]) -> list[str]:
    names = [node.op, *(function.name for value in node.attr.values() for function in (value.func, *value.list.func))]
    return [name for name in names if name in library]


def _live(nodes: list[Any], inputs: Mapping[str, list[str]], roots: Iterable[str], given: Iterable[str]) -> list[Any]:
    """Return the nodes whose values the roots use, and whose own inputs are not all constants."""
    by_name = {node.name: node for node in nodes}
    used: set[str] = set()
    stack = list(roots)
    while stack:
        name = stack.pop()
        if name not in used and name in by_name:
            used.add(name)
            if by_name[name].op not in SHAPE_ONLY:
                stack += inputs[name]
    users: dict[str, list[str]] = {}
    for name, sources in inputs.items():
        for source in sources:
            users.setdefault(source, []).append(name)
    stack = [*given, *(node.name for node in nodes if _varies(node))]
    fed: set[str] = set()
    while stack:
        name = stack.pop()
        if name not in fed:
            fed.add(name)
            stack += users.get(name, ())
    return [node for node in nodes if node.name in used and node.name in fed]


def _varies(node: Any) -> bool:
    """Whether a node's value is not a constant even where its inputs are: a placeholder, a state, a random number."""
    from tensorflow.python.framework import op_def_registry

    if node.op in PLACEHOLDERS or node.op == "PlaceholderWithDefault":
        return True
    definition = op_def_registry.get(node.op)
    return definition is not None and bool(definition.is_stateful)
