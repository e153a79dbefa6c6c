"""`tf.train.Example` without TensorFlow: the few wire types of protocol buffers that it is made of, read with bounds.

The messages (`tensorflow/core/example/{example,feature}.proto`): Example {features = 1}, Features {feature = 1: map of name to
Feature}, Feature {bytes_list = 1, float_list = 2, int64_list = 3}, each list {value = 1}, packed or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LISTS = {1: "bytes", 2: "float", 3: "int64"}

Value = list[bytes] | NDArray[Any]


class WireError(ValueError):
    """The bytes are no such message."""


def features_of(example: bytes) -> dict[str, bytes]:
    """Return name -> Feature, not yet read, of every feature in an Example. Raises WireError."""
    found: dict[str, bytes] = {}
    for number, kind, features in fields(example):
        if (number, kind) != (1, _BYTES):
            continue
        for inner, inner_kind, entry in fields(features):
            if (inner, inner_kind) == (1, _BYTES):
                parts = {key: value for key, part_kind, value in fields(entry) if part_kind == _BYTES}
                found[parts.get(1, b"").decode("utf-8", "replace")] = parts.get(2, b"")
    return found


def read(feature: bytes) -> tuple[str, Value]:
    """Return the type of a Feature (`bytes`, `float`, `int64`; empty when it holds nothing) and its values. Raises WireError."""
    for number, kind, values in fields(feature):
        if kind == _BYTES and number in _LISTS:
            return _LISTS[number], _READERS[number](values)
    return "", []


def fields(message: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, wire type, value) of every field: bytes, or an integer for a varint. Raises WireError."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == _VARINT:
            value, place = _varint(message, place)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if kind == _BYTES:
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


def _bytes_list(message: bytes) -> list[bytes]:
    return [value for number, kind, value in fields(message) if (number, kind) == (1, _BYTES)]


def _float_list(message: bytes) -> NDArray[np.float32]:
    parts = [value for number, kind, value in fields(message) if number == 1 and kind in (_BYTES, _FIXED32)]
    data = b"".join(parts)
    if len(data) % 4:
        raise WireError("a list of floats that ends within one")
    return np.frombuffer(data, "<f4")


def _int64_list(message: bytes) -> NDArray[np.int64]:
    parts = []
    for number, kind, value in fields(message):
        if number == 1 and kind == _BYTES:
            parts.append(_varints(value))
        elif number == 1 and kind == _VARINT:
            parts.append(np.array([value & 0xFFFFFFFFFFFFFFFF], np.uint64).view(np.int64))
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _varints(data: bytes) -> NDArray[np.int64]:
    """Return packed varints, all at once."""
    values = np.frombuffer(data, np.uint8)
    if not values.size:
        return np.empty(0, np.int64)
    if values.max() < 0x80:
        return values.astype(np.int64)
    ends = np.nonzero(values < 0x80)[0]
    if not ends.size or ends[-1] != len(values) - 1:
        raise WireError("an integer that does not end")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise WireError("an integer that does not end")
    shifts = (np.arange(len(values)) - np.repeat(starts, lengths)).astype(np.uint64) * np.uint64(7)
    return np.bitwise_or.reduceat((values & 0x7F).astype(np.uint64) << shifts, starts).view(np.int64)


_READERS: dict[int, Any] = {1: _bytes_list, 2: _float_list, 3: _int64_list}
