"""The operators of two models: how many of each name, version and types; and where they are the same, what connects them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from mlkit_build.changes import Change
from mlkit_build.comparison.aspect import Aspect, aspect, changed, paired
from mlkit_build.comparison.options import options
from mlkit_build.mlkit.model_file import ModelFile, code_name, dtype_of
from mlkit_build.mlkit.model_schema import Operator, SubGraph

_FORMS = 4


def operators(first: ModelFile, second: ModelFile) -> Aspect:
    """Compare counts, versions and types; then order, connections and options."""

    def compare(name: str, before: Counter[str], after: Counter[str]) -> Iterator[Change]:
        if before != after:
            yield changed(name, (_listed(before), _listed(after)), _text(before), _text(after))

    found = list(paired((_forms(first), _forms(second)), compare, lambda forms: (_listed(forms), _text(forms))))
    return aspect([*found, *(() if found else _placed(first, second))])


def _forms(file: ModelFile) -> dict[str, Counter[str]]:
    """Return operator -> its forms and how often each is there."""
    found: dict[str, Counter[str]] = {}
    for graph in file.model.subgraphs:
        for operator in graph.operators or ():
            code = file.model.codes[operator.code]
            types = f"{_types(operator.inputs, graph)} to {_types(operator.outputs, graph)}"
            found.setdefault(code_name(code), Counter())[f"version {code.version} ({types})"] += 1
    return found


def _types(indices: Iterable[int] | None, graph: SubGraph) -> str:
    held = graph.tensors or ()
    types = [dtype_of(held[index]) if index >= 0 else "absent" for index in indices or ()]
    while types and types[-1] == "absent":
        types.pop()
    return ", ".join(types)


def _listed(forms: Counter[str]) -> list[dict[str, Any]]:
    return [{"count": count, "form": form} for form, count in sorted(forms.items())]


def _text(forms: Counter[str]) -> str:
    listed = sorted(forms.items())
    told = [f"{count} x {form}" for form, count in listed[:_FORMS]]
    return "; ".join([*told, *([f"and {len(listed) - _FORMS} more forms"] if len(listed) > _FORMS else [])])


def _placed(first: ModelFile, second: ModelFile) -> Iterator[Change]:
    """Yield what differs between operators at the same place: they are as many, of the same forms."""
    for index, (one, other) in enumerate(zip(first.model.subgraphs, second.model.subgraphs, strict=False)):
        subgraph = f"subgraph {index}, " if index else ""
        for place, pair in enumerate(zip(one.operators or (), other.operators or (), strict=False)):
            names = [code_name(file.model.codes[operator.code]) for file, operator in zip((first, second), pair, strict=True)]
            where = f"{subgraph}operator {place}"
            if names[0] != names[1]:  # all that follow are elsewhere too
                yield changed(f"{where}, and the order from there on", names)
                break
            yield from _one(f"{where}, {names[0]}", (first, second), (one, other), pair)
    counts = [len(file.model.subgraphs) for file in (first, second)]
    if counts[0] != counts[1]:
        yield changed("subgraphs", counts)


def _one(
    where: str, files: tuple[ModelFile, ModelFile], graphs: tuple[SubGraph, SubGraph], pair: tuple[Operator, Operator]
) -> Iterator[Change]:
    for what in ("inputs", "outputs"):
        sides = [_names(getattr(operator, what), graph) for operator, graph in zip(pair, graphs, strict=True)]
        if sides[0] != sides[1]:
            yield changed(f"{where}: {what}", sides, *(", ".join(side) for side in sides))
    stated = [options(file, operator) for file, operator in zip(files, pair, strict=True)]
    for field in dict.fromkeys([*stated[0], *stated[1]]):
        values = [side.get(field) for side in stated]
        if repr(values[0]) != repr(values[1]):  # by spelling: NaN is not equal to itself
            yield changed(f"{where}: {field}", values)


def _names(indices: Iterable[int] | None, graph: SubGraph) -> list[str]:
    held = graph.tensors or ()
    return [held[index].name or "" if index >= 0 else "(absent)" for index in indices or ()]
