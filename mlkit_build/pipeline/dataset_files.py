"""Which files a dataset consists of: found, fetched where they must be, and not read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlkit_build.bounded import is_file, is_folder
from mlkit_build.errors import SourceError
from mlkit_build.pipeline.missing import not_found
from mlkit_build.printable import shown
from mlkit_build.recipe import AnyDataset, Csv, ImageFolder, Npz, PythonSamples, Random, Tfds, TfRecord, WavFolder
from mlkit_build.store import Tree

Locate = Callable[[str, str | None, str], Path]
"""(URL or path, sha256, field) -> where it is on this machine. Raises SourceError."""


def dataset_files(dataset: AnyDataset, folder: Path, where: str, locate: Locate) -> Path | Tree:
    """Return the file, or the files of a folder.

    Args:
        folder: The recipe's folder.
        where: The recipe's field, `dataset` or `calibration`, for messages.
        locate: Finds what a URL names.

    Raises:
        SourceError: Something is missing; names the field and the path.
    """
    if isinstance(dataset, Random):
        return Tree(folder, ())
    if isinstance(dataset, PythonSamples):
        from mlkit_build.sources.python import files

        return Tree(folder, tuple(files(dataset, folder, where)))
    field, path = f"{where}.path", folder / (_from_home(dataset.path) if isinstance(dataset, Tfds) else dataset.path)
    if "://" in dataset.path or dataset.sha256 is not None:
        path = locate(dataset.path, dataset.sha256, field)
    if isinstance(dataset, (Npz, Csv)):
        return _file(field, path, dataset.path)
    if isinstance(dataset, Tfds):
        return _prepared(dataset, path, where)
    if isinstance(dataset, TfRecord) and not is_folder(path):
        return _file(field, path, dataset.path)
    if not is_folder(path):
        raise not_found(field, path, dataset.path, "folder")
    if isinstance(dataset, TfRecord):
        return Tree(path, _matching(f"{where}.files", path, dataset.files))
    if isinstance(dataset, (ImageFolder, WavFolder)):
        return _samples(dataset, path, where)
    stated = {f"{where}.features.{name}": file for name, file in dataset.features.items()}
    if dataset.label is not None:
        stated[f"{where}.label"] = dataset.label
    return Tree(path, tuple(sorted({_named(key, path, name) for key, name in stated.items()})))


def _samples(dataset: ImageFolder | WavFolder, path: Path, where: str) -> Tree:
    """Return the files of the folder that may be samples, its folders, which may be classes, and the table."""
    if dataset.table is None:
        return Tree(path, endings=dataset.suffixes)
    table = _named(f"{where}.table", path, dataset.table)

    def besides() -> list[str]:
        from mlkit_build.datasets.folders import named_by_table

        return [table, *named_by_table(dataset, path, where)]

    # The table's own ending keeps it from being read at every start, where nothing else is there to ask it about.
    return Tree(path, endings=(*dataset.suffixes, table.lower()), besides=besides)


def _file(field: str, path: Path, stated: str) -> Path:
    if is_file(path):
        return path
    raise not_found(field, path, stated)


def _named(field: str, folder: Path, name: str) -> str:
    """Return the name of a file in the folder, as it is written among others."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise SourceError(f"{field}: expected a file in {folder}, found {shown(repr(name))}", "it is relative to `path`")
    if not is_file(folder / name):
        error = not_found(field, folder / name, "")
        raise SourceError(error.message, error.hint or "it is relative to `path`")
    return Path(name).as_posix()


def _prepared(dataset: Tfds, path: Path, where: str) -> Tree:
    """Return the shards that the split asks for, and what says how they are read. Raises ConfigError too."""
    from mlkit_build.tfds.features import feature_named, read_features
    from mlkit_build.tfds.prepared import FEATURES, INFO, prepared_folder, read_prepared

    folder = prepared_folder(dataset, path, where)
    pieces = read_prepared(folder, where).pieces(f"{where}.split", dataset.split)
    names = {INFO, FEATURES, *(piece.shard.file for piece in pieces)}
    features = read_features(folder, where)
    for name, stated in dataset.features.items():
        feature_named(features, stated, f"{where}.features.{name}", folder)
    label = feature_named(features, dataset.label, f"{where}.label", folder) if dataset.label is not None else None
    if label and label.labels_file and is_file(folder / label.labels_file):
        names.add(label.labels_file)
    if missing := sorted(name for name in names if not is_file(folder / name)):
        raise SourceError(
            f"{where}.path: expected a file at {shown(str(folder / missing[0]))}, as {INFO} says, found nothing",
            f"{len(missing)} of the {len(names)} files are missing; fetch them, or prepare the dataset again",
        )
    return Tree(folder, tuple(sorted(names)))


def _from_home(stated: str) -> Path:
    try:
        return Path(stated).expanduser()
    except RuntimeError:  # nobody knows where the home of that user is
        return Path(stated)


def _matching(field: str, folder: Path, pattern: str) -> tuple[str, ...]:
    names = tuple(shards(folder, pattern))
    if not names:
        raise SourceError(f"{field}: no file of {folder} matches {pattern!r}", "e.g. `test-*.tfrecord`")
    return names


def shards(folder: Path, pattern: str) -> list[str]:
    """Return the names of the files of the folder that match, in order; hidden ones are not among them."""
    from fnmatch import fnmatch

    found = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path.name for path in found if fnmatch(path.name, pattern))
