"""`image_folder`: image files, with a folder per class or a table. The identity of a sample is that of its file's bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlkit_build.datasets.folders import records_of
from mlkit_build.datasets.images import Form, decoded
from mlkit_build.datasets.records import Record, RecordDataset, wanted_input
from mlkit_build.recipe import ImageFolder
from mlkit_build.signature import FrozenSignature


class ImageFolderDataset(RecordDataset):
    """An open folder. See `mlkit_build.datasets.Dataset`."""

    def __init__(self, spec: ImageFolder, path: Path, where: str, signature: FrozenSignature | None) -> None:
        super().__init__(f"{where}.path: {path}", {spec.input: "image"}, labelled=spec.label is not None)
        self._form = Form.of(wanted_input(signature, spec.input), spec.center_crop, f"{where}.input")
        self._records = records_of(spec, path, where)
        empty = f"images end with {', '.join(spec.suffixes)}" if spec.table is None else "the table has no row below its header"
        self.settle(spec, path, where, empty)

    def shape(self, feature: str) -> tuple[int, ...]:
        return self._form.shape

    def count(self) -> int:
        return len(self._records)

    def records(self) -> Iterator[Record]:
        return iter(self._records)

    def decode(self, feature: str, stored: Any, place: str) -> NDArray[Any]:
        return decoded(stored, self._form, f"{self.origin}: {place}")


def open_dataset(spec: ImageFolder, path: Path, where: str, signature: FrozenSignature | None = None) -> ImageFolderDataset:
    """Open the folder. See `mlkit_build.datasets.open_dataset`."""
    return ImageFolderDataset(spec, path, where, signature)
