"""`npz`: a NumPy archive with one array per feature, sample first. Compressed or not, it is read as a stream."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, identities
from mlkit_build.errors import ConfigError, SourceError, did_you_mean
from mlkit_build.recipe import Npz

_READ_BYTES = 1 << 22
"""The most that is decoded at once."""
_PIECE_BYTES = 1 << 18
"""The most that is asked of a compressed stream at once: it copies what it has with every step it decodes."""


@dataclass(frozen=True)
class _Array:
    """One member of the archive: `[count, *sample]` of `dtype`."""

    name: str
    count: int
    sample: tuple[int, ...]
    dtype: np.dtype[Any]


class NpzDataset:
    """An open archive. See `mlkit_build.datasets.Dataset`."""

    def __init__(self, spec: Npz, path: Path, where: str) -> None:
        self.origin = f"{where}.path: {path}"
        self._path = path
        stated = sorted(spec.features.items())  # a sample's identity may not depend on the order in the recipe
        self._features = {feature: self._array(name, f"{where}.features.{feature}") for feature, name in stated}
        counts = {array.name: array.count for array in self._features.values()}
        self._labels = self._array(spec.label, f"{where}.label") if spec.label is not None else None
        if self._labels is not None:
            counts[self._labels.name] = self._labels.count
        if len(set(counts.values())) != 1:
            listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise ConfigError(f"{self.origin}: expected arrays with equal numbers of samples, found {listed}")
        self._count = next(iter(counts.values()))
        if self._count == 0:
            raise ConfigError(f"{self.origin}: expected samples, found none", "the arrays are empty")
        if spec.samples is not None and spec.samples > self._count:
            raise ConfigError(f"{where}.samples: {spec.samples} asked, but {path} has {self._count}")
        self._chosen: NDArray[np.int64] | None = None
        if spec.samples is not None and spec.samples < self._count:
            self._chosen = self._choose(spec.samples, spec.seed)

    def __len__(self) -> int:
        return self._count if self._chosen is None else len(self._chosen)

    def sample_shape(self, feature: str) -> tuple[int, ...]:
        return self._features[feature].sample

    def array_name(self, feature: str) -> str:
        return self._features[feature].name

    def batches(self, size: int) -> Iterator[Batch]:
        arrays = [*self._features.values(), *([self._labels] if self._labels else [])]
        first = 0
        for parts in zip(*(self._rows(array, size) for array in arrays), strict=True):
            features = dict(zip(self._features, parts, strict=False))
            labels = parts[-1] if self._labels else None
            if self._labels and self._labels.sample == (1,):
                labels = parts[-1].reshape(-1)
            yield Batch(first, features, labels)
            first += len(parts[0])

    def identities(self) -> list[bytes]:
        return self._hashes(self._chosen)

    def _hashes(self, chosen: NDArray[np.int64] | None) -> list[bytes]:
        streams = [self._rows(array, 256, chosen) for array in self._features.values()]
        return [identity for parts in zip(*streams, strict=True) for identity in identities(parts)]

    def _choose(self, samples: int, seed: int) -> NDArray[np.int64]:
        """Choose by hash: the same samples whatever their order in the file."""
        salt = str(seed).encode()
        ranked = sorted((hashlib.sha256(salt + identity).digest(), index) for index, identity in enumerate(self._hashes(None)))
        return np.array(sorted(index for _, index in ranked[:samples]), dtype=np.int64)

    def _rows(self, array: _Array, size: int, chosen: Any = ...) -> Iterator[NDArray[Any]]:
        """Yield the chosen rows of an array, `size` at a time, reading the archive's stream once."""
        wanted = self._chosen if chosen is ... else chosen
        row_bytes = array.dtype.itemsize * int(np.prod(array.sample, dtype=np.int64))
        step = max(1, min(array.count, _READ_BYTES // max(1, row_bytes), size))
        held: list[NDArray[Any]] = []
        held_rows = 0
        with self._open(array.name) as stream:
            _read_header(stream)
            for start in range(0, array.count, step):
                rows = min(step, array.count - start)
                block = np.frombuffer(self._read(stream, rows * row_bytes), dtype=array.dtype).reshape(rows, *array.sample)
                if wanted is not None:
                    block = block[wanted[(wanted >= start) & (wanted < start + rows)] - start]
                held.append(block)
                held_rows += len(block)
                while held_rows >= size:
                    merged = np.concatenate(held) if len(held) > 1 else held[0]
                    yield merged[:size]
                    held, held_rows = [merged[size:]], held_rows - size
        if held_rows:
            yield np.concatenate(held) if len(held) > 1 else held[0]

    def _array(self, name: str, where: str) -> _Array:
        with self._open(name, where) as stream:
            try:
                shape, fortran, dtype = _read_header(stream)
            except (ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
                raise SourceError(f"{self.origin}: the array {name!r} cannot be read: {error}") from error
        if dtype.hasobject or dtype.kind not in "buif":
            raise ConfigError(f"{where}: expected an array of numbers, found {name!r} of dtype {dtype}")
        if not shape:
            raise ConfigError(f"{where}: expected an array with a sample dimension, found the scalar {name!r}")
        if fortran and len(shape) > 1:
            raise ConfigError(
                f"{where}: expected {name!r} in C order, found Fortran order",
                "save it with np.ascontiguousarray(array)",
            )
        return _Array(name, shape[0], shape[1:], dtype)

    def _open(self, name: str, where: str = "") -> IO[bytes]:
        try:
            archive = zipfile.ZipFile(self._path)
            return archive.open(f"{name}.npy")
        except KeyError:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
            raise ConfigError(
                f"{where}: no array {name!r} in {self._path}; it holds {', '.join(names) or 'nothing'}",
                did_you_mean(name, names),
            ) from None
        except (OSError, zipfile.BadZipFile) as error:
            raise SourceError(
                f"{self.origin}: expected a NumPy archive (.npz), found something else: {error}",
                "write it with np.savez_compressed(path, name=array)",
            ) from error

    def _read(self, stream: IO[bytes], size: int) -> bytes:
        pieces: list[bytes] = []
        left = size
        try:
            while left and (piece := stream.read(min(left, _PIECE_BYTES))):
                pieces.append(piece)
                left -= len(piece)
        except (OSError, zlib.error, zipfile.BadZipFile, EOFError) as error:
            raise SourceError(f"{self.origin}: damaged: {error}", "write the archive again") from error
        if left:
            raise SourceError(f"{self.origin}: truncated: an array ends {left} bytes early", "write the archive again")
        return b"".join(pieces)


def open_dataset(spec: Npz, path: Path, where: str) -> NpzDataset:
    """Open the archive. See `mlkit_build.datasets.open_dataset`."""
    return NpzDataset(spec, path, where)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    shape, fortran, dtype = npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)
    if any(size < 0 for size in shape):  # NumPy lets it pass
        raise ValueError(f"the shape {shape} has a negative dimension")
    return shape, fortran, dtype
