"""Folders of files: which files are samples, and of which class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mlkit_build.bounded import is_file
from mlkit_build.datasets.classes import Classes
from mlkit_build.datasets.delimited import Table
from mlkit_build.datasets.records import Record
from mlkit_build.errors import ConfigError, SourceError, did_you_mean
from mlkit_build.printable import shown
from mlkit_build.recipe import ImageFolder, WavFolder
from mlkit_build.store import Tree


def records_of(spec: ImageFolder | WavFolder, root: Path, where: str) -> list[Record]:
    """Return a record for every file: those of the table, or those that end as such samples do.

    Raises:
        ConfigError: A label is none of the classes.
        SourceError: The folder or the table cannot be read, or a file of the table is not there.
    """
    if spec.table is not None:
        return _of_table(spec, root, where)
    listed = Tree(root).listed_for(f"{where}.path")
    names = [name for name in listed if name.lower().endswith(spec.suffixes)]
    if spec.label is None:
        return [Record(name, (root / name,), None) for name in names]
    folders = [name.rstrip("/") for name in listed if name.endswith("/") and name.count("/") == 1]
    classes = spec.classes or tuple(folders)
    if not folders:
        raise ConfigError(
            f"{where}.path: {root}: expected a folder for each class, found none",
            "make one, or name a CSV file of files and labels with `table`, or leave out `label` to measure parity only",
        )
    known = {name: index for index, name in enumerate(Classes(classes, where).names)}
    tops = [name.partition("/")[0] for name in names]
    for name, top in zip(names, tops, strict=True):
        if top == name:
            raise ConfigError(
                f"{where}.path: {shown(str(root / name))}: expected every file in the folder of its class, found it outside"
            )
    filled = set(tops)
    for folder in folders:
        place = shown(str(root / folder))
        if folder not in known:
            rename = "rename the folder, move it elsewhere, or state the names of the classes with `classes`"
            raise ConfigError(
                f"{where}.path: {place}: no class is called {folder!r}; there are {_some(classes)}",
                " ".join(filter(None, (did_you_mean(folder, list(classes)), rename))),
            )
        if folder not in filled:
            some = f"a class's files end with one of {', '.join(spec.suffixes)}"
            remove = "remove the folder" if spec.classes else "remove the folder, whose name counts as a class"
            raise ConfigError(f"{where}.path: {place}: expected files of this class, found none", f"{some}; {remove}")
    return [Record(name, (root / name,), known[top]) for name, top in zip(names, tops, strict=True)]


def named_by_table(spec: ImageFolder | WavFolder, root: Path, where: str) -> list[str]:
    """Return the files that the table names, relative to the folder, as it spells them.

    Raises:
        ConfigError, SourceError: As `records_of`.
    """
    return [record.place for record in _of_table(replace(spec, label=None), root, where)]


def _of_table(spec: ImageFolder | WavFolder, root: Path, where: str) -> list[Record]:
    assert spec.table is not None
    path = root / spec.table
    table = Table(path, f"{where}.table: {path}")
    column = table.positions((spec.file,), f"{where}.file")[0]
    label = table.positions((spec.label,), f"{where}.label")[0] if spec.label is not None else None
    classes, records = Classes(spec.classes, where), []
    for number, row in table.rows():
        name, place = row[column].strip(), f"{table.origin}: line {number}"
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ConfigError(f"{place}: expected a file in {root}, found {name!r}", "files are relative to `path`")
        if any(part.startswith(".") for part in Path(name).parts):
            raise ConfigError(f"{place}: {name!r} is hidden, and hidden files are no part of a dataset", "rename it")
        if not is_file(root / name):
            raise SourceError(
                f"{place}: expected a file at {shown(str(root / name))}, found nothing", "files are relative to `path`"
            )
        index = None if label is None else classes.index(row[label], f"{place}, column {spec.label!r}")
        records.append(Record(name, (root / name,), index))
    return records


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
