"""`python`: samples that a generator function of the recipe's folder yields. It runs in a copy of the folder, as sources do."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets.choice import MAX_SAMPLE_BYTES, MAX_SAMPLES
from mlkit_build.datasets.records import Record, RecordDataset
from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.recipe import PythonSamples
from mlkit_build.signature import FrozenSignature
from mlkit_build.sources.python import files, function_in_copy, raised


class PythonDataset(RecordDataset):
    """An imported function. See `mlkit_build.datasets.Dataset`."""

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
        self._first: bytes | None = None
        first = next(self.records(), None)
        self._shapes: dict[str, tuple[int, ...]] = {}
        if first is not None:
            self._shapes = {name: value.shape for name, value in zip(self.names, first.stored, strict=True)}
        self.settle(spec, path, where, "it yields nothing")
        self._expected = self._count

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
            if number == 0:
                self._refuse_another(record)
            yield record
        if self._expected not in (None, number + 1):
            raise ConfigError(
                f"{self.origin}: expected {self._expected} samples, as at its first call, found {number + 1}",
                "the function must yield the same samples whenever it is called",
            )

    def _refuse_another(self, first: Record) -> None:
        """Refuse another first sample than before: each form of the model would be measured on other samples."""
        found = self.identity(first)
        if self._first not in (None, found):
            raise ConfigError(
                f"{self.origin}: sample 0: expected the values of its first call, found others",
                "the function must yield the same samples whenever it is called: np.random.default_rng(0) has a seed, "
                "np.random.default_rng() has none",
            )
        self._first = found

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
        try:
            array = np.ascontiguousarray(self._of(sample, key, field, place)).reshape(np.shape(sample[key]))
        except (TypeError, ValueError):
            array = np.array(None)
        if array.dtype.hasobject or array.dtype.kind not in "buif" or array.nbytes > MAX_SAMPLE_BYTES:
            found = type(sample[key]).__name__
            raise ConfigError(f"{self.origin}: {place}: expected an array of numbers as {key!r}, found {found}")
        return array

    def _of(self, sample: Mapping[str, Any], key: str, field: str, place: str) -> Any:
        if key not in sample:
            known = [str(name) for name in sample]
            raise ConfigError(
                f"{self._where}.{field}: no {key!r} in {place} of {self._named}; it has {', '.join(known) or 'nothing'}",
                did_you_mean(key, known),
            )
        return sample[key]


@cache
def _copy_of(folder: Path) -> Path:
    """Return where the function runs: one place for dataset and calibration, since a process has one current folder."""
    return Path(tempfile.mkdtemp(prefix="samples-")).resolve()


def open_dataset(spec: PythonSamples, path: Path, where: str, signature: FrozenSignature | None = None) -> PythonDataset:
    """Import the function from the recipe's folder. See `mlkit_build.datasets.open_dataset`."""
    return PythonDataset(spec, path, where)
