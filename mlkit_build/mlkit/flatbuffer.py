"""Flatbuffer tables as dataclasses, both ways: a class states in `LAYOUT` what each of its fields is in the file, in order.

Reading trusts nothing: every offset is checked, and what is read may not come to more than a few times the file, since
offsets may point to one place many times. Format: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

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
    builder.Finish(write_table(builder, table), file_identifier=identifier)
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


def write_table(builder: Builder, table: Table) -> int:
    """Add a table and what belongs to it to what is being built; return its offset."""
    values = [getattr(table, field.name) for field in fields(table)]
    prepared = [kind.prepare(builder, value) for kind, value in zip(table.LAYOUT, values, strict=True)]
    builder.StartObject(sum(kind.slots for kind in table.LAYOUT))
    slot = 0
    for kind, value in zip(table.LAYOUT, prepared, strict=True):
        kind.put(builder, slot, value)
        slot += kind.slots
    offset: int = builder.EndObject()
    return offset
