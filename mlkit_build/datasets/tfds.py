"""`tfds`: what TensorFlow Datasets prepared, read without it. An encoded image's identity is that of its bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets.array_records import array_records_in
from mlkit_build.datasets.choice import MAX_SAMPLE_BYTES
from mlkit_build.datasets.classes import Classes
from mlkit_build.datasets.examples import Value, features_of, read
from mlkit_build.datasets.framing import records_in
from mlkit_build.datasets.images import Form, class_map, decoded
from mlkit_build.datasets.records import Record, RecordDataset, fitted, wanted_input
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.recipe import Tfds
from mlkit_build.signature import FrozenSignature
from mlkit_build.tfds.features import IMAGE, NUMBERS, TEXT, Feature, class_names, feature_named, read_features
from mlkit_build.tfds.prepared import Piece, read_prepared
from mlkit_build.wire import WireError

_AGAIN = "prepare the dataset again, or fetch it again"
_Read = tuple[str, Value]
"""Of a feature in an example: what it is a list of, and the list."""
_VARIES = "where lengths differ, a function of the recipe's folder can cut and pad: kind python"


class TfdsDataset(RecordDataset):
    """An open dataset. See `mlkit_build.datasets.Dataset`.

    Args:
        path: The folder of its version.
    """

    def __init__(self, spec: Tfds, path: Path, where: str, signature: FrozenSignature | None) -> None:
        super().__init__(f"{where}.path: {path}", spec.features, labelled=spec.label is not None)
        if not self.names:
            raise ConfigError(f"{where}.features: expected a model input and its feature, found none")
        self._prepared = read_prepared(path, where)
        self._pieces = self._prepared.pieces(f"{where}.split", spec.split)
        features = read_features(path, where)
        self._features = {
            name: _fed(feature_named(features, stated, f"{where}.features.{name}", path), f"{where}.features.{name}")
            for name, stated in self.names.items()
        }
        self._label = feature_named(features, spec.label, f"{where}.label", path) if spec.label is not None else None
        self._classes = Classes(spec.classes if self._label and self._label.form == TEXT else (), where)
        self._asked = {feature.name for feature in (*self._features.values(), *([self._label] if self._label else []))}
        names = class_names(path, self._label, where) if self._label else ()
        self._numbers = renumbered(names, spec.classes, f"{where}.label")
        self._forms = {
            name: Form.of(wanted_input(signature, name), spec.center_crop, f"{where}.features.{name}")
            for name, feature in self._features.items()
            if feature.form == IMAGE
        }
        self._shapes: dict[str, tuple[int, ...]] = {name: form.shape for name, form in self._forms.items()}
        for name, feature in self._features.items():
            if feature.form == NUMBERS:
                self._shapes[name] = self._shape_of(name, feature, f"{where}.features.{name}", signature)
        self.settle(spec, path, where, "the split is empty")

    def shape(self, feature: str) -> tuple[int, ...]:
        return self._shapes[feature]

    def count(self) -> int:
        return sum(piece.end - piece.first for piece in self._pieces)  # a shard with more or fewer is refused when it is read

    def records(self) -> Iterator[Record]:
        for place, example in self._examples():
            features = self._read(example, place)
            stored = tuple(self._stored(self._features[name], features, place) for name in self.names)
            yield Record(place, stored, self._labelled_as(features, place) if self._label else None)

    def decode(self, feature: str, stored: Any, place: str) -> NDArray[Any]:
        origin = f"{self.origin}: {place}, feature {self.names[feature]!r}"
        if feature in self._forms:
            return decoded(stored, self._forms[feature], origin)
        return _numbers(stored, self._features[feature], self._shapes[feature], origin)

    def _examples(self) -> Iterator[tuple[str, bytes]]:
        for piece in self._pieces:
            file = self._prepared.folder / piece.shard.file
            records = self._records_of(piece, file, f"{self.origin}: {file.name}")
            for number, data in enumerate(records, piece.first):
                yield f"{file.name}, record {number}", data

    def _read(self, example: bytes, place: str) -> Mapping[str, _Read]:
        """Return the type and the values of each feature of an example that is asked for. Raises SourceError."""
        try:
            found = features_of(example)
            return {name: read(found[name]) for name in self._asked if name in found}
        except WireError as error:
            raise SourceError(f"{self.origin}: {place}: expected a tf.train.Example, found something else: {error}") from error

    def _records_of(self, piece: Piece, file: Path, name: str) -> Iterator[bytes]:
        shard = piece.shard
        if self._prepared.file_format == "array_record":
            yield from array_records_in(file, name, piece.first, piece.end, shard.samples)
            return
        count = 0
        for data in records_in(file, name):
            if piece.first <= count < piece.end:
                yield data
            count += 1
            if count == piece.end < shard.samples:
                return
            if count > shard.samples:
                break
        if count != shard.samples:
            found = f"{count}" if count < shard.samples else "more"
            raise SourceError(f"{name}: expected {shard.samples} samples, as dataset_info.json says, found {found}", _AGAIN)

    def _shape_of(self, name: str, feature: Feature, field: str, signature: FrozenSignature | None) -> tuple[int, ...]:
        """Return the shape of a sample's numbers. One that may vary must be what the model takes."""
        if None not in feature.shape:
            shape = tuple(size for size in feature.shape if size is not None)
            if _size(shape) * np.dtype(feature.dtype).itemsize > MAX_SAMPLE_BYTES:
                raise ConfigError(f"{field}: expected at most {MAX_SAMPLE_BYTES} bytes a sample, found the shape {list(shape)}")
            return shape
        place, example = next(self._examples())
        stored = self._stored(feature, self._read(example, place), place)
        wanted = wanted_input(signature, name)
        least = _size([size for size in feature.shape if size is not None])
        size = _size(wanted.shape[1:]) if wanted and isinstance(stored, bytes) else len(stored)
        shape = fitted(size, wanted)
        if size % max(least, 1) or (wanted and _size(shape) != _size(wanted.shape[1:])):
            raise ConfigError(
                f"{field}: {feature.name!r} has no fixed length, and {place} has {size} values; expected what the input takes, "
                f"{list(wanted.shape) if wanted else 'whole rows'}",
                _VARIES,
            )
        return shape

    def _stored(self, feature: Feature, features: Mapping[str, _Read], place: str) -> Any:
        """Return a feature's bytes, or its list of numbers."""
        kind, values = self._value(feature, features, place)
        expected = "bytes" if feature.form != NUMBERS or feature.encoding != "none" else "numbers"
        if (kind == "bytes") != (expected == "bytes") and (kind or len(values) or None not in feature.shape):
            raise SourceError(
                f"{self.origin}: {place}: expected {expected} in {feature.name!r}, as features.json says, found "
                f"{f'a list of {kind}' if kind else 'nothing'}",
                _AGAIN,
            )
        if expected == "numbers":
            return values
        if len(values) != 1:
            raise SourceError(f"{self.origin}: {place}: expected one value in {feature.name!r}, found {len(values)}", _AGAIN)
        return values[0]

    def _value(self, feature: Feature, features: Mapping[str, _Read], place: str) -> _Read:
        if feature.name not in features:
            why = "which samples may lack" if feature.optional else "as features.json says"
            hint = "" if feature.optional else _AGAIN
            raise SourceError(f"{self.origin}: {place}: expected {feature.name!r}, {why}, found none", hint)
        return features[feature.name]

    def _labelled_as(self, features: Mapping[str, _Read], place: str) -> Any:
        assert self._label is not None
        stored = self._stored(self._label, features, place)
        origin = f"{self.origin}: {place}, feature {self._label.name!r}"
        if self._label.form == IMAGE:
            return class_map(stored, origin)
        if self._label.form == TEXT:
            return self._classes.index(stored.decode("utf-8", "replace"), origin)
        values = _numbers(stored, self._label, None, origin)
        if self._numbers is None:
            return values
        if values.size and not 0 <= values.min() <= values.max() < len(self._numbers):
            raise SourceError(f"{origin}: expected a class below {len(self._numbers)}, found {values.ravel()[0]}", _AGAIN)
        return self._numbers[values]


