"""Labels: one text per class, as ML Kit counts them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path

from mlkit_build.bounded import TEXT_BYTES, read_whole
from mlkit_build.errors import SourceError
from mlkit_build.records import dataclass


@dataclass(frozen=True)
class LabelSet:
    """What the classes are called.

    Attributes:
        names: In the order of the model's outputs.
        locales: Language -> what they are called in it, as many.
    """

    names: tuple[str, ...]
    locales: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """How labels are read, besides their files.

    Attributes:
        column: The column of a CSV file; None for a text file.
        delimiter: What separates the columns.
        names: The labels themselves, where the dataset names them; there is no file then.
        locales: Language -> the column of the same file; empty for one with a file of its own, `labels.<language>`.
    """

    column: str | None = None
    delimiter: str = ","
    names: tuple[str, ...] = ()
    locales: Mapping[str, str] = field(default_factory=dict)


LABELS = "labels"
"""The input of an action that holds the labels; those of a language lie in `labels.<language>`."""


def read_label_set(reading: Reading, files: Mapping[str, Path]) -> LabelSet:
    """Return the labels in every language.

    Args:
        files: Holds `labels`, where there is such a file, and `labels.<language>`.

    Raises:
        SourceError: As for `read_labels`, or a language has another number of labels.
        ConfigError: A CSV file has no such column.
    """
    names = (
        checked_names(reading.names, "labels.from_dataset") if reading.names else _read(reading, files[LABELS], reading.column)
    )
    locales = {}
    for locale, column in reading.locales.items():
        path = files[LABELS] if column else files[f"{LABELS}.{locale}"]
        where = f"labels.locales.{locale}"
        locales[locale] = found = _read(reading, path, column, where)
        check_equal_counts(names, found, f"{where}: {path}")
    return LabelSet(names, locales)


def check_equal_counts(names: tuple[str, ...], found: tuple[str, ...], where: str) -> None:
    """Refuse labels of a language that are not as many as the labels. Raises SourceError."""
    if len(found) != len(names):
        raise SourceError(
            f"{where}: expected {len(names)} labels, as many as in the other languages, found {len(found)}; in the app ML Kit "
            f"would say: Mismatch between number of labels ({len(names)}) and display names ({len(found)}).",
            "line n of every language names class n",
        )


def read_labels(path: Path, where: str = "labels") -> tuple[str, ...]:
    """Return the labels, without byte order mark and carriage returns, which would show in the app.

    Exactly one newline at the end is no label; a second one would add a class without a name.

    Args:
        where: The field that names the file.

    Raises:
        SourceError: The file is missing, not UTF-8, empty, or has a line that is blank or has control characters.
    """
    try:
        text = read_whole(path, TEXT_BYTES, f"{where}: {path}").decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"{where}: {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: {path}: expected UTF-8 text, found byte {error.start} that is not") from error
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if [line.strip() for line in lines] == [""]:
        raise SourceError(f"{where}: {path}: expected one class per line, found an empty file")
    return tuple(_checked(enumerate(lines, 1), f"{where}: {path}"))


def read_column(path: Path, column: str, delimiter: str = ",", where: str = "labels") -> tuple[str, ...]:
    """Return the labels of a CSV file's column, one per row below the header.

    Raises:
        SourceError: As for `read_labels`, or a row is not like the others.
        ConfigError: There is no such column.
    """
    from mlkit_build.datasets.delimited import Table

    table = Table(path, f"{where}: {path}", delimiter=delimiter)
    place = table.positions((column,), f"{where}.column" if where == "labels" else where)[0]
    labels = tuple(_checked(((number, row[place]) for number, row in table.rows()), f"{where}: {path}"))
    if not labels:
        raise SourceError(f"{where}: {path}: expected one class per row, found none below the first row")
    return labels


def checked_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return names that nobody wrote into a file of labels, such as those of folders, as labels.

    Raises:
        SourceError: One is blank or has control characters.
    """
    return tuple(_checked(enumerate(names, 1), where, "class"))


def repeated(labels: tuple[str, ...]) -> str:
    """Return which label stands there more than once, and where; empty where none does."""
    lines: dict[str, list[int]] = {}
    for number, label in enumerate(labels, 1):
        lines.setdefault(label, []).append(number)
    found = [(label, numbers) for label, numbers in lines.items() if len(numbers) > 1]
    if not found:
        return ""
    label, numbers = found[0]
    some = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    more = f", and {len(found) - 1} other labels are repeated" if len(found) > 1 else ""
    return f"{label[:40]!r} names the classes of lines {some}{more}; an app cannot tell them apart"


def _read(reading: Reading, path: Path, column: str | None, where: str = "labels") -> tuple[str, ...]:
    return read_column(path, column, reading.delimiter, where) if column else read_labels(path, where)


_SEPARATORS = {*map(chr, range(0x2028, 0x202F)), *map(chr, range(0x2066, 0x206A))}
"""Separators of lines and paragraphs, and what turns the direction of the text around a label: not of category Cc."""
_INVISIBLE = ("Cf", "Zs")
"""Categories of what shows nothing by itself: of zero width, joiners, soft hyphens, spaces."""
_BLANK = {*map(chr, (0x034F, 0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0)), *map(chr, range(0xFE00, 0xFE10))}
"""Fillers, the blank Braille pattern, and what chooses between forms of a letter: by category they are letters and marks."""


def _checked(lines: Iterable[tuple[int, str]], where: str, unit: str = "line") -> Iterator[str]:
    """Yield the texts, trimmed. What would end a label, or the text that an app shows, or turn it around, is refused."""
    for number, line in lines:
        label = line.strip()
        if all(letter in _BLANK or unicodedata.category(letter) in _INVISIBLE for letter in label):
            raise SourceError(f"{where}: {unit} {number} is blank; expected one class per line", "every line is a class")
        control = next((letter for letter in label if letter in _SEPARATORS or unicodedata.category(letter) == "Cc"), None)
        if control is not None:
            ends = "the lines end with carriage returns alone: save the file with newlines" if control == "\r" else "remove it"
            raise SourceError(
                f"{where}: {unit} {number}: expected a text, found the control character U+{ord(control):04X} in it", ends
            )
        yield label
