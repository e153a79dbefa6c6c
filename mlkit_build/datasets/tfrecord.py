"""`tfrecord`: examples in TFRecord files, read without TensorFlow. An encoded image's identity is that of its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets.classes import Classes
from mlkit_build.datasets.examples import Value, features_of, read
from mlkit_build.datasets.framing import records_in
from mlkit_build.datasets.images import Form, decoded
from mlkit_build.datasets.records import Record, RecordDataset, fitted, wanted_input
from mlkit_build.errors import ConfigError, SourceError, did_you_mean
from mlkit_build.pipeline.dataset_files import shards
from mlkit_build.recipe import ExampleFeature, TfRecord
from mlkit_build.signature import FrozenSignature
from mlkit_build.wire import WireError

_STORED_AS = {"float": "float", "int64": "int64", "image": "bytes", "raw": "bytes"}


class TfRecordDataset(RecordDataset):
    """An open file, or the shards of a folder. See `mlkit_build.datasets.Dataset`."""

    def __init__(self, spec: TfRecord, path: Path, where: str, signature: FrozenSignature | None) -> None:
        names = {feature: stated.key for feature, stated in spec.features.items()}
        super().__init__(f"{where}.path: {path}", names, labelled=spec.label is not None)
        if not names:
            raise ConfigError(f"{where}.features: expected a model input and its feature, found none")
        self._features = spec.features
        self._where = where
        self._in_folder = path.is_dir()
        self._files = [path / name for name in shards(path, spec.files)] if self._in_folder else [path]
        self._label = spec.label
        self._classes = Classes(spec.classes, where)
        self._forms = {
            feature: Form.of(wanted_input(signature, feature), spec.center_crop, f"{where}.features.{feature}")
            for feature, stated in spec.features.items()
            if stated.format == "image"
        }
        self._shapes = {feature: form.shape for feature, form in self._forms.items()}
        first = next(self._examples(), None)
        for feature, stored in zip(self.names, self._record(*first).stored if first else (), strict=False):
            if feature not in self._shapes:
                self._shapes[feature] = fitted(len(stored), wanted_input(signature, feature))
        self.settle(spec, path, where, "the file has no record")

    def shape(self, feature: str) -> tuple[int, ...]:
        return self._shapes[feature]

    def count(self) -> int:
        return sum(1 for _ in self._examples())

    def records(self) -> Iterator[Record]:
        for place, example in self._examples():
            yield self._record(place, example)

    def decode(self, feature: str, stored: Any, place: str) -> NDArray[Any]:
        if feature in self._forms:
            return decoded(stored, self._forms[feature], f"{self.origin}: {place}, feature {self.names[feature]!r}")
        size = int(np.prod(self._shapes[feature], dtype=np.int64))
        if len(stored) != size:
            raise SourceError(
                f"{self.origin}: {place}, feature {self.names[feature]!r}: expected {size} values, as in the first record, "
                f"found {len(stored)}"
            )
        values: NDArray[Any] = stored.reshape(self._shapes[feature])
        return values

    def _examples(self) -> Iterator[tuple[str, bytes]]:
        for file in self._files:
            beside = f"{file.name}, " if self._in_folder else ""
            name = f"{self.origin}: {file.name}" if beside else self.origin
            for number, data in enumerate(records_in(file, name)):
                yield f"{beside}record {number}", data

    def _record(self, place: str, example: bytes) -> Record:
        try:
            features = features_of(example)
            stored = tuple(self._stored(self._features[name], f"features.{name}", features, place) for name in self.names)
            return Record(place, stored, self._labelled_as(features, place) if self._label is not None else None)
        except WireError as error:
            raise SourceError(
                f"{self.origin}: {place}: expected a tf.train.Example, found something else: {error}",
                "other messages, such as SequenceExample, are read with kind python",
            ) from error

    def _stored(self, stated: ExampleFeature, field: str, features: dict[str, bytes], place: str) -> Any:
        kind, values = self._value(stated.key, field, features, place)
        expected = _STORED_AS[stated.format]
        if kind != expected:
            raise ConfigError(
                f"{self._where}.{field}.format: {stated.format!r} is read from a {expected} list, but in {place} "
                f"{stated.key!r} is a {kind or 'list of nothing'}{' list' if kind else ''}"
            )
        if expected != "bytes":
            return values
        if len(values) != 1:
            raise SourceError(f"{self.origin}: {place}: expected one value in {stated.key!r}, found {len(values)}")
        if stated.format == "image":
            return values[0]
        dtype = np.dtype(stated.type).newbyteorder("<")
        if len(values[0]) % dtype.itemsize:
            raise SourceError(f"{self.origin}: {place}: {len(values[0])} bytes in {stated.key!r} are no whole number of {dtype}")
        return np.frombuffer(values[0], dtype)

    def _value(self, key: str, field: str, features: dict[str, bytes], place: str) -> tuple[str, Value]:
        if key not in features:
            raise ConfigError(
                f"{self._where}.{field}: no feature {key!r} in {place} of {self.origin.partition(': ')[2]}; it has "
                f"{', '.join(sorted(features)[:8]) or 'none'}",
                did_you_mean(key, list(features)),
            )
        return read(features[key])

    def _labelled_as(self, features: dict[str, bytes], place: str) -> Any:
        assert self._label is not None
        kind, values = self._value(self._label, "label", features, place)
        name = f"{self.origin}: {place}, feature {self._label!r}"
        if not len(values) or (kind == "bytes" and len(values) != 1):
            raise ConfigError(f"{name}: expected numbers, or one name as the class, found {len(values)} of {kind or 'nothing'}")
        return self._classes.index(bytes(values[0]).decode("utf-8", "replace"), name) if kind == "bytes" else values


def open_dataset(spec: TfRecord, path: Path, where: str, signature: FrozenSignature | None = None) -> TfRecordDataset:
    """Open the file or folder. See `mlkit_build.datasets.open_dataset`."""
    return TfRecordDataset(spec, path, where, signature)
