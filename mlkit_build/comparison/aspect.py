"""One aspect of a comparison: what differs in it, bounded, and how much was compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from mlkit_build.changes import CHANGED, GONE, NEW, Change
from mlkit_build.plain import canonical
from mlkit_build.printable import finite, shown
from mlkit_build.records import dataclass

MOST = 2000
"""Changes that an aspect keeps: enough for any model, whatever the files hold."""
_LONGEST = 400
_LARGEST = 4000

Item = TypeVar("Item")


@dataclass(frozen=True)
class Aspect:
    """What came of comparing one aspect.

    Attributes:
        changes: What differs, in the order of the files; at most `MOST`.
        more: How many others there are.
        note: Why it was not compared, or not in full; empty where it was.
    """

    changes: tuple[Change, ...] = ()
    more: int = 0
    note: str = ""

    @property
    def count(self) -> int:
        """How many things differ."""
        return len(self.changes) + self.more


def aspect(found: Iterable[Change], note: str = "") -> Aspect:
    """Return the changes as an aspect: bounded, printable, and with no number that JSON lacks."""
    waiting = iter(found)
    kept = tuple(map(_bounded, islice(waiting, MOST)))
    return Aspect(kept, sum(1 for _ in waiting), shown(note, _LONGEST))


def absent(present: Sequence[bool], what: str) -> Aspect | None:
    """Return that nothing was compared, where A or B has nothing to compare."""
    lacking = [letter for letter, has in zip("AB", present, strict=True) if not has]
    return Aspect(note=f"{what}: {' and '.join(lacking)}") if lacking else None


def paired(
    sides: tuple[Mapping[str, Item], Mapping[str, Item]],
    compare: Callable[[str, Item, Item], Iterable[Change]],
    told: Callable[[Item], tuple[Any, str]],
) -> Iterator[Change]:
    """Yield what differs between things that go by a name.

    Args:
        compare: Yields the changes of a thing that both have.
        told: Returns the plain value of a thing that one of them lacks, and its text.
    """
    first, second = sides
    for name in dict.fromkeys([*first, *second]):
        if name not in second:
            value, text = told(first[name])
            yield Change(name, GONE, old=value, told=(text, ""))
        elif name not in first:
            value, text = told(second[name])
            yield Change(name, NEW, new=value, told=("", text))
        else:
            yield from compare(name, first[name], second[name])


def changed(what: str, values: Sequence[Any], *told: str) -> Change:
    """Return a change of what both have.

    Args:
        values: Before and after.
        told: How people read them, or the change in one text.
    """
    return Change(what, CHANGED, values[0], values[1], told)


def _bounded(change: Change) -> Change:
    return replace(
        change,
        path=shown(change.path, _LONGEST),
        old=_short(finite(change.old)),
        new=_short(finite(change.new)),
        told=tuple(shown(text, _LONGEST) for text in change.texts),
    )


def _short(value: Any) -> Any:
    text = canonical(value).decode()
    return value if len(text) <= _LARGEST else f"{text[:_LARGEST]}..."
