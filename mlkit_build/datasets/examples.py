"""`tf.train.Example` without TensorFlow: read with bounds.

The messages (`tensorflow/core/example/{example,feature}.proto`): Example {features = 1}, Features {feature = 1: map of name to
Feature}, Feature {bytes_list = 1, float_list = 2, int64_list = 3}, each list {value = 1}, packed or not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.wire import BYTES, FIXED32, VARINT, WireError, fields

_LISTS = {1: "bytes", 2: "float", 3: "int64"}

Value = list[bytes] | NDArray[Any]


def features_of(example: bytes) -> dict[str, bytes]:
    """Return name -> Feature, not yet read, of every feature in an Example. Raises WireError."""
    found: dict[str, bytes] = {}
    for number, kind, features in fields(example):
        if (number, kind) != (1, BYTES):
            continue
        for inner, inner_kind, entry in fields(features):
            if (inner, inner_kind) == (1, BYTES):
                parts = {key: value for key, part_kind, value in fields(entry) if part_kind == BYTES}
                found[parts.get(1, b"").decode("utf-8", "replace")] = parts.get(2, b"")
    return found


def read(feature: bytes) -> tuple[str, Value]:
    """Return the type of a Feature (`bytes`, `float`, `int64`; empty when it holds nothing) and its values. Raises WireError."""
    for number, kind, values in fields(feature):
        if kind == BYTES and number in _LISTS:
            return _LISTS[number], _READERS[number](values)
    return "", []


def _bytes_list(message: bytes) -> list[bytes]:
    return [value for number, kind, value in fields(message) if (number, kind) == (1, BYTES)]


def _float_list(message: bytes) -> NDArray[np.float32]:
    parts = [value for number, kind, value in fields(message) if number == 1 and kind in (BYTES, FIXED32)]
    data = b"".join(parts)
    if len(data) % 4:
        raise WireError("a list of floats that ends within one")
    return np.frombuffer(data, "<f4")


def _int64_list(message: bytes) -> NDArray[np.int64]:
    parts = []
    for number, kind, value in fields(message):
        if number == 1 and kind == BYTES:
            parts.append(_varints(value))
        elif number == 1 and kind == VARINT:
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
