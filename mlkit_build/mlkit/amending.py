"""Metadata for a `.tflite` by anyone: what is asked for, beside or in place of what the file says already."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.mlkit import metadata_schema as schema
from mlkit_build.mlkit.appended_archive import archive_of
from mlkit_build.mlkit.associated_files import DamagedArchiveError, cut, extracted, listed
from mlkit_build.mlkit.description import Metadata, Tensor
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.metadata import attach_tables, read_tables
from mlkit_build.mlkit.model_entry import weights_end
from mlkit_build.mlkit.model_file import opened
from mlkit_build.mlkit.parser_version import min_parser_version
from mlkit_build.mlkit.tables import label_files, options, tables_of, tensor_of
from mlkit_build.records import dataclass

_FILE = re.compile(rb"PK\x03\x04")
_SIGNATURE = re.compile(rb"PK(\x03\x04|\x01\x02|\x05\x06)")
"""What a zip archive's files, its directory and its end begin with."""
EXISTING = ("refuse", "keep", "replace")
"""What becomes of metadata that the file has: an error, nothing but what is missing is added, all of it goes."""


@dataclass(frozen=True)
class Amended:
    """What came of it.

    Attributes:
        model: The file.
        kept: What was asked for and is stated otherwise already, e.g. `name`.
        dropped: What the file said before and does not any more: names of files, and `metadata`.
    """

    model: bytes
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def amended(model: bytes, asked: Metadata, existing: str) -> Amended:
    """Return the model with what is asked for.

    Args:
        asked: One tensor for every input and output of the model, in its order.
        existing: One of `EXISTING`.

    Raises:
        ConfigError: The model has metadata or files, and `existing` is `refuse`.
        SourceError: What it has is damaged, or nothing can be added to it.
    """
    start, damage = _damaged(model)
    if damage and existing != "replace":  # it would stay behind, where nobody could read it
        raise SourceError(f"--existing {existing}: behind the model there is {damage}", "`--existing replace` drops it")
    files = listed(model)
    if existing == "replace":
        had = (*(("metadata",) if _states(model) else ()), *([damage] if damage else files))
        return Amended(attach_tables(_whole(model[:start]) if damage else model, *tables_of(asked)), dropped=had)
    found = read_tables(model)
    if found is None and not files:
        return Amended(attach_tables(model, *tables_of(asked)))
    if existing == "refuse":
        said = "no metadata" if found is None else f"metadata named {found.tables.name!r}"
        raise ConfigError(
            f"--existing: the file has {said} and the files {', '.join(files[:8]) or 'none'}",
            "`--existing keep` adds what is missing, `--existing replace` drops them",
        )
    if found is not None and found.unknown:
        raise SourceError(
            f"--existing keep: a newer writer stated something in {', '.join(found.unknown)} that would be lost",
            "`--existing replace` drops it",
        )
    twice = next((name for name, count in Counter(files).items() if count > 1), None)
    if twice is not None:
        raise SourceError(
            f"--existing keep: there are several files called {twice!r} behind the model, and only one could be kept",
            "`--existing replace` drops all of them",
        )
    try:
        return _completed(model, found.tables if found else schema.ModelMetadata(), asked)
    except DamagedArchiveError as error:
        raise SourceError(f"--existing keep: {error}", "`--existing replace` drops what cannot be read") from error


def _damaged(model: bytes) -> tuple[int | None, str]:
    """Return where an archive behind the model begins that nobody can read as a whole, and what it is; None and no word without
    one.

    One that is cut off has no record at its end to be found by: so the search begins behind the weights, which may hold anything.
    """
    try:
        behind = weights_end(model)
    except DamagedError:  # which is told when something is attached
        return None, ""
    found = _SIGNATURE.search(model, behind)
    damage = archive_of(model).damage if found else ""
    if not damage:
        found, damage = _FILE.search(cut(model), behind), "a zip archive that is cut off"
    return (found.start(), damage) if found else (None, "")


def _whole(model: bytes) -> bytes:
    """Return the model, from which an archive was cut. Raises SourceError where that was a part of it."""
    try:
        opened(model)
    except DamagedError as error:
        raise SourceError(f"the model is damaged: {error}") from error
    return model


def _states(model: bytes) -> bool:
    """Return whether the model has metadata, damaged ones too."""
    try:
        return read_tables(model) is not None
    except SourceError as error:
        if not error.message.startswith("metadata: damaged"):
            raise
        return True


