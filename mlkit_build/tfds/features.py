"""What each feature of a prepared dataset is and how it is stored, as `features.json` says.

The format: `Feature` of `tensorflow_datasets/core/proto/feature.proto`, written as JSON, and before version 4.5 `{type, content}`
(`FeatureConnector.from_json`). Stored in a `tf.train.Example` under its path (`core/example_serializer.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkit_build.bounded import TEXT_BYTES, read_whole
from mlkit_build.errors import ConfigError, SourceError, did_you_mean
from mlkit_build.records import dataclass
from mlkit_build.tfds.json_files import read_object
from mlkit_build.tfds.prepared import FEATURES

NUMBERS, IMAGE, TEXT, OTHER = "numbers", "image", "text", "other"
"""The forms of a feature; what is `other` cannot be read here."""
TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
_DEEPEST = 32
_MOST_DIMENSIONS = 16
_LARGEST = 1 << 40
_AGAIN = "prepare the dataset again, or fetch it again"


@dataclass(frozen=True)
class Feature:
    """A feature of every sample.

    Attributes:
        name: With those of the dictionaries and sequences around it: `objects/bbox`.
        kind: What TensorFlow Datasets calls it, e.g. `ClassLabel`.
        form: How its values are read here.
        dtype: Of its values.
        shape: `None` where samples may differ.
        encoding: Of its numbers: `none` (a list of numbers), `bytes`, or `zlib`.
        labels_file: The file in which a class label's names are, where it has names.
        optional: Whether samples may lack it.
    """

    name: str
    kind: str
    form: str = OTHER
    dtype: str = ""
    shape: tuple[int | None, ...] = ()
    encoding: str = "none"
    labels_file: str = ""
    optional: bool = False


def read_features(folder: Path, where: str) -> dict[str, Feature]:
    """Return name -> feature of a prepared dataset.

    Args:
        where: The recipe's field, for messages.

    Raises:
        SourceError: `features.json` cannot be read, or is not what it should be; names the feature.
    """
    origin = f"{where}.path: {folder / FEATURES}"
    return {feature.name: feature for feature in _read(read_object(folder / FEATURES, origin), (), origin)}


def feature_named(features: Mapping[str, Feature], name: str, field: str, folder: Path) -> Feature:
    """Return the feature of that name.

    Args:
        field: The recipe's field that names it, for messages.

    Raises:
        ConfigError: There is none, or it is of a kind that is not read here.
    """
    if name not in features:
        some = ", ".join(list(features)[:12]) + (", ..." if len(features) > 12 else "")
        raise ConfigError(
            f"{field}: no feature {name!r} in {folder}; it has {some or 'none'}", did_you_mean(name, list(features))
        )
    feature = features[name]
    if feature.form == OTHER:
        stated = f"{feature.kind} of {feature.dtype}" if feature.dtype else feature.kind
        raise ConfigError(
            f"{field}: expected an image, numbers or a class label, found {name!r}, which is {stated}",
            "a function of the recipe's folder can read it with the library: kind python",
        )
    return feature


def class_names(folder: Path, feature: Feature, where: str) -> tuple[str, ...]:
    """Return the names of a class label in the order of their numbers; empty where it has none.

    Raises:
        SourceError: Their file cannot be read.
    """
    path = folder / feature.labels_file
    if not feature.labels_file or not path.exists():
        return ()
    try:
        text = read_whole(path, TEXT_BYTES, f"{where}.path: {path}").decode()
    except OSError as error:
        raise SourceError(f"{where}.path: {path}: cannot be read: {error.strerror}", _AGAIN) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}.path: {path}: expected UTF-8, found something else: {error}", _AGAIN) from error
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def _read(stated: Any, path: tuple[str, ...], origin: str) -> Iterator[Feature]:
    """Yield the features in one: itself, or those of a dictionary or a sequence."""
    name = "/".join(path)
    place = f"{origin}: {name or 'the dataset'}"
    if len(path) > _DEEPEST:
        raise SourceError(f"{origin}: {name[:80]}: nested too deeply", _AGAIN)
    kind, content = _content(stated, place)
    if kind == "FeaturesDict":
        inner = content.get("features", content)
        if not isinstance(inner, dict):
            raise SourceError(f"{place}: expected features by name, found {type(inner).__name__}", _AGAIN)
        for key, value in sorted(inner.items()):
            yield from _read(value, (*path, key), origin)
    elif kind == "Sequence":
        length = _dimension(content.get("length"), place)
        for feature in _read(content.get("feature"), path, origin):
            yield _repeated(feature, length)
    else:
        feature = _KINDS.get(kind, _other)(name, kind, content, place)
        yield replace(feature, labels_file=_labels_file(path)) if kind == "ClassLabel" else feature


def _content(stated: Any, place: str) -> tuple[str, Mapping[str, Any]]:
    """Return the kind of a feature, without the module of its class, and what is said of it."""
    found = stated if isinstance(stated, dict) else {}
    written = found.get("pythonClassName", found.get("type"))
    if not isinstance(written, str) or not written:
        raise SourceError(f"{place}: expected a feature with the name of its class, found {str(stated)[:60]}", _AGAIN)
    if "type" in found:
        content = found.get("content") or {}
        if isinstance(content, str):
            try:
                content = json.loads(content)
            except (ValueError, RecursionError):
                raise SourceError(f"{place}: expected JSON as its content, found {content[:60]!r}", _AGAIN) from None
    else:
        content = next((value for key, value in found.items() if key not in ("pythonClassName", "description")), {})
    if not isinstance(content, dict):
        raise SourceError(f"{place}: expected an object as its content, found {type(content).__name__}", _AGAIN)
    return written.rpartition(".")[2], content


def _numbers(name: str, kind: str, content: Mapping[str, Any], place: str) -> Feature:
    dtype = _dtype(content, "float32" if kind == "BBoxFeature" else "")
    shape = _shape(content, place) if "shape" in content or kind != "BBoxFeature" else (4,)
    if dtype in ("string", "object", "str", "bytes"):
        return Feature(name, kind, TEXT if shape == () else OTHER, "string", shape)
    encoding = str(content.get("encoding") or "none").lower()
    known = dtype in TYPES and encoding in ("none", "bytes", "zlib")
    readable = known and shape.count(None) < 2 and not content.get("lazyDecode")  # else a shape stands beside, or a sound file
    return Feature(name, kind, NUMBERS if readable else OTHER, dtype, shape, encoding, optional=content.get("optional") is True)


def _image(name: str, kind: str, content: Mapping[str, Any], place: str) -> Feature:
    dtype = _dtype(content, "uint8")
    # Images of floats are stored as if their four bytes were the colours of a PNG.
    return Feature(name, kind, IMAGE if dtype in ("uint8", "uint16") else OTHER, dtype, _shape(content, place) or (None, None, 3))


def _class_label(name: str, kind: str, content: Mapping[str, Any], place: str) -> Feature:
    return Feature(name, kind, NUMBERS, "int64")


def _text(name: str, kind: str, content: Mapping[str, Any], place: str) -> Feature:
    return Feature(name, kind, TEXT, "string")


def _other(name: str, kind: str, content: Mapping[str, Any], place: str) -> Feature:
    return Feature(name, kind)


_KINDS: dict[str, Callable[[str, str, Mapping[str, Any], str], Feature]] = {
    "Tensor": _numbers,
    "Scalar": _numbers,
    "BBoxFeature": _numbers,
    "Audio": _numbers,
    "Image": _image,
    "LabeledImage": _image,
    "ClassLabel": _class_label,
    "Text": _text,
}
"""Kind, as TensorFlow Datasets calls it -> its reader. Others are refused where a recipe names them."""


def _repeated(feature: Feature, length: int | None) -> Feature:
    """Return the feature of a sequence of such: numbers that are stored in one list."""
    plain = feature.form == NUMBERS and feature.encoding == "none" and None not in feature.shape
    return Feature(
        feature.name,
        f"Sequence of {feature.kind}",
        NUMBERS if plain else OTHER,
        feature.dtype,
        (length, *feature.shape),
        labels_file=feature.labels_file,
    )


def _labels_file(path: tuple[str, ...]) -> str:
    """Return where the names of a class label are (`convert_feature_name_to_filename`)."""
    file = "-".join(part.replace("/", ".") for part in path) + ".labels.txt"
    return "" if file.startswith(".") or "\0" in file or "\\" in file else file


def _dtype(content: Mapping[str, Any], default: str) -> str:
    return str(content.get("dtype") or default)[:40]


def _shape(content: Mapping[str, Any], place: str) -> tuple[int | None, ...]:
    stated = content.get("shape")
    sizes = stated.get("dimensions", []) if isinstance(stated, dict) else stated or []
    if not isinstance(sizes, list) or len(sizes) > _MOST_DIMENSIONS:
        raise SourceError(f"{place}: shape: expected at most {_MOST_DIMENSIONS} sizes, found {str(stated)[:60]}", _AGAIN)
    return tuple(_dimension(size, place) for size in sizes)


def _dimension(stated: Any, place: str) -> int | None:
    """Return a size; None where it is not known, which is written -1 or null."""
    if stated is None or str(stated) == "-1":
        return None
    text = str(stated)
    if not (text.isascii() and text.isdigit() and len(text) < 14 and int(text) <= _LARGEST):
        raise SourceError(f"{place}: shape: expected a size, found {text[:40]!r}", _AGAIN)
    return int(text)
