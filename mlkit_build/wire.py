"""The wire format of protocol buffers, read with bounds and without their library: what is in a message, field by field.

Format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are no such message."""


def fields(message: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, wire type, value) of every field: bytes, or an integer for a varint. Raises WireError."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == VARINT:
            value, place = _varint(message, place)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(kind)
            if kind == BYTES:
                size, place = _varint(message, place)
            if size is None or number == 0:
                raise WireError(f"a field of the wire type {kind}")
            if size > end - place:
                raise WireError(f"a field of {size} bytes, of which {end - place} are there")
            value, place = message[place : place + size], place + size
        yield number, kind, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(message) or shift > 63:
            raise WireError("an integer that does not end")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
