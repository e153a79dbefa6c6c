"""Which samples a dataset holds, in a few bytes of each: so that of one that changed can be told how many of them did.

Only what is read in a moment is listed: `explain` reads the present file itself, while somebody waits.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset, open_dataset
from mlkit_build.datasets.choice import chosen
from mlkit_build.plain import pretty
from mlkit_build.printable import shown
from mlkit_build.recipe import AnyDataset, Csv, Idx, ImageFolder, Npy, Npz, TfRecord, WavFolder
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature
from mlkit_build.store import Digest

if TYPE_CHECKING:
    from mlkit_build.datasets.arrays import ArrayDataset

MOST_SAMPLES = 100_000
"""Of more none are listed. So many take 1.6 MB of the cache."""
_ARRAY_BYTES = 32 << 20
_TFRECORD_BYTES = 16 << 20
_CSV_BYTES = 2 << 20
"""What takes about 0.2 s to read, and at most as long again where the samples are chosen."""
_FOLDER_BYTES = 1 << 30
"""Of a folder that is listed where it is decoded too. Elsewhere its files' digests are known."""
_SAMPLE_BYTES = 8
_LABEL_BYTES = 4
"""Two of a million samples look alike with a probability of 3e-8; that a label changes to one that looks alike, with 2e-10."""

FileDigest = Callable[[str], bytes]
"""Returns the SHA-256 of a file by its name in the folder."""


@dataclass(frozen=True)
class Listing:
    """The chosen samples of a dataset, in its order.

    Attributes:
        types: Model input -> dtype and shape of a sample, where the file states them.
        samples: The beginning of each one's identity; of arrays, which are many and small, their fingerprints.
        labels: Some bytes that equal labels have alike, whatever their dtype; None without labels.
        names: The files of a folder that the samples are, as they are now: they are not kept. None of others.
    """

    types: Mapping[str, str]
    samples: tuple[bytes, ...]
    labels: tuple[bytes, ...] | None
    names: tuple[str, ...] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, types: Mapping[str, str], found: Iterable[tuple[bytes, Any]], *, labelled: bool) -> Listing:
        """Return the listing of identities with their labels: numbers, or the bytes of `_numbers`."""
        samples, labels = [], []
        for identity, label in found:
            samples.append(identity[:_SAMPLE_BYTES])
            if labelled:
                labels.append(_shortened(label if isinstance(label, bytes) else _numbers(label)))
        return cls(dict(types), tuple(samples), tuple(labels) if labelled else None)

    @classmethod
    def from_bytes(cls, data: bytes) -> Listing | None:
        """Return what `to_bytes` wrote; None where that was nothing."""
        stated = json.loads(data)
        if stated is None:
            return None
        labels = None if stated["labels"] is None else _cut(b64decode(stated["labels"]), _LABEL_BYTES)
        return cls(stated["types"], _cut(b64decode(stated["samples"]), _SAMPLE_BYTES), labels)


def to_bytes(listing: Listing | None) -> bytes:
    """Return the listing as JSON, the bytes of all samples one after another in base64."""
    if listing is None:
        return pretty(None)
    return _document(listing.types, b"".join(listing.samples), None if listing.labels is None else b"".join(listing.labels))


def _document(types: Mapping[str, str], samples: bytes, labels: bytes | None) -> bytes:
    stated = None if labels is None else b64encode(labels).decode()
    return pretty({"types": types, "samples": b64encode(samples).decode(), "labels": stated})


def listed(
    spec: AnyDataset, path: Path, where: str, signature: FrozenSignature | None, digest: FileDigest | None = None
) -> Listing | None:
    """Return which samples the dataset at `path` holds; None where that takes too long, or code of the user.

    Damaged samples are listed as well: nothing is decoded.

    Args:
        signature: What the model takes: rows and examples are read as its numbers, and not listed without it.
        digest: Knows the files of a folder; without it they are read.

    Raises:
        ConfigError, SourceError: As `open_dataset`.
    """
    if isinstance(spec, (Npz, Npy, Idx)):
        return _of_arrays(spec, path, where)
    if isinstance(spec, (ImageFolder, WavFolder)):
        return _of_folder(spec, path, where, digest)
    if isinstance(spec, (Csv, TfRecord)) and signature is not None:
        return _of_records(spec, path, where, signature)
    return None


def contradictions(listing: Listing | None, where: str) -> str:
    """Return which files are among the samples with two labels, in words; empty where none is, or files are not what is listed.

    Equal rows of numbers may well have two labels: two flowers of the same size.

    Args:
        listing: Which samples there are, as `listed` found them.
        where: The recipe's field, for messages.
    """
    if listing is None or listing.labels is None or listing.names is None:
        return ""
    first: dict[bytes, int] = {}
    others = [first.setdefault(sample, index) for index, sample in enumerate(listing.samples)]
    pairs = [pair for pair in enumerate(others) if listing.labels[pair[0]] != listing.labels[pair[1]]]
    if not pairs:
        return ""
    other, one = (shown(listing.names[index]) for index in pairs[0])
    more = f", and so {'is 1 more pair' if len(pairs) == 2 else f'are {len(pairs) - 1} more pairs'}" if len(pairs) > 1 else ""
    same = f"{one} is" if one == other else f"{one} and {other} are the same file and"
    return f"{where}: {same} labelled as two classes{more}; one of the labels is wrong"


