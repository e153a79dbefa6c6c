"""`python`: samples that a generator function of the recipe's folder yields. It runs in a copy of the folder, as sources do."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Dataset
from mlkit_build.datasets.choice import MAX_SAMPLE_BYTES, MAX_SAMPLES
from mlkit_build.datasets.records import Record, RecordDataset
from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.recipe import PythonSamples
from mlkit_build.signature import FrozenSignature
from mlkit_build.sources.python import files, function_in_copy, raised

_KEPT_BYTES = 8
"""Of each sample: another one looks the same with a probability of 5e-20. The most samples there may be take 400 MB."""
_SEEDED = (
    "the function must yield the same samples whenever it is called: np.random.default_rng(0) has a seed, "
    "np.random.default_rng() has none"
)


class PythonDataset(RecordDataset):
    """An imported function. See `mlkit_build.datasets.Dataset`.

    Attributes:
        digest: The SHA-256 of the values of all samples, chosen or not, without their labels.
    """

    def __init__(self, spec: PythonSamples, path: Path, where: str) -> None:
        self._copy = _copy_of(path)
        found = files(spec, path, where)
        self._function, self._named = function_in_copy(found, spec, self._copy, where)
        super().__init__(f"{where}.function: {self._named}", spec.features, labelled=spec.label is not None)
        if not spec.features:
            raise ConfigError(f"{where}.features: expected a model input and its key, found none")
        self._spec = spec
        self._where = where
        self._expected: int | None = None
        self._kept = bytearray()
        self._values = hashlib.sha256()
        first = next(self.records(), None)
        self._shapes: dict[str, tuple[int, ...]] = {}
        if first is not None:
            self._shapes = {name: value.shape for name, value in zip(self.names, first.stored, strict=True)}
        self.settle(spec, path, where, "it yields nothing")
        self._expected = self._count
        self.digest = self._values.hexdigest()

    def shape(self, feature: str) -> tuple[int, ...]:
        return self._shapes[feature]

    def records(self) -> Iterator[Record]:
        number = -1
        for number, sample in enumerate(self._yielded()):
            place = f"sample {number}"
            if not isinstance(sample, Mapping):
                raise ConfigError(
                    f"{self.origin}: {place}: expected a mapping of names to arrays, found {type(sample).__name__}",
                    f"e.g. `yield {{{next(iter(self.names.values()))!r}: array}}`",
                )
            stored = tuple(self._array(sample, key, f"features.{name}", place) for name, key in self.names.items())
            label = self._spec.label
            record = Record(place, stored, None if label is None else self._array(sample, label, "label", place))
            self._refuse_another(number, record)
            yield record
        if self._expected not in (None, number + 1):
            raise self._another_count(f"{number + 1}")

    def _refuse_another(self, number: int, record: Record) -> None:
        """Refuse another sample than before: each form of the model would be measured on other samples."""
        if number == self._expected:
            raise self._another_count("more")
        values = _digest(record.stored)
        found = (values if record.label is None else _digest([record.label], values))[:_KEPT_BYTES]
        kept = self._kept[number * _KEPT_BYTES : (number + 1) * _KEPT_BYTES]
        if not kept:
            self._kept += found
            self._values.update(values)
        elif kept != found:
            raise ConfigError(f"{self.origin}: sample {number}: expected the values of its first call, found others", _SEEDED)

    def _another_count(self, found: str) -> ConfigError:
        return ConfigError(
            f"{self.origin}: expected {self._expected} samples, as at its first call, found {found}",
            "the function must yield the same samples whenever it is called",
        )

    def _yielded(self) -> Iterator[Any]:
        random.seed(0)
        np.random.seed(0)
        try:
            yielded = iter(self._function(**self._spec.arguments))
        except BaseException as error:
            raise raised(error, self._copy, self._named, "raised", self._where) from error
        for _ in range(MAX_SAMPLES):
            try:
                sample = next(yielded)
            except StopIteration:
                return
            except BaseException as error:
                raise raised(error, self._copy, self._named, "raised", self._where) from error
            yield sample
        raise ConfigError(f"{self.origin}: expected at most {MAX_SAMPLES} samples, found more")

    def _array(self, sample: Mapping[str, Any], key: str, field: str, place: str) -> NDArray[Any]:
        value = None
        try:
            value = self._of(sample, key, field, place)
            array = np.array(value, order="C")  # a copy: the function may fill it anew
        except ConfigError:
            raise
        except (TypeError, ValueError):
            array = np.array(None)
        except BaseException as error:  # of the mapping or the array, whose methods may be code of the user
            raise raised(error, self._copy, self._named, f"raised for {key!r} of {place}", self._where) from error
        if array.dtype.hasobject or array.dtype.kind not in "buif":
            found = f"{array.dtype} numbers" if array.dtype.kind == "c" else type(value).__name__
            raise ConfigError(f"{self.origin}: {place}: expected an array of real numbers as {key!r}, found {found}")
        if array.nbytes > MAX_SAMPLE_BYTES:
            raise ConfigError(
                f"{self.origin}: {place}: expected at most {MAX_SAMPLE_BYTES} bytes as {key!r}, found {array.nbytes}",
                "the function yields one sample at a time",
            )
        return array

    def _of(self, sample: Mapping[str, Any], key: str, field: str, place: str) -> Any:
        if key not in sample:
            known = [str(name) for name in sample]
            raise ConfigError(
                f"{self._where}.{field}: no {key!r} in {place} of {self._named}; it has {', '.join(known) or 'nothing'}",
                did_you_mean(key, known),
            )
        return sample[key]


def _digest(arrays: Sequence[NDArray[Any]], before: bytes = b"") -> bytes:
    """Return the SHA-256 of `before` and of the arrays' dtypes, shapes and bytes."""
    sha256 = hashlib.sha256(before)
    for array in arrays:
        sha256.update(f"{array.dtype.str}{array.shape}".encode())
        sha256.update(array.reshape(-1).view(np.uint8).data)
    return sha256.digest()


def write_digest(dataset: Dataset, place: Path) -> None:
    """Write which samples `dataset` has, if code makes them: of other kinds the file, which every action reads, decides it."""
    if isinstance(dataset, PythonDataset):
        place.write_text(dataset.digest)


def refuse_other_samples(dataset: Dataset, written: Path) -> None:
    """Refuse other samples than those that `reference` ran on, perhaps in another process, which imports the function anew.

    Args:
        written: What `write_digest` wrote then.

    Raises:
        ConfigError: They are others.
    """
    if isinstance(dataset, PythonDataset) and written.read_text() != dataset.digest:
        raise ConfigError(f"{dataset.origin}: expected the samples that reference was run on, found others", _SEEDED)


@cache
def _copy_of(folder: Path) -> Path:
    """Return where the function runs: one place for dataset and calibration, since a process has one current folder."""
    return Path(tempfile.mkdtemp(prefix="samples-")).resolve()


def open_dataset(spec: PythonSamples, path: Path, where: str, signature: FrozenSignature | None = None) -> PythonDataset:
    """Import the function from the recipe's folder. See `mlkit_build.datasets.open_dataset`."""
    return PythonDataset(spec, path, where)
