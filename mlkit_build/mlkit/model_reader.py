"""Reads the tables of a `.tflite` by anyone, without LiteRT and without trust in a single byte, and keeps what is left out apart
from what is empty: the Task Library does.
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

from mlkit_build.mlkit.flatbuffer import DamagedError, Reader, Table, elements
from mlkit_build.mlkit.flatbuffer_fields import Scalar
from mlkit_build.records import dataclass

_MOST_TABLES = 300_000
"""More than any model has; fewer than would take long to read."""

T = TypeVar("T", bound=Table)


class ModelReader(Reader):
    """Reads a model by anyone, in bounded time.

    Like the Task Library, which has a model verified before it reads it (`verifier.h` in google/flatbuffers), it raises
    DamagedError also where alignment, vtables or the ends of strings are not those of a flatbuffer.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        super().__init__(data)
        self._tables = 0

    def table(self, cls: type[T], at: int) -> T:
        self._tables += 1
        if self._tables > _MOST_TABLES:
            raise DamagedError(f"it has more than {_MOST_TABLES:,} tables")
        self.check_table(at)
        return super().table(cls, at)

    def check_table(self, at: int) -> None:
        """Raise DamagedError where no table can be."""
        if at % 4:
            raise DamagedError(f"the table at byte {at} is not aligned")
        vtable = at - int(self.number("<i", at))
        size, inside = int(self.number("<H", vtable)), int(self.number("<H", vtable + 2))
        if vtable % 2 or size % 2 or size < 4:
            raise DamagedError(f"the table at byte {at} has no vtable")
        self.number("<B", vtable + size - 1)
        self.number("<B", at + max(inside, 4) - 1)

    def span(self, start: int, size: int) -> memoryview:
        """Return the bytes of a vector whose place is known to be in the file."""
        return self._data[start : start + size]

    def text(self, at: int) -> str:
        """Return the string that the offset at `at` points to, with marks in place of what is not UTF-8."""
        data = self.bytes_at(at)
        if self.number("<B", self.follow(at) + 4 + len(data)):
            raise DamagedError(f"the string at byte {self.follow(at)} has no end")
        return str(data, "utf-8", "replace")


class _ReadOnly:
    """A field that is read and never written."""

    slots = 1

    def prepare(self, builder: Any, value: Any) -> Any:
        raise NotImplementedError

    def put(self, builder: Any, slot: int, prepared: Any) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Skipped(_ReadOnly):
    """Fields that nobody asks for."""

    slots: int = 1

    def read(self, reader: Reader, table: int, slot: int) -> None:
        return None


class Name(_ReadOnly):
    """A string, which in a model need not be UTF-8; None where there is none."""

    def read(self, reader: Reader, table: int, slot: int) -> str | None:
        at = reader.field(table, slot)
        assert isinstance(reader, ModelReader)
        return None if at is None else reader.text(at)


@dataclass(frozen=True)
class Vector(_ReadOnly):
    """A vector of numbers, by the `struct` letter of one; None where there is none."""

    letter: str

    def read(self, reader: Reader, table: int, slot: int) -> tuple[Any, ...] | None:
        at = reader.field(table, slot)
        if at is None:
            return None
        size = struct.calcsize(self.letter)
        assert isinstance(reader, ModelReader)
        start, count = reader.vector(at, size)
        if start % 4:
            raise DamagedError(f"the vector at byte {start} is not aligned")
        return tuple(value for (value,) in struct.iter_unpack(f"<{self.letter}", reader.span(start, count * size)))


class Data(_ReadOnly):
    """Bytes, which are not copied; None where there are none."""

    def read(self, reader: Reader, table: int, slot: int) -> memoryview | None:
        at = reader.field(table, slot)
        return None if at is None else reader.bytes_at(at)


class Place(_ReadOnly):
    """Where a table is whose kind is not known here; None where there is none."""

    def read(self, reader: Reader, table: int, slot: int) -> int | None:
        at = reader.field(table, slot)
        return None if at is None else reader.follow(at)


@dataclass(frozen=True)
class Tables(_ReadOnly):
    """A vector of tables; None where there is none."""

    cls: type[Table]

    def read(self, reader: Reader, table: int, slot: int) -> tuple[Table, ...] | None:
        if reader.field(table, slot) is None:
            return None
        return tuple(reader.table(self.cls, reader.follow(at)) for at in elements(reader, table, slot))


@dataclass(frozen=True)
class Tagged(_ReadOnly):
    """One of several tables, with its number in the file: `(0, None)` for none, `(7, None)` for one that is none of `classes`."""

    classes: tuple[type[Table] | None, ...]
    slots: int = 2

    def read(self, reader: Reader, table: int, slot: int) -> tuple[int, Table | None]:
        kind, at = reader.field(table, slot), reader.field(table, slot + 1)
        number = 0 if kind is None else int(reader.number("<B", kind))
        cls = self.classes[number - 1] if 0 < number <= len(self.classes) else None
        return number, None if at is None or cls is None else reader.table(cls, reader.follow(at))


NAME, DATA, PLACE = Name(), Data(), Place()
INTS, LONGS, FLOATS = Vector("i"), Vector("q"), Vector("f")
UNSIGNED_BYTE = Scalar("<B", "PrependUint8Slot")
UNSIGNED_LONG = Scalar("<Q", "PrependUint64Slot")
