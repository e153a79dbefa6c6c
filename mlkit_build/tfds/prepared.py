"""The folder of a prepared dataset: which version it is, and which shards hold which samples, as `dataset_info.json` says.

Nothing is downloaded or prepared. The format: `DatasetInfo` and `SplitInfo` of `tensorflow_datasets/core/proto/
dataset_info.proto`, written as JSON; the names of shards: `ShardedFileTemplate` in `core/naming.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.errors import ConfigError, SourceError, did_you_mean
from mlkit_build.recipe import Tfds
from mlkit_build.records import dataclass
from mlkit_build.tfds.json_files import read_object
from mlkit_build.tfds.slices import Slice, slices_of

INFO, FEATURES = "dataset_info.json", "features.json"
READ_FORMATS = ("tfrecord", "array_record")
_DEFAULT_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_LONGEST_NAME = 255
"""What a name of a file may have, as Linux, macOS and Windows say."""
_MOST_IN_SHARD = 1 << 40
_AGAIN = "prepare the dataset again, or fetch it again"


@dataclass(frozen=True)
class Shard:
    """A file of a split.

    Attributes:
        file: Its name.
        samples: How many it holds, as `dataset_info.json` says.
    """

    file: str
    samples: int


@dataclass(frozen=True)
class Piece:
    """What is read of a shard: the samples from `first` on, the one at `end` not among them."""

    shard: Shard
    first: int
    end: int


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset.

    Attributes:
        folder: Where it is.
        file_format: Of the shards.
        splits: Name -> its shards, in order.
    """

    folder: Path
    file_format: str
    splits: Mapping[str, tuple[Shard, ...]]

    def pieces(self, field: str, split: str) -> tuple[Piece, ...]:
        """Return what of which shards the recipe's `split` asks for, in its order.

        Args:
            field: The recipe's field, for messages.

        Raises:
            ConfigError: There is no such split, or it has less than is asked, or nothing.
        """
        lengths = {name: [shard.samples for shard in shards] for name, shards in self.splits.items()}
        pieces = tuple(piece for part in slices_of(field, split, lengths) for piece in self._pieces(part))
        if not pieces:
            raise ConfigError(f"{field}: expected samples in {split!r} of {self.folder}, found none", "ask for more of it")
        return pieces

    def _pieces(self, part: Slice) -> list[Piece]:
        found, start = [], 0
        for shard in self.splits[part.split]:
            first, end = max(0, part.first - start), min(shard.samples, part.end - start)
            if first < end:
                found.append(Piece(shard, first, end))
            start += shard.samples
        return found


def prepared_folder(spec: Tfds, path: Path, where: str) -> Path:
    """Return the folder of the version that the recipe means.

    Args:
        path: The recipe's `path`, on this machine.
        where: The recipe's field, for messages.

    Raises:
        ConfigError: It is not prepared, or several are meant; says how it is prepared, or which there are.
    """
    if spec.name is None:
        if (path / INFO).is_file():
            return path
        inside = [folder.relative_to(path).as_posix() for folder in _prepared_below(path)]
        raise ConfigError(
            f"{where}.path: {path}: expected a dataset that TensorFlow Datasets prepared, with {INFO}, found none",
            f"it holds {', '.join(inside[:5])}: name one of them"
            if inside
            else f"state {where}.name, or prepare it: {_how('NAME', path)}",
        )
    name = spec.name + (f"/{spec.config}" if spec.config else "")
    folders = _prepared_below(path / spec.name)
    found = [folder for folder in folders if _fits(folder.relative_to(path / spec.name).parts, spec)]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(folder.relative_to(path).as_posix() for folder in found[:8])
        field = "version" if len({folder.parent for folder in found}) == 1 else "config"
        raise ConfigError(f"{where}.{field}: expected one of several that are prepared: {several}", f"state {where}.{field}")
    asked = name + (f":{spec.version}" if spec.version else "")
    others = [folder.relative_to(path).as_posix() for folder in folders]
    nearest = did_you_mean(spec.name, sorted(entry.name for entry in path.iterdir())) if path.is_dir() and not others else ""
    raise ConfigError(
        f"{where}: {asked} is not prepared in {path}" + (f", which has {', '.join(others[:8])}" if others else ""),
        nearest or f"prepare it: {_how(asked, path)}",
    )


