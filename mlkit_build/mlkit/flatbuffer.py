"""Flatbuffer tables as dataclasses, both ways: a class states in `LAYOUT` what each of its fields is in the file, in order.

Reading trusts nothing: every offset is checked, and what is read may not come to more than a few times the file, since
offsets may point to one place many times. Format: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from flatbuffers import Builder

_SHARED = 4
"""How many times over a file may be read: builders write equal strings once."""
_SPARE_BYTES = 1 << 12


class DamagedError(Exception):
    """The bytes are no such flatbuffer."""


class Kind(Protocol):
    """What a field is in the file."""

    @property
    def slots(self) -> int:
        """How many places of the table it takes."""

    def prepare(self, builder: Builder, value: Any) -> Any:
        """Write what lies outside of the table, and return what `put` wants; None for nothing."""

    def put(self, builder: Builder, slot: int, prepared: Any) -> None:
        """Write the field into the table that is being built."""

    def read(self, reader: Reader, table: int, slot: int) -> Any:
        """Return the field of the table at `table`. Raises DamagedError."""


class Table(Protocol):
    """A dataclass that knows its layout."""

    LAYOUT: ClassVar[tuple[Kind, ...]]
    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=Table)


def encode(table: Table, identifier: bytes) -> bytes:
    """Return the table as a file of its own; equal tables give equal bytes."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 10)
    builder.Finish(_write(builder, table), file_identifier=identifier)
    return bytes(builder.Output())


def decode(cls: type[T], data: bytes | memoryview, identifier: bytes) -> T:
    """Return the table that a file holds.

    Raises:
        DamagedError: It holds something else.
    """
    reader = Reader(data)
    return reader.table(cls, reader.root(identifier))


