"""Every check of a dataset's description that needs no file."""

from __future__ import annotations

import math
import re

from mlkit_build.errors import ConfigError, did_you_mean, expect_one_of
from mlkit_build.recipe.datasets import (
    AnyDataset,
    Csv,
    ImageFolder,
    Npy,
    Npz,
    PythonSamples,
    Random,
    Tfds,
    TfRecord,
    WavFolder,
)
from mlkit_build.recipe.schema import Signature

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")
NUMBERS = (*INTEGERS, "float16", "float32", "float64")
ON_ERROR = ("fail", "skip")
FORMATS = ("float", "int64", "image", "raw")
MOST_SECONDS = 31_536_000
BY_FOLDER = "folder"
"""The `label` that says that each folder is a class."""
_SPLIT = re.compile(r"([0-9]+(?:\.[0-9]+)?):([0-9]+(?:\.[0-9]+)?)%")
_WORD = re.compile(r"[A-Za-z0-9_]{1,200}")
_CONFIG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,199}")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_STATED_AS = {
    Npz: "<array>",
    Npy: "<file>.npy",
    Csv: "[<column>, ...]",
    TfRecord: "{key: ..., format: ...}",
    Random: "{}",
    Tfds: "<feature>",
}


def check_dataset(where: str, dataset: AnyDataset | None, signature: Signature) -> None:
    """Refuse a dataset whose description contradicts itself or the signature.

    Args:
        where: `dataset` or `calibration`.

    Raises:
        ConfigError: Names the field, what was found, and what was expected.
    """
    if dataset is None:
        return
    _check_inputs(where, dataset, signature)
    if dataset.samples is not None and dataset.samples < 1:
        raise ConfigError(f"{where}.samples: expected at least 1, found {dataset.samples}")
    if isinstance(dataset, Tfds):
        _check_tfds(where, dataset)
    elif dataset.split is not None:
        split_ends(f"{where}.split", dataset.split)
    _check_place(where, dataset)
    if isinstance(dataset, (ImageFolder, WavFolder, TfRecord, Tfds)):
        expect_one_of(f"{where}.on_error", dataset.on_error, ON_ERROR)
    if isinstance(dataset, (ImageFolder, WavFolder)):
        _check_folder(where, dataset)
    elif isinstance(dataset, Csv):
        _check_csv(where, dataset)
    elif isinstance(dataset, TfRecord):
        for name, feature in dataset.features.items():
            expect_one_of(f"{where}.features.{name}.format", feature.format, FORMATS)
            expect_one_of(f"{where}.features.{name}.type", feature.type, NUMBERS)
    elif isinstance(dataset, Random):
        _check_random(where, dataset)


def _check_inputs(where: str, dataset: AnyDataset, signature: Signature) -> None:
    single = isinstance(dataset, (ImageFolder, WavFolder))
    for name in dataset.inputs if signature.inputs else ():
        if name not in signature.inputs:
            field = f"{where}.input" if single else f"{where}.features.{name}"
            raise ConfigError(
                f"{field}: no such input{f' {name!r}' if single else ''}; expected one of {', '.join(signature.inputs)}",
                did_you_mean(name, list(signature.inputs)),
            )
    for name in signature.inputs:
        if name not in dataset.inputs:
            if single:
                hint = "a folder of files feeds one input; use another kind for a model with several"
            else:
                hint = f"add `{name}: {_STATED_AS.get(type(dataset), '<name>')}`"
            raise ConfigError(f"{where}.features: nothing feeds the input {name!r}", hint)


def _check_place(where: str, dataset: AnyDataset) -> None:
    if isinstance(dataset, PythonSamples):
        check_function(f"{where}.function", dataset.function, "data.py:samples")
        check_timeout(f"{where}.timeout_s", dataset.timeout_s)
    elif not isinstance(dataset, Random):
        if not dataset.path:
            raise ConfigError(f"{where}.path: expected a path, found an empty text")
        check_sha256(f"{where}.sha256", dataset.sha256)


def split_ends(field: str, split: str) -> tuple[float, float]:
    """Return where a part begins and ends, in percent. Raises ConfigError."""
    found = _SPLIT.fullmatch(split)
    low, high = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    if not low < high <= 100:
        raise ConfigError(f"{field}: expected a part as `FROM:TO%`, within 0:100%, found {split!r}", "e.g. `80:100%`")
    return low, high