def _completed(model: bytes, said: schema.ModelMetadata, asked: Metadata) -> Amended:
    """Return the model with what `said` lacks. Raises DamagedArchiveError, SourceError."""
    files = extracted(model) if listed(model) else {}
    kept = [field for field in _TEXTS if getattr(asked, field) and getattr(said, field) not in ("", getattr(asked, field))]
    texts = {field: getattr(said, field) or getattr(asked, field) for field in _TEXTS}
    graph, *others = said.subgraph_metadata or (schema.SubGraphMetadata(),)
    sides: dict[str, Any] = {}
    wanted, new = tables_of(asked)
    for side, tensors in (("input", asked.inputs), ("output", asked.outputs)):
        field = f"{side}_tensor_metadata"
        own = getattr(wanted.subgraph_metadata[0], field)
        there = getattr(graph, field) or tuple(schema.TensorMetadata() for _ in own)
        if len(there) != len(own):
            raise SourceError(
                f"--existing keep: Mismatch between number of {side} tensors ({len(own)}) and {side} tensors metadata "
                f"({len(there)}).",
                "`--existing replace` drops what is there",
            )
        made = [_merged(*row, new, files) for row in zip(there, own, tensors, strict=True)]
        sides[field] = tuple(table for table, _ in made)
        kept += [word for _, words in made for word in words]
    tables = replace(said, **texts, subgraph_metadata=(replace(graph, **sides), *others))
    least = max(min_parser_version(tables), said.min_parser_version, key=_version)
    return Amended(attach_tables(model, replace(tables, min_parser_version=least), files), kept=tuple(kept))


_TEXTS = ("name", "description", "version", "author", "license")


def _merged(
    there: schema.TensorMetadata, own: schema.TensorMetadata, asked: Tensor, new: Mapping[str, bytes], files: dict[str, bytes]
) -> tuple[schema.TensorMetadata, list[str]]:
    """Return the table of a tensor with what it lacks, and what was asked for but is there already. Puts files into `files`."""
    said = tensor_of(there, files)
    kept = [word for word, field in _SAID.items() if getattr(asked, field) and _differs(said, asked, field)]
    units = list(there.process_units)
    units += [unit for unit in own.process_units if unit.options and options(there, type(unit.options)) is None]
    beside = []
    for file in own.associated_files:
        at_hand = {other.locale for other in label_files(there)}
        labels = file.type == schema.FileType.TENSOR_AXIS_LABELS
        if (labels and at_hand and (not file.locale or file.locale in at_hand)) or (not labels and said.score_calibration):
            continue
        if labels and said.labels and len(asked.locales.get(file.locale, asked.labels)) != len(said.labels):
            raise SourceError(
                f"--labels: expected {len(said.labels)} labels in the language {file.locale!r}, as many as the file has, found "
                f"{len(asked.locales.get(file.locale, asked.labels))}"
            )
        name = _free(file.name, files)
        files[name] = new[file.name]
        beside.append(replace(file, name=name))
    content = there.content if there.content and there.content.content_properties else own.content
    table = replace(
        there,
        name=there.name or own.name,
        description=there.description or own.description,
        content=content if asked.color is not None else there.content,
        process_units=tuple(units),
        stats=there.stats or (None if said.mean and said.mean != asked.mean else own.stats),
        associated_files=(*there.associated_files, *beside),
    )
    return table, kept


_SAID = {
    "mean": "mean",
    "std": "std",
    "labels": "labels",
    "score threshold": "score_threshold",
    "score calibration": "score_calibration",
}


def _differs(said: Tensor, asked: Tensor, field: str) -> bool:
    """Return whether a tensor states something else than what is asked for."""
    there: Any = getattr(said, field)
    wanted: Any = getattr(asked, field)
    if there in (None, ()):
        return False
    if field in ("mean", "std"):
        return {*there} != {*wanted} if 1 in (len(there), len(wanted)) else bool(there != wanted)
    if field == "score_threshold":
        return bool(abs(there - wanted) > 1e-6)  # the file holds float32
    return bool(there != wanted)


def _free(name: str, files: Mapping[str, Any]) -> str:
    """Return the name, or one like it that no file has."""
    stem, _, suffix = name.rpartition(".")
    return next(
        free for number in range(len(files) + 1) if (free := f"{stem}_{number}.{suffix}" if number else name) not in files
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))
