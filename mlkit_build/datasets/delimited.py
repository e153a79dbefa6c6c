"""CSV files, row by row, with bounded memory whatever is in them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mlkit_build.errors import ConfigError, SourceError, did_you_mean

MAX_LINE = 1 << 22
"""Characters of the longest line: a sample of 150,000 numbers needs half of it."""
_SIGNS = ",;\t|"
"""What spreadsheets divide columns by."""


class Table:
    """A CSV file with its columns.

    Args:
        path: The file, UTF-8.
        origin: What to call it in messages.
        header: Whether the first row names the columns; else they are called `0`, `1`, ...
        delimiter: What separates columns.

    Attributes:
        columns: Their names.

    Raises:
        SourceError: It cannot be read, or has no row.
        ConfigError: Two columns have one name.
    """

    def __init__(self, path: Path, origin: str, *, header: bool = True, delimiter: str = ",") -> None:
        self.origin = origin
        self._path = path
        self._header = header
        self._delimiter = delimiter
        first = next(self._lines(), None)
        if first is None:
            raise SourceError(f"{origin}: expected rows, found an empty file")
        row = first[1]
        self.columns = [name.strip() for name in row] if header else [str(index) for index in range(len(row))]

    def positions(self, names: tuple[str, ...], where: str) -> list[int]:
        """Return where the columns are; `first..last` names all columns from one to the other.

        Raises:
            ConfigError: There is no such column, or there are two.
        """
        found: list[int] = []
        for name in names:
            if name in self.columns or ".." not in name:
                found.append(self._position(name, where))
                continue
            first, last = self._ends(name, where)
            if last < first:
                raise ConfigError(
                    f"{where}: in the range {name!r} the first column comes after the last one in {self._path}",
                    "turn it round; columns in another order are named one by one",
                )
            found += range(first, last + 1)
        return found

    def _ends(self, name: str, where: str) -> tuple[int, int]:
        """Return the positions of the range `first..last`."""
        ends = [end.strip() for end in name.split("..", 1)]
        if not all(ends) or ends[1].startswith("."):
            raise ConfigError(f"{where}: expected a column, or a range of columns as `first..last`, found {name!r}")
        try:
            return self._position(ends[0], where), self._position(ends[1], where)
        except ConfigError as error:
            numbers = self._header and all(end.isdecimal() for end in ends)
            hint = "columns are called 0, 1, ... where `header: false` is stated" if numbers else error.hint
            raise ConfigError(f"{where}: in the range {name!r}: {error.message.removeprefix(f'{where}: ')}", hint) from None

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number, fields) of every row. Raises SourceError where a row is not like the others."""
        lines = self._lines()
        if self._header:
            next(lines, None)
        for number, row in lines:
            if len(row) != len(self.columns):
                raise SourceError(
                    f"{self.origin}: line {number}: expected {len(self.columns)} fields, as in the first line, found {len(row)}"
                )
            yield number, row

    def _position(self, name: str, where: str) -> int:
        count = self.columns.count(name)
        if count == 1:
            return self.columns.index(name)
        if count:
            raise ConfigError(f"{where}: {count} columns of {self._path} are called {name!r}; expected one")
        some = ", ".join(self.columns[:8]) + (", ..." if len(self.columns) > 8 else "")
        hint = did_you_mean(name, self.columns[:1000])
        other = next((sign for sign in _SIGNS if sign in self.columns[0]), None) if len(self.columns) == 1 else None
        if other is not None:
            hint = f"its fields look divided by {other!r}: save it with {self._delimiter!r}, or state `delimiter` where it can be"
        raise ConfigError(f"{where}: no column {name[:40]!r} in {self._path}; it has {some}", hint)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        number = 0
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(_bounded(file, self.origin), delimiter=self._delimiter, strict=True)
                for row in reader:
                    number = reader.line_num
                    if row:
                        yield number, row
        except OSError as error:
            raise SourceError(f"{self.origin}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            after = f"after line {number}: " if number else ""
            raise SourceError(
                f"{self.origin}: {after}expected UTF-8 text, found a byte that is not",
                "save it as UTF-8; spreadsheets may write UTF-16 or a code page",
            ) from error
        except csv.Error as error:
            raise SourceError(f"{self.origin}: line {number + 1}: not CSV: {error}", "check the quotes") from error


def _bounded(file: TextIO, origin: str) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise SourceError(f"{origin}: line {number}: expected at most {MAX_LINE} characters, found more", "is it a CSV file?")
        yield line
