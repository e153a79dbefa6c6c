"""What differs between two plain values, change by change: the one walk behind `plan`'s reasons and the comparison of bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlkit_build.plain import canonical
from mlkit_build.records import dataclass

NEW, GONE, CHANGED = "new", "gone", "changed"
_COMPARED_ITEMS = 32


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Attributes:
        path: Its dotted path or its name.
        kind: `new`, `gone` or `changed`.
        old: Its plain value; None for what is new.
        new: Likewise; None for what is gone.
        told: How people read it where that is not the values themselves: before and after, or the change in one text.
    """

    path: str
    kind: str
    old: Any = None
    new: Any = None
    told: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """Before and after, empty for what is not there, or the change in one text."""
        if self.told:
            return self.told
        return ("" if self.kind == NEW else brief(self.old), "" if self.kind == GONE else brief(self.new))

    def __str__(self) -> str:
        before, *after = self.texts
        if not after:
            return f"{self.path}: {before}"
        return {
            NEW: f"{self.path}: new ({after[0]})",
            GONE: f"{self.path}: gone",
            CHANGED: f"{self.path}: {before} -> {after[0]}",
        }[self.kind]


def changes(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """Yield what differs between two plain values."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            where = f"{path}.{name}" if path else str(name)
            if name not in old:
                yield Change(where, NEW, new=new[name])
            elif name not in new:
                yield Change(where, GONE, old=old[name])
            else:
                yield from changes(old[name], new[name], where)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) <= _COMPARED_ITEMS:
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from changes(*pair, f"{path}[{index}]")
    # By spelling, as the key sees it: 1, 1.0 and true are equal in Python and give different keys.
    elif canonical(old) != canonical(new):
        yield Change(path, CHANGED, old, new)


def brief(value: Any) -> str:
    """Return a plain value in a few letters."""
    if isinstance(value, str) and len(value) == 64 and all(digit in "0123456789abcdef" for digit in value):
        return value[:8]
    text = value if isinstance(value, str) else canonical(value).decode()
    return text if len(text) <= 40 else text[:37] + "..."