def renumbered(names: Sequence[str], classes: Sequence[str], field: str) -> NDArray[np.int64] | None:
    """Return the model's number of each class of the dataset; None where both count alike, or one of them has no names.

    Args:
        names: Of the dataset's classes, in the order of their numbers.
        classes: Of the model's.

    Raises:
        ConfigError: A name stands elsewhere, and not every class can be found by its name.
    """
    places = {name: index for index, name in enumerate(classes)}
    moved = [index for index, name in enumerate(names) if name in places and tuple(classes[index : index + 1]) != (name,)]
    if not moved:
        return None
    if len(places) != len(classes):
        raise ConfigError(
            f"{field}: class {moved[0]} of the dataset is {names[moved[0]]!r}, which is another one of the recipe's classes, and "
            "some of these have the same name",
            "name them in the order of the dataset",
        )
    missing = [name for name in names if name not in places]
    if missing:
        name = names[moved[0]]
        raise ConfigError(
            f"{field}: class {moved[0]} of the dataset is {name!r}, which the recipe's classes have as {places[name]}, but they "
            f"lack {missing[0]!r}",
            "name every class as the dataset does, and they are found by their names; or none, and their numbers are taken",
        )
    return np.array([places[name] for name in names], np.int64)


def open_dataset(spec: Tfds, path: Path, where: str, signature: FrozenSignature | None = None) -> TfdsDataset:
    """Open the dataset in the folder of its version. See `mlkit_build.datasets.open_dataset`."""
    return TfdsDataset(spec, path, where, signature)


