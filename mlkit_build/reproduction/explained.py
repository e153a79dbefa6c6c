"""What is different in two files that should be equal: told by what they hold, in a few lines, as far as that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

from mlkit_build.changes import brief, changes
from mlkit_build.comparison import models
from mlkit_build.comparison.aspect import Aspect, aspect
from mlkit_build.comparison.graph_defs import WireError, nodes
from mlkit_build.comparison.places import parting
from mlkit_build.comparison.subject import model_of
from mlkit_build.errors import SourceError
from mlkit_build.printable import finite, shown
from mlkit_build.strict_json import UnreadableError, read_json

MOST = 6
"""Lines that are told of a pair of files."""
_OF_AN_ASPECT = 2
_LARGEST = 256 << 20
"""Bytes of a file that is looked into; of others the offset is told."""
_TEXTS = (".txt", ".md", ".html", ".csv", ".pbtxt", ".yaml", ".swift", ".kt")


def explained(first: Path, second: Path, name: str) -> tuple[str, ...]:
    """Return what differs, in at most `MOST` lines.

    Args:
        name: What the file is called, whatever it is called where it is kept.
    """
    try:
        if max(first.stat().st_size, second.stat().st_size) <= _LARGEST:
            found = _READERS.get(PurePosixPath(name).suffix, _nothing)(first.read_bytes(), second.read_bytes())
            if found:
                return tuple(shown(line, 200) for line in found)
        with first.open("rb") as one, second.open("rb") as other:
            return tuple(filter(None, [parting(one, other)]))
    except OSError as error:
        return (f"cannot be read: {error.strerror or error}",)


def _nothing(first: bytes, second: bytes) -> list[str]:
    return []


def _model(first: bytes, second: bytes) -> list[str]:
    """Return what differs, some of every aspect: tensors alone may be hundreds."""
    try:
        found = models(model_of(first, "first"), model_of(second, "second"))
    except SourceError:
        return []
    return _lines(found)


def _graph(first: bytes, second: bytes) -> list[str]:
    try:
        found = nodes(first, second)
    except WireError:
        return []
    return [found.note] if found.note else _lines({"nodes": found}, of_each=MOST - 1)


def _json(first: bytes, second: bytes) -> list[str]:
    try:
        sides: list[Any] = [finite(read_json(data)) for data in (first, second)]
    except UnreadableError:
        return []
    found = aspect(changes(*sides))
    told = list(map(str, found.changes[:MOST]))
    return _shortened(told, found.count)


def _text(first: bytes, second: bytes) -> list[str]:
    try:
        sides = [data.decode("utf-8").splitlines() for data in (first, second)]
    except UnicodeDecodeError:
        return []
    return list(islice(_other_lines(*sides), 2))


def _other_lines(first: list[str], second: list[str]) -> Iterator[str]:
    for number, (one, other) in enumerate(zip_longest(first, second), start=1):
        if one != other:
            yield f"line {number}: {_part(one, other)} -> {_part(other, one)}"


def _part(line: str | None, other: str | None) -> str:
    """Return a line from shortly before where it parts from the other."""
    if line is None:
        return "no such line"
    at = next((place for place, pair in enumerate(zip(line, other or "", strict=False)) if pair[0] != pair[1]), 0)
    begin = max(0, at - 16)
    return brief(f"{'...' if begin else ''}{line[begin:]}")


def _lines(found: Mapping[str, Aspect], of_each: int = _OF_AN_ASPECT) -> list[str]:
    told = [f"{name}: {change}" for name, each in found.items() for change in each.changes[:of_each]]
    return _shortened(told[:MOST], sum(each.count for each in found.values()))


def _shortened(told: list[str], count: int) -> list[str]:
    """Return at most `MOST` lines, the last of them saying how many more there are."""
    if count <= len(told):
        return told
    kept = told[: MOST - 1]
    return [*kept, f"and {count - len(kept):,} more"]


_READERS: Mapping[str, Callable[[bytes, bytes], list[str]]] = {
    ".tflite": _model,
    ".pb": _graph,
    ".json": _json,
    **dict.fromkeys(_TEXTS, _text),
}
"""Suffix -> what looks into such files; nothing comes of what cannot be read."""
