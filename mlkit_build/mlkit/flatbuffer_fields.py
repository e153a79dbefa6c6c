"""What a field of a flatbuffer's table can be: a number, a text, a table, a vector of them, one table of several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlkit_build.mlkit.flatbuffer import Reader, Table, elements, read_text, write_table
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from flatbuffers import Builder


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
        return None if value is None else write_table(builder, value)

    def read(self, reader: Reader, table: int, slot: int) -> Table | None:
        at = reader.field(table, slot)
        return None if at is None else reader.table(self.cls, reader.follow(at))


@dataclass(frozen=True)
class Many(_Offset):
    """A vector of tables; an empty one is not written."""

    cls: type[Table]

    def prepare(self, builder: Builder, value: tuple[Table, ...]) -> Any:
        return _offsets(builder, [write_table(builder, table) for table in value])

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
        return None if value is None else (1 + self.classes.index(type(value)), write_table(builder, value))

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


def _offsets(builder: Builder, offsets: list[int]) -> Any:
    if not offsets:
        return None
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
