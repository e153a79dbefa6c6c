"""Datasets that are read record by record: rows, examples, files. What is costly to decode is decoded by who needs it."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch
from mlkit_build.datasets.choice import check_count, chosen, flat_labels
from mlkit_build.datasets.parallel import MOST_THREADS
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.printable import shown
from mlkit_build.recipe import AnyDataset, ImageFolder, Tfds, TfRecord, WavFolder
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.store import Digest


@dataclass(frozen=True)
class Record:
    """A sample as it is stored.

    Attributes:
        place: Where it is: a file, a row.
        stored: One value per feature, in the order of the features' names: an array, encoded bytes, or the path of a file.
        label: Its class index, a number, or an array of numbers, where the dataset has labels.
    """

    place: str
    stored: tuple[Any, ...]
    label: Any

    @property
    def called(self) -> str:
        """The place as messages name it: files may be called anything."""
        return shown(self.place)


class RecordDataset(ABC):
    """What is the same for every kind. See `mlkit_build.datasets.Dataset`.

    Args:
        origin: What to call it in messages.
        names: Model input -> what the file calls it.
        labelled: Whether the recipe asks for labels.
    """

    def __init__(self, origin: str, names: Mapping[str, str], *, labelled: bool) -> None:
        self.origin = origin
        self.names = dict(sorted(names.items()))  # a sample's identity may not depend on the order in the recipe
        self._labelled = labelled
        self._count = 0
        self.skipped: tuple[str, ...] = ()
        self._chosen: NDArray[np.int64] | None = None

    def settle(self, spec: AnyDataset, path: Path, where: str, empty: str) -> None:
        """Count the samples and choose among them; called once everything else is known.

        Raises:
            ConfigError: There are none, or fewer than are asked.
            SourceError: One is damaged, or where these are left out, all are.
        """
        self._count = self.count()
        check_count(self._count, spec.samples, where, self.origin, path, empty)
        self._chosen = chosen(spec, self._count, lambda: map(self.identity, self.records()), where, path)
        if isinstance(spec, (ImageFolder, WavFolder, TfRecord, Tfds)) and spec.on_error == "skip":
            self._skip_damaged()

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """Yield every record, always the same ones in the same order."""

    @abstractmethod
    def shape(self, feature: str) -> tuple[int, ...]:
        """Return the shape of one sample of the feature."""

    def decode(self, feature: str, stored: Any, place: str) -> NDArray[Any]:
        """Return a stored value as `[*shape]` numbers. Threads may call it."""
        array: NDArray[Any] = stored
        return array

    def count(self) -> int:
        """Return how many records there are."""
        return sum(1 for _ in self.records())

    def identity(self, record: Record) -> bytes:
        """Return the SHA-256 of what is stored: of a file, that of its bytes."""
        sha256 = hashlib.sha256()
        for stored in record.stored:
            if isinstance(stored, Path):
                try:
                    return bytes.fromhex(Digest.of_file(stored).sha256)  # such datasets have one feature
                except OSError as error:
                    raise SourceError(f"{self.origin}: {record.called}: cannot be read: {error.strerror}") from error
            sha256.update(stored if isinstance(stored, bytes) else stored.tobytes())
        return sha256.digest()

    def __len__(self) -> int:
        return self._count if self._chosen is None else len(self._chosen)

    def sample_shape(self, feature: str) -> tuple[int, ...]:
        return self.shape(feature)

    def array_name(self, feature: str) -> str:
        return self.names[feature]

    def sample(self, index: int) -> str:
        place = next((record.called for record in islice(self._wanted(), index, None)), "no longer there")
        return f"sample {index}{'' if self._chosen is None else ' of those chosen'} ({place})"

    def batches(self, size: int) -> Iterator[Batch]:
        records, first = self._wanted(), 0
        shape: tuple[int, ...] | None = None
        while group := list(islice(records, size)):
            labels = self._labels(group, shape) if self._labelled else None
            shape = labels.shape[1:] if labels is not None else None
            yield Batch(
                first, _Undecoded(partial(self._decoded, group), self.names), None if labels is None else flat_labels(labels)
            )
            first += len(group)

    def identities(self) -> list[bytes]:
        return [self.identity(record) for record in self._wanted()]

    def listed(self) -> Iterator[tuple[bytes, Any]]:
        """Yield the identity and the label of every chosen sample. Nothing is decoded."""
        return ((self.identity(record), record.label) for record in self._wanted())

    def _skip_damaged(self) -> None:
        """Leave out what cannot be decoded. Stages must agree on the samples, so that all of them are decoded beforehand."""
        indices = iter(range(self._count) if self._chosen is None else self._chosen.tolist())
        sound: list[int] = []
        damaged: list[tuple[str, SourceError]] = []
        records = self._wanted()
        with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, MOST_THREADS))) as executor:
            while group := list(islice(records, 64)):
                for record, index, error in zip(group, indices, executor.map(self._damage, group), strict=False):
                    if error is None:
                        sound.append(index)
                    else:
                        damaged.append((record.called, error))
        if not sound:
            raise damaged[0][1]
        if damaged:
            self._chosen = np.array(sound, np.int64)
            self.skipped = tuple(place for place, _ in damaged)

    def _damage(self, record: Record) -> SourceError | None:
        try:
            for feature, stored in zip(self.names, record.stored, strict=True):
                self.decode(feature, stored, record.called)
        except SourceError as error:
            return error
        return None

    def _wanted(self) -> Iterator[Record]:
        return self.records() if self._chosen is None else picked(self.records(), self._chosen.tolist())

    def _labels(self, records: Sequence[Record], shape: tuple[int, ...] | None) -> NDArray[Any]:
        """Return the records' labels; `shape` is that of the labels before them."""
        arrays = [np.asarray(record.label) for record in records]
        expected = arrays[0].shape if shape is None else shape
        for record, array in zip(records, arrays, strict=True):
            if array.shape != expected:
                raise ConfigError(
                    f"{self.origin}: {record.called}: expected a label of shape {list(expected)}, as in the samples before it, "
                    f"found {list(array.shape)}"
                )
        return np.stack(arrays)

    def _decoded(self, records: Sequence[Record], feature: str) -> NDArray[Any]:
        index, values = list(self.names).index(feature), None
        for row, record in enumerate(records):
            found = self.decode(feature, record.stored[index], record.called)
            if values is None:
                values = np.empty((len(records), *self.shape(feature)), found.dtype)
            if found.shape != values.shape[1:] or found.dtype != values.dtype:
                raise ConfigError(
                    f"{self.origin}: {record.called}: expected {self.names[feature]!r} as {values.dtype} of shape "
                    f"{list(values.shape[1:])}, as in the samples before it, found {found.dtype} of shape {list(found.shape)}"
                )
            values[row] = found
        assert values is not None, "a batch is never empty"
        return values


