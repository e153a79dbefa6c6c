"""Imported by every Python of a build under other conditions: folders list their files in the opposite order."""

import os
from collections.abc import Iterator
from typing import Any

_listdir, _scandir = os.listdir, os.scandir


class _Reversed:
    def __init__(self, *where: Any) -> None:
        with _scandir(*where) as entries:
            self._entries = iter(list(entries)[::-1])

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> "_Reversed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Every entry was read at the beginning."""


def _listed(*where: Any) -> list[Any]:
    return _listdir(*where)[::-1]


vars(os).update(listdir=_listed, scandir=_Reversed)
