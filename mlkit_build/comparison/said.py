"""What two models say of themselves to ML Kit: metadata field by field, and labels class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any

from mlkit_build.changes import GONE, NEW, Change, changes
from mlkit_build.comparison.aspect import Aspect, aspect, changed
from mlkit_build.errors import SourceError
from mlkit_build.mlkit.associated_files import DamagedArchiveError
from mlkit_build.mlkit.metadata import read
from mlkit_build.mlkit.model_file import ModelFile
from mlkit_build.plain import to_plain
from mlkit_build.printable import finite
from mlkit_build.records import dataclass

_NAMED = 5


@dataclass(frozen=True)
class _Said:
    """What one model says: its metadata without labels, its labels by output and language, and why they cannot be read."""

    metadata: Any = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""


def metadata(first: ModelFile, second: ModelFile) -> Aspect:
    """Compare the metadata but for the labels, the entries of the model, and the files behind it."""
    said = [_said(file) for file in (first, second)]
    one, other = [{"metadata": each.metadata, **_around(file)} for each, file in zip(said, (first, second), strict=True)]
    return aspect(changes(one, other), _problems(said))


def labels(first: ModelFile, second: ModelFile) -> Aspect:
    """Compare the labels in every language."""
    said = [_said(file) for file in (first, second)]
    found = []
    for name in dict.fromkeys([*said[0].labels, *said[1].labels]):
        found += list(_relabelled(name, *(each.labels.get(name) for each in said)))
    return aspect(found, _problems(said))


def _said(file: ModelFile) -> _Said:
    if file.identifier is None:
        return _Said()
    try:
        plain = finite(to_plain(read(file.data)))
    except SourceError as error:
        return _Said(problem=error.message)
    labels = {}
    for what in ("inputs", "outputs"):
        for index, tensor in enumerate(plain[what]):
            where = f"{what[:-1]} {index} {tensor['name']}".rstrip()
            for locale, names in {"": tensor.pop("labels"), **tensor.pop("locales")}.items():
                if names:
                    labels[f"{where} ({locale})" if locale else where] = tuple(names)
    return _Said(plain, labels)


def _around(file: ModelFile) -> dict[str, Any]:
    """Return what else is in the file beside the graph."""
    try:
        behind: Any = {entry.name: f"{entry.size_bytes} bytes{'' if entry.stored else ', compressed'}" for entry in file.entries}
    except DamagedArchiveError as error:
        behind = f"damaged: {error}"
    return {
        "description of the model": file.model.description or "",
        "entries": [entry.name or "" for entry in file.model.metadata or ()],
        "files behind the model": behind,
    }


def _problems(said: Sequence[_Said]) -> str:
    return "; ".join(f"of {'A' if not index else 'B'}: {each.problem}" for index, each in enumerate(said) if each.problem)


def _relabelled(name: str, before: tuple[str, ...] | None, after: tuple[str, ...] | None) -> Iterator[Change]:
    if before is None or after is None:
        given = before or after or ()
        told = f"{len(given)} labels"
        yield Change(name, GONE, len(given), None, (told, "")) if before else Change(name, NEW, None, len(given), ("", told))
        return
    if before == after:
        return
    lost, won = Counter(before) - Counter(after), Counter(after) - Counter(before)
    if len(before) != len(after):
        yield changed(f"{name}: classes", (len(before), len(after)))
    if (
        lost
        and won
        and len(before) == len(after)
        and lost.total() == sum(one != other for one, other in zip(before, after, strict=True))
    ):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            if one != other:
                yield changed(f"{name}: class {index}", (one, other))
        return
    for kind, names in ((GONE, lost), (NEW, won)):
        for label in names.elements():
            yield Change(f"{name}: {label}", kind, *((label, None) if kind == GONE else (None, label)))
    moved = [
        index for index, (one, other) in enumerate(zip(before, after, strict=False)) if one != other and after[index] not in won
    ]
    if moved:
        examples = ", ".join(f"{index} was {before[index]}, is {after[index]}" for index in moved[:_NAMED])
        yield changed(f"{name}: order", (len(before), len(moved)), f"{len(moved)} classes have another's place: {examples}")
