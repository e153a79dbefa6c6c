"""`csv`: one row per sample, with the columns that make up each model input."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets.classes import Classes
from mlkit_build.datasets.delimited import Table
from mlkit_build.datasets.records import Record, RecordDataset, fitted, wanted_input
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.recipe import Csv
from mlkit_build.signature import FrozenSignature


class CsvDataset(RecordDataset):
    """An open table. See `mlkit_build.datasets.Dataset`."""

    def __init__(self, spec: Csv, path: Path, where: str, signature: FrozenSignature | None) -> None:
        names = {feature: _named(columns) for feature, columns in spec.features.items()}
        super().__init__(f"{where}.path: {path}", names, labelled=spec.label is not None)
        if not names:
            raise ConfigError(f"{where}.features: expected a model input and its columns, found none")
        self._table = Table(path, self.origin, header=spec.header, delimiter=spec.separator)
        self._positions: dict[str, list[int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._types: dict[str, np.dtype[Any]] = {}
        for feature in self.names:
            wanted = wanted_input(signature, feature)
            self._positions[feature] = self._table.positions(spec.features[feature], f"{where}.features.{feature}")
            self._shapes[feature] = fitted(len(self._positions[feature]), wanted)
            whole = wanted is not None and np.dtype(wanted.dtype).kind in "ui"
            self._types[feature] = np.dtype(spec.types.get(feature, "int64" if whole else "float32"))
        self._label = self._table.positions((spec.label,), f"{where}.label") if spec.label is not None else []
        self._classes = Classes(spec.classes if len(self._label) == 1 else (), where)
        self.settle(spec, path, where, "the file has no row below its header")

    def shape(self, feature: str) -> tuple[int, ...]:
        return self._shapes[feature]

    def count(self) -> int:
        return sum(1 for _ in self._table.rows())

    def records(self) -> Iterator[Record]:
        getters = {feature: itemgetter(*places) for feature, places in self._positions.items()}
        for number, row in self._table.rows():
            place = f"line {number}"
            stored = tuple(self._numbers(feature, getters[feature](row), row, place) for feature in self.names)
            label = [
                self._classes.index_or_number(row[index], f"{self.origin}: {place}, column {self._table.columns[index]!r}")
                for index in self._label
            ]
            yield Record(place, stored, label or None)

    def _numbers(self, feature: str, texts: Any, row: list[str], place: str) -> NDArray[Any]:
        wanted = self._types[feature]
        try:
            _refuse_pythons("".join(texts) if isinstance(texts, tuple) else texts)
            values: NDArray[Any] = np.array(texts, np.float64 if wanted.kind == "f" else np.int64)
            exact = values.astype(wanted) if wanted.kind == "f" else _within(values, wanted)
            if wanted.kind != "f" or np.isfinite(exact).all():
                return exact.reshape(self._shapes[feature])
        except (ValueError, OverflowError):
            pass
        for index in self._positions[feature]:
            if not _is_number(row[index], wanted):
                found = repr(row[index][:40]) if row[index].strip() else "nothing"
                what = f"a whole number of {wanted}" if wanted.kind in "ui" else "a finite number"
                raise SourceError(
                    f"{self.origin}: {place}, column {self._table.columns[index]!r}: expected {what}, found {found}",
                    "fill in what is missing as the model's training did, or leave the row out",
                )
        raise SourceError(f"{self.origin}: {place}: expected numbers of {wanted} for {feature!r}")


def _named(columns: tuple[str, ...]) -> str:
    return ", ".join(columns[:3]) + (", ..." if len(columns) > 3 else "")


def _within(values: NDArray[Any], wanted: np.dtype[Any]) -> NDArray[Any]:
    limits = np.iinfo(wanted)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise OverflowError
    return values.astype(wanted)


def _refuse_pythons(text: str) -> None:
    """Raise ValueError for what only Python reads as a number: `3_0`, a typo, and other alphabets' digits."""
    if "_" in text or not text.isascii():
        raise ValueError


def _is_number(text: str, wanted: np.dtype[Any]) -> bool:
    try:
        _refuse_pythons(text)
        if wanted.kind == "f":
            return bool(np.isfinite(np.float64(text).astype(wanted)))
        return int(np.iinfo(wanted).min) <= int(text) <= int(np.iinfo(wanted).max)
    except ValueError:
        return False


def open_dataset(spec: Csv, path: Path, where: str, signature: FrozenSignature | None = None) -> CsvDataset:
    """Open the file. See `mlkit_build.datasets.open_dataset`."""
    return CsvDataset(spec, path, where, signature)
