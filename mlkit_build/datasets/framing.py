"""TFRecord files without TensorFlow: each record's length and bytes, both with a checksum that is verified.

The format: length (uint64), its masked CRC-32C, the bytes, their masked CRC-32C; little-endian
(`tensorflow/core/lib/io/record_writer.h`). The file may be compressed with gzip as a whole.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets.choice import MAX_SAMPLE_BYTES
from mlkit_build.errors import SourceError

_POLYNOMIAL = 0x82F63B78
_BLOCK = 4096
_PIECE_BYTES = 1 << 20
_DAMAGED = (OSError, EOFError, zlib.error)


def records_in(path: Path, name: str) -> Iterator[bytes]:
    """Yield the bytes of every record.

    Args:
        name: What to call the file in messages.

    Raises:
        SourceError: It is no TFRecord file, damaged, truncated, or states a record of an absurd size.
    """
    number = 0
    try:
        with _opened(path) as file:
            while head := file.read(12):
                yield _record(file, head, f"{name}: record {number}")
                number += 1
    except _DAMAGED as error:
        raise SourceError(f"{name}: record {number}: damaged: {error}", "write the file again") from error


def _record(file: IO[bytes], head: bytes, name: str) -> bytes:
    if len(head) < 12:
        raise SourceError(f"{name}: truncated within its length", "write the file again")
    length, check = struct.unpack("<QI", head)
    if masked_crc32c(head[:8]) != check:
        raise SourceError(f"{name}: its length has not the checksum that goes with it", "is it a TFRecord file? write it again")
    if length > MAX_SAMPLE_BYTES:
        raise SourceError(f"{name}: expected at most {MAX_SAMPLE_BYTES} bytes, its length says {length}", "write the file again")
    data = _exactly(file, length, name)
    if masked_crc32c(data) != struct.unpack("<I", _exactly(file, 4, name))[0]:
        raise SourceError(f"{name}: damaged: its bytes have not the checksum that goes with them", "write the file again")
    return data


def _exactly(file: IO[bytes], size: int, name: str) -> bytes:
    pieces, left = [], size
    while left and (piece := file.read(min(left, _PIECE_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    if left:
        raise SourceError(f"{name}: truncated: it ends {left} bytes early", "write the file again")
    return b"".join(pieces)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(12)
    if head[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.open(path))
    return path.open("rb")


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as TFRecord files hold it: rotated, with a constant added (`crc32c.h`, Mask)."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of the bytes.

    A CRC is linear: that of a block is the XOR of what each byte at its place contributes, which is one look-up for all of them.
    What came before is as if it were XORed to the first four bytes.
    """
    table, crc = _contributions(), 0xFFFFFFFF
    values = np.frombuffer(data, np.uint8)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        places = _BLOCK - len(block)
        total = int(np.bitwise_xor.reduce(table.ravel()[block + _offsets()[places:]]))
        for index in range(4):  # a shorter block shifts only as much of it out as it has bytes
            if index < len(block):
                total ^= int(table[places + index, crc >> 8 * index & 255])
        crc = total ^ (crc >> 8 * len(block) if len(block) < 4 else 0)
    return crc ^ 0xFFFFFFFF


@cache
def _contributions() -> NDArray[np.uint32]:
    """Return `[place, byte]`: what a byte at that place of a full block contributes to the block's CRC."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ np.uint32(_POLYNOMIAL), crc >> 1).astype(np.uint32)
    single, table = crc, np.empty((_BLOCK, 256), np.uint32)
    for place in reversed(range(_BLOCK)):
        table[place] = crc
        crc = single[crc & 255] ^ crc >> 8
    return table


@cache
def _offsets() -> NDArray[Any]:
    return np.arange(_BLOCK, dtype=np.int64) * 256