def _fed(feature: Feature, field: str) -> Feature:
    """Refuse what no model is fed: text. Raises ConfigError."""
    if feature.form == TEXT:
        raise ConfigError(f"{field}: expected an image or numbers, found {feature.name!r}, which is {feature.kind}")
    return feature


def _numbers(stored: Any, feature: Feature, shape: tuple[int, ...] | None, origin: str) -> NDArray[Any]:
    """Return numbers in their type and shape; without a shape that which `features.json` states, or flat where it varies."""
    dtype = np.dtype(feature.dtype)
    if shape is None:
        shape = tuple(-1 if size is None else size for size in feature.shape)
    values = (
        _unpacked(stored, feature, dtype, _size(shape), origin) if isinstance(stored, bytes) else _listed(stored, dtype, origin)
    )
    fits = len(values) % abs(_size(shape) or 1) == 0 if -1 in shape else len(values) == _size(shape)
    if not fits:
        raise SourceError(
            f"{origin}: expected {abs(_size(shape))} values, found {len(values)}", _VARIES if None in feature.shape else _AGAIN
        )
    return values.reshape(shape)


def _listed(values: NDArray[Any], dtype: np.dtype[Any], origin: str) -> NDArray[Any]:
    """Return a list of int64 or float32 in the type of the feature, which such a list was made of."""
    if dtype == np.uint64:
        return values.view(np.uint64)
    if (dtype.kind == "f") != (values.dtype.kind == "f"):
        raise SourceError(f"{origin}: expected {dtype}, as features.json says, found a list of {values.dtype}", _AGAIN)
    if dtype.kind in "ui" and dtype != np.int64 and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise SourceError(f"{origin}: expected values of {dtype}, found {values.min()} to {values.max()}", _AGAIN)
    return values.astype(dtype)


def _unpacked(data: bytes, feature: Feature, dtype: np.dtype[Any], size: int, origin: str) -> NDArray[Any]:
    """Return the numbers whose bytes are stored. Of compressed ones no more is inflated than there should be."""
    most = size * dtype.itemsize if size >= 0 else MAX_SAMPLE_BYTES
    if feature.encoding == "zlib":
        try:
            inflater = zlib.decompressobj()
            data = inflater.decompress(data, most + 1)
        except zlib.error as error:
            raise SourceError(f"{origin}: damaged: {error}", _AGAIN) from error
    if len(data) > most or len(data) % dtype.itemsize:
        raise SourceError(
            f"{origin}: expected {most} bytes of {dtype}, found {len(data)}" + (" or more" if len(data) > most else "")
        )
    return np.frombuffer(data, dtype.newbyteorder("<"))


def _size(shape: Sequence[int]) -> int:
    """Return how many numbers have the shape: below zero where a dimension is not known, in whose unit the others are."""
    size = 1
    for length in shape:
        size *= length
    return size