def check_function(field: str, function: str, example: str) -> None:
    """Refuse what is not `FILE.py:NAME`."""
    file, colon, name = function.partition(":")
    if not (colon and file.endswith(".py") and name.isidentifier()):
        raise ConfigError(f"{field}: expected `FILE.py:NAME`, found {function!r}", f"e.g. `{example}`")


def check_timeout(field: str, seconds: float) -> None:
    """Refuse what no clock can wait for."""
    if not 0 < seconds <= MOST_SECONDS:
        limit = "above 0" if seconds <= 0 else f"of at most {MOST_SECONDS}, which are a year"
        raise ConfigError(f"{field}: expected seconds {limit}, found {seconds:g}")


def check_sha256(field: str, sha256: str | None) -> None:
    """Refuse what is not a SHA-256."""
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise ConfigError(f"{field}: expected 64 hexadecimal digits, found {sha256!r}", "`sha256sum FILE` prints them")


def _check_folder(where: str, dataset: ImageFolder | WavFolder) -> None:
    if dataset.label is not None and dataset.table is None and dataset.label != BY_FOLDER:
        raise ConfigError(
            f"{where}.label: expected {BY_FOLDER!r}, since there is no table with columns, found {dataset.label!r}",
            f"name the CSV file with {where}.table, or write `label: {BY_FOLDER}` for a folder per class",
        )
    if isinstance(dataset, WavFolder) and dataset.sample_rate < 1:
        raise ConfigError(f"{where}.sample_rate: expected a number of Hz above 0, found {dataset.sample_rate}")


def _check_tfds(where: str, dataset: Tfds) -> None:
    from mlkit_build.tfds.slices import parts_of

    parts_of(f"{where}.split", dataset.split)
    for field, pattern, example in (("name", _WORD, "mnist"), ("config", _CONFIG, "small"), ("version", _VERSION, "3.0.1")):
        stated = getattr(dataset, field)
        if stated is None:
            continue
        if not pattern.fullmatch(stated):
            raise ConfigError(
                f"{where}.{field}: expected a {field} such as `{example}`, found {stated!r}",
                "name, config and version are fields of their own" if set(stated) & set("/:") else "",
            )
        if dataset.name is None:
            raise ConfigError(f"{where}.{field}: expected {where}.name beside it, found none", "or leave it out: path says which")


def _check_csv(where: str, dataset: Csv) -> None:
    if len(dataset.separator) != 1 or dataset.separator in '\r\n"':
        raise ConfigError(f"{where}.delimiter: expected one character, found {dataset.delimiter!r}", 'a tab is written "\\t"')
    for name, kind in dataset.types.items():
        expect_one_of(f"{where}.types", name, tuple(dataset.features))
        expect_one_of(f"{where}.types.{name}", kind, NUMBERS)
    for name, columns in dataset.features.items():
        if not columns:
            raise ConfigError(f"{where}.features.{name}: expected columns, found none", "e.g. `[width, height]` or `[0..783]`")


def _check_random(where: str, dataset: Random) -> None:
    if dataset.seed < 0:
        raise ConfigError(f"{where}.seed: expected at least 0, found {dataset.seed}")
    for name, drawn in dataset.features.items():
        field = f"{where}.features.{name}"
        expect_one_of(f"{field}.type", drawn.type, ("float32", *INTEGERS))
        if drawn.min > drawn.max:
            raise ConfigError(f"{field}: expected min not above max, found {drawn.min:g} and {drawn.max:g}")
        if drawn.type != "float32":
            if math.ceil(drawn.min) > math.floor(drawn.max):
                found = f"{drawn.min:g} to {drawn.max:g}"
                raise ConfigError(f"{field}: expected a range with an integer in it, as the type is {drawn.type}, found {found}")
            bits, least = int(drawn.type.lstrip("uint")), 0
            if not drawn.type.startswith("u"):
                bits, least = bits - 1, -(2 ** (bits - 1))
            if drawn.min < least or drawn.max > 2**bits - 1:
                raise ConfigError(f"{field}: expected values of {drawn.type}, found {drawn.min:g} to {drawn.max:g}")