class ArraySamples:
    """Lists the samples of arrays, which have no SHA-256 yet, from batches that pass by: they are decoded once.

    Args:
        dataset: Open arrays, with all their batches to be looked at, in order.
    """

    def __init__(self, dataset: ArrayDataset) -> None:
        self._types = dataset.types
        self._samples: list[bytes] = []
        self._labels: list[NDArray[Any]] = []

    @classmethod
    def of(cls, dataset: Dataset) -> ArraySamples | None:
        """Return what lists the dataset; None where it is no arrays, or they are too large for `explain` to read."""
        from mlkit_build.datasets.arrays import ArrayDataset

        if not isinstance(dataset, ArrayDataset) or dataset.size_bytes > _ARRAY_BYTES or len(dataset) > MOST_SAMPLES:
            return None
        return cls(dataset)

    def look(self, batch: Batch) -> None:
        """See the next batch."""
        self._samples.append(batch.fingerprints.tobytes())
        if batch.labels is not None:
            self._labels.append(batch.labels)

    def to_bytes(self) -> bytes:
        """Return the listing of what passed by, as `to_bytes` would."""
        labels = _shortened_all(np.concatenate(self._labels)) if self._labels else None
        return _document(self._types, b"".join(self._samples), labels)


def _of_arrays(spec: Npz | Npy | Idx, path: Path, where: str) -> Listing | None:
    dataset = open_dataset(replace(spec, samples=None, split=None), path, where)  # reads no more than the headers
    if ArraySamples.of(dataset) is None:
        return None
    if (spec.samples, spec.split) != (None, None):
        dataset = open_dataset(spec, path, where)
    samples = ArraySamples.of(dataset)
    assert samples is not None, "the chosen ones are as large as all of them at most"
    for batch in dataset.batches(1024):
        samples.look(batch)
    return Listing.from_bytes(samples.to_bytes())


def _of_folder(spec: ImageFolder | WavFolder, path: Path, where: str, digest: FileDigest | None) -> Listing | None:
    from mlkit_build.datasets.folders import records_of

    records = records_of(spec, path, where)
    if len(records) > MOST_SAMPLES:
        return None
    if digest is None and sum((path / record.place).stat().st_size for record in records) > _FOLDER_BYTES:
        return None
    known = digest or (lambda name: bytes.fromhex(Digest.of_file(path / name).sha256))
    found = [known(record.place) for record in records]
    picked = chosen(spec, len(records), lambda: found, where, path)
    indices = range(len(records)) if picked is None else picked.tolist()
    listing = Listing.of({}, ((found[index], records[index].label) for index in indices), labelled=spec.label is not None)
    return replace(listing, names=tuple(records[index].place for index in indices))


def _of_records(spec: Csv | TfRecord, path: Path, where: str, signature: FrozenSignature) -> Listing | None:
    from mlkit_build.datasets.records import RecordDataset

    if isinstance(spec, TfRecord):
        spec = replace(spec, on_error="fail")  # else all of them are decoded
    if _size_of(spec, path) > (_TFRECORD_BYTES if isinstance(spec, TfRecord) else _CSV_BYTES):
        return None
    dataset = open_dataset(spec, path, where, signature)
    assert isinstance(dataset, RecordDataset)
    if len(dataset) > MOST_SAMPLES:
        return None
    return Listing.of({}, dataset.listed(), labelled=spec.label is not None)


def _size_of(spec: Csv | TfRecord, path: Path) -> int:
    if isinstance(spec, TfRecord) and path.is_dir():
        from mlkit_build.pipeline.dataset_files import shards

        return sum((path / name).stat().st_size for name in shards(path, spec.files))
    return path.stat().st_size


def _numbers(label: Any) -> bytes:
    """Return what equal labels have alike, whatever their dtype."""
    return np.asarray(label, np.float64).tobytes()


def _shortened_all(labels: NDArray[Any]) -> bytes:
    """Return some bytes of each of `[n, ...]` labels."""
    if labels.ndim > 1:
        return b"".join(_shortened(_numbers(label)) for label in labels)
    different, places = np.unique(np.frombuffer(_numbers(labels), np.int64), return_inverse=True)
    shortened = b"".join(_shortened(label.tobytes()) for label in different)
    return np.frombuffer(shortened, f"V{_LABEL_BYTES}")[places].tobytes()


def _shortened(label: bytes) -> bytes:
    return hashlib.sha256(label).digest()[:_LABEL_BYTES]


def _cut(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[start : start + size] for start in range(0, len(data), size))