def picked(records: Iterable[Record], indices: Sequence[int]) -> Iterator[Record]:
    """Yield the records at the indices, which are in order; reads no further than the last one."""
    wanted = iter(indices)
    index = next(wanted, None)
    for number, record in enumerate(records):
        if index is None:
            return
        if number == index:
            yield record
            index = next(wanted, None)


class _Undecoded(Mapping[str, Any]):
    """A batch's features, each decoded when it is first looked at: by the thread that runs the batch."""

    def __init__(self, decode: Any, names: Iterable[str]) -> None:
        self._decode = decode
        self._values: dict[str, NDArray[Any] | None] = dict.fromkeys(names)

    def __getitem__(self, feature: str) -> NDArray[Any]:
        values = self._values[feature]
        if values is None:
            values = self._values[feature] = self._decode(feature)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def wanted_input(signature: FrozenSignature | None, feature: str) -> TensorSpec | None:
    """Return the model input of that name, where the model is known."""
    return next((spec for spec in signature.inputs if spec.name == feature), None) if signature else None


def fitted(size: int, spec: TensorSpec | None) -> tuple[int, ...]:
    """Return the shape that `size` numbers have for a model input: its own, or that of a grey image where it takes RGB."""
    wanted = spec.shape[1:] if spec and spec.shape else ()
    for shape in (wanted, wanted[:-1] if wanted[-1:] == (3,) else wanted):
        if size == int(np.prod(shape, dtype=np.int64)):
            return tuple(shape)
    return (size,)
