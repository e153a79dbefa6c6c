"""Samples to measure and calibrate on. One module per kind; adding one adds a line to the table below.

Datasets stream: a batch at a time, with the memory of a batch. A sample's identity is the SHA-256 of its bytes as they are
stored: the values of an array, the file of an image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mlkit_build.recipe import AnyDataset
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature

__all__ = [
    "DATASETS",
    "Batch",
    "Dataset",
    "Kind",
    "contents",
    "fingerprints",
    "identities",
    "open_dataset",
    "open_few",
    "skipping",
]


@dataclass(frozen=True)
class Kind:
    """A line of the table.

    Attributes:
        module: Offers `open_dataset`.
        accepts: The forms that it takes, for the documentation.
    """

    module: str
    accepts: str


DATASETS = {
    "npz": Kind("mlkit_build.datasets.npz", "what `np.savez` and `np.savez_compressed` write"),
    "npy": Kind("mlkit_build.datasets.npy", "what `np.save` writes; files larger than the memory are mapped into it"),
    "idx": Kind("mlkit_build.datasets.idx", "the files of MNIST and its successors, as they are downloaded"),
    "csv": Kind("mlkit_build.datasets.csv_file", "one row per sample, with or without a header; missing values are refused"),
    "image_folder": Kind("mlkit_build.datasets.image_folder", "JPEG, PNG, WebP, GIF, BMP and PPM, resized as on the phone"),
    "wav_folder": Kind("mlkit_build.datasets.wav_folder", "PCM of 8, 16, 24 and 32 bits and float; channels are mixed down"),
    "tfrecord": Kind("mlkit_build.datasets.tfrecord", "numbers, raw bytes and encoded images; checksums are verified"),
    "tfds": Kind(
        "mlkit_build.datasets.tfds", "shards of `tfrecord` and `array_record`; images, numbers, class labels with their names"
    ),
    "python": Kind("mlkit_build.datasets.python", "a generator function, for everything else"),
    "random": Kind("mlkit_build.datasets.random", "nothing: where no data may leave its place, parity can still be measured"),
}


@dataclass(frozen=True)
class Batch:
    """Some samples in the dataset's order.

    Attributes:
        first: The index of the first one among the chosen samples.
        features: Input name -> `[n, ...]` values as the file holds them. They may be decoded when they are first looked at.
        labels: `[n, ...]` as the file holds them, where the dataset has them; `metrics.labels` says what they must be.
    """

    first: int
    features: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))

    @cached_property
    def fingerprints(self) -> NDArray[np.uint64]:
        """64 bits of each sample, see `fingerprints`: `[n]`. Several look at them."""
        return fingerprints(list(self.features.values()))


class Dataset(Protocol):
    """An open dataset.

    Attributes:
        origin: What to call it in messages: field and file.
        skipped: Where the damaged samples are that were left out, as the recipe allows.
    """

    origin: str
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of chosen samples."""

    def sample_shape(self, feature: str) -> tuple[int, ...]:
        """Return the shape of one sample of the input `feature`."""

    def array_name(self, feature: str) -> str:
        """Return what the file calls the array of the input `feature`."""

    def sample(self, index: int) -> str:
        """Return what to call a chosen sample in messages: with its file or row, of arrays with its place among all of them."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all chosen samples, `size` at a time."""

    def identities(self) -> list[bytes]:
        """Return the identity of every chosen sample, in order."""


def identities(features: Sequence[NDArray[Any]]) -> list[bytes]:
    """Return the identity of each sample: the SHA-256 of its bytes, feature after feature.

    Args:
        features: `[n, ...]` values as the file holds them, one array per feature, in the dataset's order.
    """
    count = len(features[0])
    parts = [(array.tobytes(), array.nbytes // count) for array in features if count]
    rows = (b"".join([data[row * size : (row + 1) * size] for data, size in parts]) for row in range(count))
    return [hashlib.sha256(row).digest() for row in rows]


def contents(batches: Iterable[Batch]) -> list[bytes]:
    """Return the SHA-256 of every sample's values, in order: equal for equal pixels, however their files are encoded."""
    return [identity for batch in batches for identity in identities(list(batch.features.values()))]


def fingerprints(features: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    """Return 64 bits of each sample's bytes: equal for equal samples, hardly ever for others, at a tenth of a SHA-256's cost."""
    count = len(features[0])
    prints = np.zeros(count, np.uint64)
    for array in features if count else ():
        rows = np.ascontiguousarray(array).reshape(count, -1).view(np.uint8)
        words = rows.view(np.uint64) if rows.shape[1] % 8 == 0 else rows
        prints = prints * np.uint64(31) + words @ _odd_weights(words.shape[1])
    return prints


@cache
def _odd_weights(count: int) -> NDArray[np.uint64]:
    """Return `count` odd numbers, always the same: each makes another sum of a word that moves or changes."""
    weights: NDArray[np.uint64] = np.random.default_rng(count).integers(1 << 63, size=count, dtype=np.uint64) * 2 + 1
    return weights


def skipping(dataset: Dataset, where: str) -> str:
    """Return which samples of `where` were left out, in words; empty when none was."""
    if not dataset.skipped:
        return ""
    some = ", ".join(dataset.skipped[:5]) + (", ..." if len(dataset.skipped) > 5 else "")
    count = len(dataset.skipped)
    return f"{where}: {count} of {count + len(dataset)} samples cannot be decoded and are left out: {some}"


def open_dataset(spec: AnyDataset, path: Path, where: str, signature: FrozenSignature | None = None) -> Dataset:
    """Open the dataset `spec` whose file, or the folder of whose files, is at `path`.

    Args:
        where: The recipe's field, `dataset` or `calibration`, for messages.
        signature: What the model takes: images and sounds are brought to its size.

    Raises:
        SourceError: The file cannot be read as what it should be.
        ConfigError: What the recipe names is not in it, or it is not what the model takes.
    """
    return cast(Dataset, import_module(DATASETS[spec.kind].module).open_dataset(spec, path, where, signature))


def open_few(spec: AnyDataset, path: Path, where: str, signature: FrozenSignature, samples: int) -> Dataset:
    """Open at most so many samples of a dataset, chosen by content as in every other place. Raises as `open_dataset`."""
    dataset = open_dataset(spec, path, where, signature)
    return dataset if len(dataset) <= samples else open_dataset(replace(spec, samples=samples), path, where, signature)
