"""`idx`: the format of MNIST itself, one file per feature, plain or compressed with gzip.

The format: two zero bytes, the type, the number of dimensions, each dimension as a big-endian uint32, then the values
(http://yann.lecun.com/exdb/mnist/, "the IDX file format").
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import IO, cast

import numpy as np

from mlkit_build.datasets.arrays import Array, ArrayDataset
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.recipe import Idx
from mlkit_build.signature import FrozenSignature

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 32
_GZIP = b"\x1f\x8b"


class IdxDataset(ArrayDataset):
    """Open IDX files of one folder. See `mlkit_build.datasets.Dataset`."""

    def header(self, name: str, where: str) -> Array:
        path = self.path / name
        try:
            with self._open(name) as stream:
                head = stream.read(4)
                if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or head[3] > _MOST_DIMENSIONS:
                    raise SourceError(
                        f"{where}: {path}: expected an IDX file, which begins with 00 00, its type and its dimensions, found "
                        f"{head.hex(' ') or 'nothing'}",
                        "download it again, or name the kind that it is",
                    )
                sizes = stream.read(4 * head[3])
        except self.damaged as error:
            raise SourceError(f"{where}: {path}: cannot be read: {error}", "download it again") from error
        if len(sizes) < 4 * head[3]:
            raise SourceError(f"{where}: {path}: truncated within its header", "download it again")
        shape = struct.unpack(f">{head[3]}I", sizes)
        if not shape:
            raise ConfigError(f"{where}: expected an array with a sample dimension, found a scalar in {path}")
        return Array(name, shape[0], shape[1:], np.dtype(_TYPES[head[2]]), 4 + len(sizes))

    def rows_of(self, array: Array) -> IO[bytes]:
        stream = self._open(array.name)
        stream.read(array.offset)
        return stream

    def _open(self, name: str) -> IO[bytes]:
        path = self.path / name
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP
        return cast("IO[bytes]", gzip.open(path)) if compressed else path.open("rb")


def open_dataset(spec: Idx, path: Path, where: str, signature: FrozenSignature | None = None) -> IdxDataset:
    """Open the files in the folder. See `mlkit_build.datasets.open_dataset`."""
    return IdxDataset(spec, path, where)
