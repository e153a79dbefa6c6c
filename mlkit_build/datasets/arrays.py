"""Datasets that are arrays, one per feature, sample first: each is read as a stream of rows, compressed or not."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, identities
from mlkit_build.datasets.choice import MAX_SAMPLE_BYTES, MAX_SAMPLES, check_count, chosen, flat_labels
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.recipe import Idx, Npy, Npz
from mlkit_build.records import dataclass

READ_BYTES = 1 << 22
"""The most that is decoded at once."""
AGAIN = "write the file again, or fetch it again"


@dataclass(frozen=True)
class Array:
    """One array: `[count, *sample]` of `dtype`, as its header states it."""

    name: str
    count: int
    sample: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int = 0

    @property
    def row_bytes(self) -> int:
        """The size of one sample."""
        size = self.dtype.itemsize
        for length in self.sample:
            size *= length
        return size


class ArrayDataset(ABC):
    """Open arrays. See `mlkit_build.datasets.Dataset`."""

    skipped = ()
    damaged: type[Exception] | tuple[type[Exception], ...] = (OSError, zlib.error, EOFError)
    """What reading a damaged file raises."""

    def __init__(self, spec: Npz | Npy | Idx, path: Path, where: str) -> None:
        self.origin = f"{where}.path: {path}"
        self.path = path
        stated = sorted(spec.features.items())  # a sample's identity may not depend on the order in the recipe
        self._features = {feature: self._checked(name, f"{where}.features.{feature}") for feature, name in stated}
        if not self._features:
            raise ConfigError(f"{where}.features: expected a model input and its array, found none")
        counts = {array.name: array.count for array in self._features.values()}
        self._labels = self._checked(spec.label, f"{where}.label") if spec.label is not None else None
        if self._labels is not None:
            counts[self._labels.name] = self._labels.count
        if len(set(counts.values())) != 1:
            listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise ConfigError(f"{self.origin}: expected arrays with equal numbers of samples, found {listed}")
        self._count = next(iter(counts.values()))
        check_count(self._count, spec.samples, where, self.origin, path, "the arrays are empty")
        self._chosen = chosen(spec, self._count, lambda: self._hashes(None), where, path)

    @abstractmethod
    def header(self, name: str, where: str) -> Array:
        """Return the array called `name`. Raises ConfigError, SourceError."""

    def place(self, array: Array) -> str:
        """Return what to call an array in messages: the file that it is alone in."""
        return f"{self.origin}/{array.name}"

    @abstractmethod
    def rows_of(self, array: Array) -> IO[bytes]:
        """Return the bytes of its rows."""

    def __len__(self) -> int:
        return self._count if self._chosen is None else len(self._chosen)

    def sample_shape(self, feature: str) -> tuple[int, ...]:
        return self._features[feature].sample

    def array_name(self, feature: str) -> str:
        return self._features[feature].name

    def sample(self, index: int) -> str:
        if self._chosen is None:
            return f"sample {index}"
        return f"sample {index} of those chosen, which is sample {self._chosen[index]} of all"

    def batches(self, size: int) -> Iterator[Batch]:
        arrays = [*self._features.values(), *([self._labels] if self._labels else [])]
        first = 0
        for parts in zip(*(self._rows(array, size) for array in arrays), strict=True):
            features = dict(zip(self._features, parts, strict=False))
            yield Batch(first, features, flat_labels(parts[-1]) if self._labels else None)
            first += len(parts[0])

    def identities(self) -> list[bytes]:
        return self._hashes(self._chosen)

    @property
    def size_bytes(self) -> int:
        """The size of all samples and labels, chosen or not, as they are decoded."""
        return sum(
            array.count * array.row_bytes for array in (*self._features.values(), *([self._labels] if self._labels else []))
        )

    @property
    def types(self) -> dict[str, str]:
        """Model input -> dtype and shape of a sample."""
        return {feature: f"{array.dtype.name} {list(array.sample)}" for feature, array in self._features.items()}

    def _hashes(self, wanted: NDArray[np.int64] | None) -> list[bytes]:
        streams = [self._rows(array, 256, wanted) for array in self._features.values()]
        return [identity for parts in zip(*streams, strict=True) for identity in identities(parts)]

    def _rows(self, array: Array, size: int, chosen: Any = ...) -> Iterator[NDArray[Any]]:
        """Yield the chosen rows of an array, `size` at a time, reading its stream once."""
        wanted = self._chosen if chosen is ... else chosen
        row_bytes = array.row_bytes
        step = max(1, min(array.count, READ_BYTES // max(1, row_bytes), size))
        held: list[NDArray[Any]] = []
        held_rows = 0
        with self.rows_of(array) as stream:
            for start in range(0, array.count, step):
                rows = min(step, array.count - start)
                block = self._read(stream, array, start, rows).view(array.dtype).reshape(rows, *array.sample)
                if wanted is not None:
                    first, end = np.searchsorted(wanted, (start, start + rows))
                    block = block[wanted[first:end] - start]
                held.append(block)
                held_rows += len(block)
                while held_rows >= size:
                    merged = np.concatenate(held) if len(held) > 1 else held[0]
                    yield merged[:size]
                    held, held_rows = [merged[size:]], held_rows - size
            self._check_end(stream, array)
        if held_rows:
            yield np.concatenate(held) if len(held) > 1 else held[0]

    def _checked(self, name: str, where: str) -> Array:
        array = self.header(name, where)
        if array.row_bytes > MAX_SAMPLE_BYTES or array.count > MAX_SAMPLES:
            raise ConfigError(
                f"{where}: expected at most {MAX_SAMPLES} samples of at most {MAX_SAMPLE_BYTES} bytes, found {name!r} with shape "
                f"{[array.count, *array.sample]} and dtype {array.dtype}"
            )
        return array

    def _check_end(self, stream: Any, array: Array) -> None:
        """Read past the last row: gzip compares its checksum there, and not before. Raises SourceError, also for what is left.

        A header of which a bit changed may state fewer samples than there are, with a checksum that nobody would get to.
        """
        try:
            more = stream.read(1)
        except self.damaged as error:
            raise SourceError(f"{self.place(array)}: damaged: {error}", AGAIN) from error
        if more:
            stated = f"{array.count} samples of {array.row_bytes} bytes"
            raise SourceError(f"{self.place(array)}: expected it to end after {stated}, as its header states, found more", AGAIN)

    def _read(self, stream: IO[bytes], array: Array, start: int, rows: int) -> NDArray[np.uint8]:
        """Return the bytes of the next rows, of which the first is `start`. Raises SourceError, which names array and samples.

        They are read, and not read into an array: streams that inflate have `read` as their one step.
        """
        size, found = rows * array.row_bytes, b""
        try:
            while len(found) < size and (piece := stream.read(size - len(found))):
                found = found + piece if found else piece
        except self.damaged as error:
            samples = f"samples {start} to {start + rows - 1}"
            raise SourceError(f"{self.place(array)}: damaged, noticed among {samples}: {error}", AGAIN) from error
        if len(found) < size:
            missing = (array.count - start) * array.row_bytes - len(found)
            sample = start + len(found) // array.row_bytes
            raise SourceError(f"{self.place(array)}: truncated: it ends {missing} bytes early, in sample {sample}", AGAIN)
        return np.frombuffer(found, np.uint8)
