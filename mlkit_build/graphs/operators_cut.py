"""Where to cut a graph so that operators which do not convert stay outside: after them, before them, or in two."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from mlkit_build.graphs.surgery import PLACEHOLDERS, TensorName

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

MOST_TENSORS = 4
"""A cut through more tensors than these is no advice."""
NEGLIGIBLE = 0.05
"""A part with less than this share of the model's work is not worth keeping."""
_PASSING = {"Identity", "Switch", "RefSwitch", "Merge", "RefMerge", "Enter", "RefEnter", "Exit", "RefExit", "NextIteration"}


def cut(graph_def: GraphDef, refused: Collection[str]) -> str:
    """Return, in words, where to cut so that the `refused` nodes are left out; empty where no cut leaves a model.

    Everything between two refused nodes goes with them. What then lies before and after is weighed by its weights and nodes.
    """
    nodes = {node.name: node for node in graph_def.node}
    refused = [name for name in refused if name in nodes]
    if not refused:
        return ""
    inputs = {name: [TensorName.parse(item) for item in node.input if item[0] != "^"] for name, node in nodes.items()}
    users: dict[str, list[str]] = {}
    for name, sources in inputs.items():
        for source in sources:
            users.setdefault(source.node, []).append(name)
    above = _walk(refused, lambda name: [source.node for source in inputs[name]])
    below = _walk(refused, lambda name: users.get(name, []))
    hull = set(refused) | (above & below)
    fed = _walk([name for name, node in nodes.items() if node.op in PLACEHOLDERS], lambda name: users.get(name, []))
    before, after = (above & fed) - hull, below - hull
    weight = {part: _weight(names, fed, nodes, inputs) for part, names in (("before", before), ("hull", hull), ("after", after))}
    total = sum(weight.values()) or 1
    negligible = {part: found < NEGLIGIBLE * total for part, found in weight.items()}
    starts = _unique(source for name in sorted(after) for source in inputs[name] if source.node in hull)
    ends = _unique(source for name in sorted(hull) for source in inputs[name] if source.node in before)
    shapes = _shapes(graph_def, [*starts, *ends])
    start = _start(starts, shapes, nodes)
    end = _end(ends)
    if negligible["hull"] and start and (negligible["before"] or not end) and not negligible["after"]:
        return f"start the model after {_them(refused)} and compute what comes before in the app: {start}"
    if negligible["hull"] and end and (negligible["after"] or not start) and not negligible["before"]:
        return f"end the model before {_them(refused)} and compute the rest in the app: {end}"
    middle = f"{_them(refused, capital=True)} in the middle of the model"
    parts = [text for text, small in ((end, negligible["before"]), (start, negligible["after"])) if text and not small]
    if not parts:
        return f"{middle}, and no cut leaves a part worth converting: export what lies between them as models of their own"
    if len(parts) == 1:
        return f"{middle}; what can be kept is the part with {parts[0]}"
    return f"{middle}; convert it as two, one with {parts[0]} and one with {parts[1]}, and compute what is between in the app"


def _them(refused: Collection[str], capital: bool = False) -> str:
    if capital:
        return "they lie" if len(refused) > 1 else "it lies"
    return "them" if len(refused) > 1 else "it"


def _walk(starts: Iterable[str], following: Any) -> set[str]:
    seen: set[str] = set()
    stack = [name for start in starts for name in following(start)]
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack += following(name)
    return seen


def _weight(
    names: Collection[str], fed: Collection[str], nodes: Mapping[str, Any], inputs: Mapping[str, list[TensorName]]
) -> int:
    """Return the number of operators plus the number of values in the constants that go into them."""
    computing = [name for name in names if nodes[name].op not in ("Const", *PLACEHOLDERS, *_PASSING)]
    constants = _walk(names, lambda name: [source.node for source in inputs[name] if source.node not in fed])
    sizes = [
        prod(dim.size for dim in nodes[name].attr["value"].tensor.tensor_shape.dim)
        for name in constants
        if nodes[name].op == "Const"
    ]
    return len(computing) + int(sum(sizes))


def _unique(tensors: Iterable[TensorName]) -> list[TensorName]:
    return list(dict.fromkeys(tensors))


def _start(tensors: list[TensorName], shapes: Mapping[TensorName, str], nodes: Mapping[str, Any]) -> str:
    if not 0 < len(tensors) <= MOST_TENSORS:
        return ""
    names = _names(tensors, "features")
    entries = [f'{name}: {{tensor: "{tensor}", shape: {shapes.get(tensor, "[1, ...]")}}}' for name, tensor in names.items()]
    return f"signature.inputs: {{{', '.join(entries)}}}"


def _end(tensors: list[TensorName]) -> str:
    if not 0 < len(tensors) <= MOST_TENSORS:
        return ""
    entries = [f'{name}: {{tensor: "{tensor}"}}' for name, tensor in _names(tensors, "").items()]
    return f"signature.outputs: {{{', '.join(entries)}}}"


def _names(tensors: list[TensorName], only: str) -> dict[str, TensorName]:
    """Give each tensor a name for the recipe: the last part of its node's."""
    if only and len(tensors) == 1:
        return {only: tensors[0]}
    names: dict[str, TensorName] = {}
    for tensor in tensors:
        name = re.sub(r"\W+", "_", tensor.node.rsplit("/", 1)[-1]).strip("_").lower() or "tensor"
        names[name if name not in names else f"{name}_{len(names)}"] = tensor
    return names


def _shapes(graph_def: GraphDef, tensors: list[TensorName]) -> dict[TensorName, str]:
    """Return the static shapes that TensorFlow infers; where it cannot, nothing: a hint is no reason to fail."""
    import tensorflow as tf

    with tf.Graph().as_default():
        try:
            found = tf.graph_util.import_graph_def(graph_def, return_elements=[str(item) for item in tensors], name="")
        except (ValueError, KeyError, TypeError):
            return {}
    return {
        tensor: str(["?" if size is None else size for size in item.shape.as_list()]).replace("'", "")
        for tensor, item in zip(tensors, found, strict=True)
        if item.shape.rank is not None
    }
