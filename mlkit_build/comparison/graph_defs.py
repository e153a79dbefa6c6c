"""The nodes of two frozen graphs, by name and without TensorFlow: operators, inputs, attributes, functions of the library.

Messages: `tensorflow/core/framework/{graph,node_def,function,op_def}.proto` in tensorflow/tensorflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

from mlkit_build.changes import Change
from mlkit_build.comparison.aspect import Aspect, aspect, changed, paired
from mlkit_build.comparison.places import parting
from mlkit_build.records import dataclass
from mlkit_build.wire import BYTES, WireError, fields

__all__ = ["WireError", "nodes"]

_NODE, _LIBRARY = 1, 2
_FUNCTION, _SIGNATURE, _FUNCTION_NODE = 1, 1, 3
_KEY, _VALUE = 1, 2


@dataclass(frozen=True)
class _Node:
    operator: str
    inputs: tuple[str, ...]
    device: str
    attributes: dict[str, bytes]


def nodes(first: bytes, second: bytes) -> Aspect:
    """Compare two serialized GraphDefs. Raises WireError."""
    sides = (_nodes(first), _nodes(second))
    found = aspect(paired(sides, _changes, lambda node: (node.operator, node.operator)))
    if found.count or first == second:
        return found
    order = "the nodes are the same, in another order" if list(sides[0]) != list(sides[1]) else "the nodes are the same"
    return Aspect(note=f"{order}; {parting(BytesIO(first), BytesIO(second))}")


def _changes(name: str, before: _Node, after: _Node) -> Iterator[Change]:
    for what in ("operator", "inputs", "device"):
        values = (getattr(before, what), getattr(after, what))
        if values[0] != values[1]:
            yield changed(f"{name}: {what}", values)
    if before.operator == after.operator:
        for change in paired(
            (before.attributes, after.attributes), _attribute, lambda value: (len(value), f"{len(value)} bytes")
        ):
            yield replace(change, path=f"{name}: {change.path}")


def _attribute(what: str, before: bytes, after: bytes) -> Iterator[Change]:
    if before == after:
        return
    if len(before) == len(after):
        count = sum(one != other for one, other in zip(before, after, strict=True))
        yield changed(what, (len(before), len(after)), f"{count:,} of {len(before):,} bytes differ")
    else:
        yield changed(what, (len(before), len(after)), f"{len(before):,} bytes", f"{len(after):,} bytes")


def _nodes(graph: bytes) -> dict[str, _Node]:
    """Return name -> node, those of a function after the function's name."""
    found: dict[str, _Node] = {}
    for number, kind, value in fields(graph):
        if (number, kind) == (_NODE, BYTES):
            found.update([_node(value)])
        elif (number, kind) == (_LIBRARY, BYTES):
            for inner, inner_kind, function in fields(value):
                if (inner, inner_kind) == (_FUNCTION, BYTES):
                    found.update(_of_function(function))
    return found


def _of_function(function: bytes) -> Iterator[tuple[str, _Node]]:
    parts = [(number, value) for number, kind, value in fields(function) if kind == BYTES]
    signature = next((value for number, value in parts if number == _SIGNATURE), b"")
    owner = next((_text(value) for number, kind, value in fields(signature) if (number, kind) == (1, BYTES)), "")
    for number, value in parts:
        if number == _FUNCTION_NODE:
            name, node = _node(value)
            yield f"function {owner}: {name}", node


def _node(message: bytes) -> tuple[str, _Node]:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    attributes: dict[str, bytes] = {}
    for number, kind, value in fields(message):
        if kind != BYTES:
            continue
        if number in texts:
            texts[number].append(_text(value))
        elif number == 5:
            entry = {key: part for key, part_kind, part in fields(value) if part_kind == BYTES}
            attributes[_text(entry.get(_KEY, b""))] = entry.get(_VALUE, b"")
    name, operator, device = ("".join(texts[number][-1:]) for number in (1, 2, 4))
    return name, _Node(operator, tuple(texts[3]), device, attributes)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
