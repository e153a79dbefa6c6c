"""`npy`: one NumPy file per feature, sample first. Chosen rows are read where they are, by mapping the file into memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets.arrays import AGAIN, Array, ArrayDataset
from mlkit_build.datasets.npz import HeaderError, array_of, read_header
from mlkit_build.errors import SourceError
from mlkit_build.recipe import Npy
from mlkit_build.signature import FrozenSignature


class NpyDataset(ArrayDataset):
    """Open NumPy files of one folder. See `mlkit_build.datasets.Dataset`."""

    def header(self, name: str, where: str) -> Array:
        path = self.path / name
        try:
            with path.open("rb") as stream:
                try:
                    array = array_of(name, stream, where, 0)
                except HeaderError as error:
                    raise SourceError(f"{where}: {path}: damaged header: {error}", AGAIN) from error
                except (ValueError, EOFError) as error:
                    raise SourceError(
                        f"{where}: {path}: expected a NumPy file (.npy), found something else: {error}",
                        "write it with np.save(path, array)",
                    ) from error
                offset, size = stream.tell(), path.stat().st_size
        except OSError as error:
            raise SourceError(f"{where}: {path}: cannot be read: {error.strerror}") from error
        missing = array.count * array.row_bytes - (size - offset)
        if missing > 0:
            raise SourceError(f"{where}: {path}: truncated: the array ends {missing} bytes early", "write the file again")
        if missing < 0:
            raise SourceError(
                f"{where}: {path}: expected it to end with the array that its header states, found {-missing} bytes more",
                "write the file again, one array per file",
            )
        return Array(name, array.count, array.sample, array.dtype, offset)

    def rows_of(self, array: Array) -> IO[bytes]:
        stream = (self.path / array.name).open("rb")
        read_header(stream)
        return stream

    def _rows(self, array: Array, size: int, chosen: Any = ...) -> Iterator[NDArray[Any]]:
        wanted = self._chosen if chosen is ... else chosen
        if wanted is None or array.row_bytes == 0:
            yield from super()._rows(array, size, wanted)
            return
        memory = np.memmap(self.path / array.name, array.dtype, "r", array.offset, (array.count, *array.sample))
        for start in range(0, len(wanted), size):
            yield np.array(memory[wanted[start : start + size]])


def open_dataset(spec: Npy, path: Path, where: str, signature: FrozenSignature | None = None) -> NpyDataset:
    """Open the files in the folder. See `mlkit_build.datasets.open_dataset`."""
    return NpyDataset(spec, path, where)
