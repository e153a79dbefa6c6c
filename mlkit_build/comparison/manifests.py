"""What two manifests say of recipe, inputs, toolchain, actions, metrics and gates: read as JSON, whatever version wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlkit_build.changes import Change, brief, changes
from mlkit_build.comparison.aspect import Aspect, absent, aspect, changed, paired
from mlkit_build.comparison.subject import FileSum, Subject
from mlkit_build.metrics.values import size, value_of

_RELATIONS = {"min": "at least", "max": "at most", "max_drop": "drop at most", "max_regression": "regression at most"}


def files(first: Subject, second: Subject) -> Aspect:
    """Compare the files of two bundles, but for what says when and where they were made."""

    def compare(name: str, before: FileSum, after: FileSum) -> Iterator[Change]:
        if before.sha256 != after.sha256:
            told = (size(before.size_bytes), size(after.size_bytes))
            grown = f"{told[0]} -> {told[1]}" if told[0] != told[1] else f"{told[0]}, other bytes"
            yield changed(name, (vars(before), vars(after)), grown)

    return _both(first, second) or aspect(
        paired((first.files, second.files), compare, lambda found: (vars(found), size(found.size_bytes)))
    )


def part(name: str) -> Callable[[Subject, Subject], Aspect]:
    """Return what compares a part of the manifests, field by field."""

    def compare(first: Subject, second: Subject) -> Aspect:
        return _both(first, second) or aspect(changes(first.part(name), second.part(name)))

    return compare


def inputs(first: Subject, second: Subject) -> Aspect:
    """Compare the files that the recipes named, by content."""
    return _both(first, second) or aspect(_keyed_changes(first, second, "inputs", "path", "sha256"))


def actions(first: Subject, second: Subject) -> Aspect:
    """Compare the keys of the actions: the first that differs is where the builds part."""
    return _both(first, second) or aspect(_keyed_changes(first, second, "actions", "name", "key"))


def metrics(first: Subject, second: Subject) -> Aspect:
    """Compare what was measured."""
    return _both(first, second) or aspect(_measured(_mapping(first.part("metrics")), _mapping(second.part("metrics"))))


def gates(first: Subject, second: Subject) -> Aspect:
    """Compare the limits, and whether they held."""

    def compare(name: str, before: Any, after: Any) -> Iterator[Change]:
        if before != after:
            told = (_limit(before), _limit(after))
            if told[0] != told[1]:
                yield changed(name, (before, after), *told)

    return _both(first, second) or aspect(paired((_gates(first), _gates(second)), compare, lambda gate: (gate, _limit(gate))))


def _both(first: Subject, second: Subject) -> Aspect | None:
    """Return that nothing was compared, where one of them is no bundle."""
    return absent([side.manifest is not None for side in (first, second)], "no bundle")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _keyed_changes(first: Subject, second: Subject, part: str, key: str, field: str) -> Iterator[Change]:
    return changes(_keyed(first.part(part), key, field), _keyed(second.part(part), key, field))


def _keyed(value: Any, key: str, field: str) -> dict[str, Any]:
    """Return name -> content of a list of entries; one that is named twice, with how often before it."""
    found: dict[str, Any] = {}
    for entry in _entries(value):
        name, count = str(entry.get(key)), 1
        while name in found:
            count += 1
            name = f"{entry.get(key)} ({count})"
        found[name] = entry.get(field)
    return found


def _measured(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys([*first, *second]):
        sides = [_mapping(side[name]) if name in side else None for side in (first, second)]
        if None not in sides and sides[0] == sides[1]:
            continue
        for field in ("value", "reference"):
            values = {index: side[field] for index, side in enumerate(sides) if side and side.get(field) is not None}
            title = value_of(name).title + (" of TensorFlow" if field == "reference" else "")
            yield from paired(
                ({title: values[0]} if 0 in values else {}, {title: values[1]} if 1 in values else {}),
                lambda what, before, after, name=name: _moved(what, name, before, after),  # type: ignore[misc]
                lambda value, name=name: (value, _number(name, value)),  # type: ignore[misc]
            )


def _moved(what: str, name: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    told = (_number(name, before), _number(name, after))
    if told[0] == told[1]:
        told = (brief(before), brief(after))
    elif _is_number(before) and _is_number(after):
        by = value_of(name).difference(after - before)
        told = (told[0], f"{told[1]} ({'' if by.startswith('-') else '+'}{by})")
    yield changed(what, (before, after), *told)


def _gates(side: Subject) -> dict[str, Any]:
    return {
        f"{value_of(str(gate.get('metric'))).title}, {_RELATIONS.get(str(gate.get('limit')), gate.get('limit'))}": {
            **{field: gate.get(field) for field in ("threshold", "value", "passed")}, "metric": gate.get("metric"),
            "limit": gate.get("limit"),
        }
        for gate in _entries(side.part("gates"))
    }  # fmt: skip


def _limit(gate: Mapping[str, Any]) -> str:
    name, threshold = str(gate["metric"]), gate["threshold"]
    of = value_of(name)
    text = (
        (of.limit if gate["limit"] in ("min", "max") else of.difference)(threshold) if _is_number(threshold) else brief(threshold)
    )
    return f"{text} {'ok' if gate['passed'] is True else 'FAILED'}"


def _number(name: str, value: Any) -> str:
    return value_of(name).number(value) if _is_number(value) else brief(value)


def _is_number(value: Any) -> bool:
    """Return whether it is one that can be shown: JSON has integers of any length."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30