def read_prepared(folder: Path, where: str) -> Prepared:
    """Return what `dataset_info.json` in the folder says.

    Args:
        where: The recipe's field, for messages.

    Raises:
        ConfigError: Its shards are in a format that is not read here.
        SourceError: The file cannot be read, or is not what it should be; names file and field.
    """
    origin = f"{where}.path: {folder / INFO}"
    info = read_object(folder / INFO, origin)
    name, file_format = info.get("name", ""), info.get("fileFormat") or "tfrecord"
    if file_format not in READ_FORMATS:
        raise ConfigError(
            f"{origin}: fileFormat: expected {' or '.join(READ_FORMATS)}, found {file_format!r}",
            "prepare it in a folder of its own with `file_format='tfrecord'`",
        )
    splits = info.get("splits")
    if not isinstance(splits, list):
        raise SourceError(f"{origin}: splits: expected a list, found {type(splits).__name__}", _AGAIN)
    read = [_split(split, f"{origin}: splits[{index}]", str(name), file_format) for index, split in enumerate(splits)]
    return Prepared(folder, file_format, dict(read))


def _split(split: Any, place: str, dataset: str, file_format: str) -> tuple[str, tuple[Shard, ...]]:
    name = split.get("name") if isinstance(split, dict) else None
    if not isinstance(name, str):
        raise SourceError(f"{place}: expected a split with a name, found {str(split)[:60]}", _AGAIN)
    lengths, template = split.get("shardLengths") or [], split.get("filepathTemplate") or _DEFAULT_TEMPLATE
    if not isinstance(lengths, list) or not isinstance(template, str):
        raise SourceError(f"{place}: expected shardLengths as a list and filepathTemplate as a text", _AGAIN)
    shards = []
    digits = max(5, len(str(len(lengths))))
    for index, length in enumerate(lengths):
        if not str(length).isascii() or not str(length).isdigit() or len(str(length)) > 12 or int(length) > _MOST_IN_SHARD:
            raise SourceError(f"{place}.shardLengths[{index}]: expected a number of samples, found {str(length)[:40]!r}", _AGAIN)
        numbers = {"SHARD_INDEX": f"{index:0{digits}}", "NUM_SHARDS": f"{len(lengths):0{digits}}"}
        values = {"DATASET": dataset, "SPLIT": name, "FILEFORMAT": file_format, **numbers}
        values["SHARD_X_OF_Y"] = f"{numbers['SHARD_INDEX']}-of-{numbers['NUM_SHARDS']}"
        file = template
        for variable, value in values.items():
            file = file.replace(f"{{{variable}}}", value)
        if not 0 < len(file) <= _LONGEST_NAME or file.startswith(".") or set(file) & set("/\\\0{}"):
            raise SourceError(f"{place}.filepathTemplate: expected names of files in this folder, found {file[:80]!r}", _AGAIN)
        shards.append(Shard(file, int(length)))
    return name, tuple(shards)


def _prepared_below(folder: Path) -> list[Path]:
    """Return the prepared versions below the folder: `version`, `config/version`, or with the name before them."""
    found = (info.parent for depth in (1, 2, 3) for info in folder.glob("/".join(["*"] * depth + [INFO])))
    return sorted(version for version in found if _VERSION.fullmatch(version.name))


def _fits(parts: tuple[str, ...], spec: Tfds) -> bool:
    *config, version = parts
    return spec.version in (None, version) and (spec.config is None or config == [spec.config])


def _how(name: str, data_dir: Path) -> str:
    """Return the command that prepares a dataset. The library's own command line needs Apache Beam for anything."""
    made = f"tfds.builder('{name}', data_dir='{data_dir}').download_and_prepare()"
    return f'`python -c "import tensorflow_datasets as tfds; {made}"`'