class Reader:
    """Reads one flatbuffer, and never more of it than a bounded number of bytes.

    Attributes:
        unknown: Names of tables in which something is stated that the layout lacks: a newer writer's.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.unknown: list[str] = []
        self._data = memoryview(data)
        self._left = _SHARED * len(self._data) + _SPARE_BYTES

    def root(self, identifier: bytes) -> int:
        """Return where the root table is. Raises DamagedError where the file's identifier is another one."""
        found = bytes(self._data[4:8])
        if found != identifier:
            raise DamagedError(f"expected {identifier.decode()}, got {found.decode('latin-1')!r}")
        return self.follow(0)

    def number(self, form: str, at: int) -> Any:
        """Return the scalar of the `struct` format `form` at `at`."""
        if at < 0 or at + struct.calcsize(form) > len(self._data):
            raise DamagedError(f"an offset points to byte {at}, outside of its {len(self._data)}")
        return struct.unpack_from(form, self._data, at)[0]

    def follow(self, at: int) -> int:
        """Return where the offset at `at` points to."""
        offset: int = self.number("<I", at)
        return at + offset

    def field(self, table: int, slot: int) -> int | None:
        """Return where a table's field is; None where it is not stated."""
        vtable = table - int(self.number("<i", table))
        if 4 + 2 * slot + 2 > int(self.number("<H", vtable)):
            return None
        offset = int(self.number("<H", vtable + 4 + 2 * slot))
        return table + offset if offset else None

    def vector(self, at: int, size: int) -> tuple[int, int]:
        """Return where a vector's elements begin, which the offset at `at` points to, and how many of `size` bytes it has."""
        start = self.follow(at)
        count = int(self.number("<I", start))
        if start + 4 + count * size > len(self._data):
            raise DamagedError(f"a vector of {count} elements at byte {start} is longer than the file")
        self._spend(4 + count * size)
        return start + 4, count

    def bytes_at(self, at: int) -> memoryview:
        """Return the bytes of a vector of them."""
        start, count = self.vector(at, 1)
        return self._data[start : start + count]

    def table(self, cls: type[T], at: int) -> T:
        """Return the table at `at`."""
        self._spend(4)
        values, slot = [], 0
        for kind in cls.LAYOUT:
            values.append(kind.read(self, at, slot))
            slot += kind.slots
        if any(self.field(at, later) is not None for later in range(slot, self.slots(at))):
            self.unknown.append(cls.__name__)
        return cls(*values)

    def slots(self, table: int) -> int:
        """Return how many fields the file knows of the table at `table`."""
        vtable = table - int(self.number("<i", table))
        count = max(0, (int(self.number("<H", vtable)) - 4) // 2)
        self._spend(count)
        return count

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise DamagedError("its offsets point to the same places over and over")


@dataclass(frozen=True)
class Scalar:
    """A number; the default is not written.

    Attributes:
        form: Its `struct` format.
        writer: The builder's method for it.
        default: What stands for nothing.
    """

    form: str
    writer: str
    default: int | float = 0
    slots: int = 1

    def prepare(self, builder: Builder, value: Any) -> Any:
        return value

    def put(self, builder: Builder, slot: int, prepared: Any) -> None:
        getattr(builder, self.writer)(slot, prepared, self.default)

    def read(self, reader: Reader, table: int, slot: int) -> Any:
        at = reader.field(table, slot)
        return self.default if at is None else reader.number(self.form, at)


class _Offset:
    """What lies elsewhere in the file."""

    slots = 1

    def put(self, builder: Builder, slot: int, prepared: Any) -> None:
        if prepared is not None:
            builder.PrependUOffsetTRelativeSlot(slot, prepared, 0)


class Text(_Offset):
    """A string; an empty one is not written."""

    def prepare(self, builder: Builder, value: str) -> Any:
        return builder.CreateString(value) if value else None

    def read(self, reader: Reader, table: int, slot: int) -> str:
        at = reader.field(table, slot)
        return "" if at is None else read_text(reader, at)


@dataclass(frozen=True)
class Numbers(_Offset):
    """A vector of numbers of four bytes; an empty one is not written.

    Attributes:
        form: Their `struct` format.
        writer: The builder's method for one.
    """

    form: str
    writer: str

    def prepare(self, builder: Builder, value: tuple[float, ...]) -> Any:
        if not value:
            return None
        builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            getattr(builder, self.writer)(number)
        return builder.EndVector()

    def read(self, reader: Reader, table: int, slot: int) -> tuple[float, ...]:
        at = reader.field(table, slot)
        if at is None:
            return ()
        start, count = reader.vector(at, 4)
        return tuple(reader.number(self.form, start + 4 * index) for index in range(count))


class Bytes(_Offset):
    """A vector of bytes; an empty one is not written."""

    def prepare(self, builder: Builder, value: bytes) -> Any:
        return builder.CreateByteVector(value) if value else None

    def read(self, reader: Reader, table: int, slot: int) -> bytes:
        at = reader.field(table, slot)
        return b"" if at is None else bytes(reader.bytes_at(at))


class Texts(_Offset):
    """A vector of strings; an empty one is not written."""

    def prepare(self, builder: Builder, value: tuple[str, ...]) -> Any:
        return _offsets(builder, [builder.CreateString(text) for text in value])

    def read(self, reader: Reader, table: int, slot: int) -> tuple[str, ...]:
        return tuple(read_text(reader, at) for at in elements(reader, table, slot))


@dataclass(frozen=True)
class One(_Offset):
    """Another table, or None."""

    cls: type[Table]

    def prepare(self, builder: Builder, value: Table | None) -> Any:
        return None if value is None else _write(builder, value)

    def read(self, reader: Reader, table: int, slot: int) -> Table | None:
        at = reader.field(table, slot)
        return None if at is None else reader.table(self.cls, reader.follow(at))


@dataclass(frozen=True)
class Many(_Offset):
    """A vector of tables; an empty one is not written."""

    cls: type[Table]

    def prepare(self, builder: Builder, value: tuple[Table, ...]) -> Any:
        return _offsets(builder, [_write(builder, table) for table in value])

    def read(self, reader: Reader, table: int, slot: int) -> tuple[Table, ...]:
        return tuple(reader.table(self.cls, reader.follow(at)) for at in elements(reader, table, slot))


@dataclass(frozen=True)
class Union:
    """One of several tables, or None. Its place among `classes`, from 1, is its number in the file.

    A table that is none of them is read as None.
    """

    classes: tuple[type[Table], ...]
    slots: int = 2

    def prepare(self, builder: Builder, value: Table | None) -> Any:
        return None if value is None else (1 + self.classes.index(type(value)), _write(builder, value))

    def put(self, builder: Builder, slot: int, prepared: Any) -> None:
        if prepared is not None:
            builder.PrependUint8Slot(slot, prepared[0], 0)
            builder.PrependUOffsetTRelativeSlot(slot + 1, prepared[1], 0)

    def read(self, reader: Reader, table: int, slot: int) -> Table | None:
        kind, at = reader.field(table, slot), reader.field(table, slot + 1)
        number = 0 if kind is None else int(reader.number("<B", kind))
        if number > len(self.classes):
            reader.unknown.append(" or ".join(cls.__name__ for cls in self.classes))
        if at is None or not 0 < number <= len(self.classes):
            return None
        return reader.table(self.classes[number - 1], reader.follow(at))


BYTE = Scalar("<b", "PrependInt8Slot")
INT = Scalar("<i", "PrependInt32Slot")
UINT = Scalar("<I", "PrependUint32Slot")
FLOAT = Scalar("<f", "PrependFloat32Slot", 0.0)
TEXT = Text()
TEXTS = Texts()
BYTES = Bytes()
NUMBERS = Numbers("<f", "PrependFloat32")
UINTS = Numbers("<I", "PrependUint32")


def elements(reader: Reader, table: int, slot: int) -> list[int]:
    """Return where the offsets of a vector of them are; none where the field is not stated."""
    at = reader.field(table, slot)
    if at is None:
        return []
    start, count = reader.vector(at, 4)
    return [start + 4 * index for index in range(count)]


def read_text(reader: Reader, at: int) -> str:
    """Return the string that the offset at `at` points to. Raises DamagedError where it is not UTF-8."""
    try:
        return str(reader.bytes_at(at), "utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError(f"a string is not UTF-8 at its byte {error.start}") from error


def _write(builder: Builder, table: Table) -> int:
    """Write a table and what belongs to it; return its offset."""
    values = [getattr(table, field.name) for field in fields(table)]
    prepared = [kind.prepare(builder, value) for kind, value in zip(table.LAYOUT, values, strict=True)]
    builder.StartObject(sum(kind.slots for kind in table.LAYOUT))
    slot = 0
    for kind, value in zip(table.LAYOUT, prepared, strict=True):
        kind.put(builder, slot, value)
        slot += kind.slots
    offset: int = builder.EndObject()
    return offset


def _offsets(builder: Builder, offsets: list[int]) -> Any:
    if not offsets:
        return None
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
