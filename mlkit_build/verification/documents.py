"""The documents of a bundle, read strictly: a bundle that somebody edited or made up must not get past its reader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from mlkit_build.bundle.manifest import SCHEMA, ActionEntry, FileEntry, MetricEntry
from mlkit_build.errors import ConfigError
from mlkit_build.formats.packing_list import SCHEMA as LIST_SCHEMA
from mlkit_build.forms import Hops
from mlkit_build.gates import Verdict
from mlkit_build.mlkit.app_view import AppView
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.records import dataclass
from mlkit_build.runtimes.verdicts import RuntimeVerdict
from mlkit_build.signature import FrozenSignature
from mlkit_build.strict_json import UnreadableError, read_json
from mlkit_build.verification.places import is_safe
from mlkit_build.verification.recipe import StatedRecipe, read_recipe

T = TypeVar("T")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class Stated:
    """What a manifest says of its bundle. See `mlkit_build.bundle.manifest.Manifest`.

    Attributes:
        recipe: As JSON, whatever version of the schema it is of.
        whole: The document as JSON.
    """

    name: str
    version: str
    variant: str
    recipe: Mapping[str, Any]
    signature: FrozenSignature
    inputs: tuple[FileEntry, ...]
    outputs: tuple[FileEntry, ...]
    actions: tuple[ActionEntry, ...]
    toolchain: Mapping[str, str]
    whole: Mapping[str, Any]


@dataclass(frozen=True)
class StatedInFull(Stated):
    """What a manifest says, every part of it of the type that it has to be.

    Attributes:
        said: What every version of the recipe says.
    """

    said: StatedRecipe
    metrics: Mapping[str, MetricEntry]
    gates: tuple[Verdict, ...]
    hops: Hops | None = None
    runtimes: tuple[RuntimeVerdict, ...] = ()
    skipped: tuple[str, ...] = ()
    app: AppView | None = None
    quantization: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PackingList:
    """What an archive for apps says of itself. See `mlkit_build.formats.packing_list`.

    Attributes:
        model: The entry that is the model.
        files: Every other entry than the statement.
    """

    schema: str
    name: str
    version: str
    variant: str
    model: str
    files: tuple[FileEntry, ...]


def read_manifest(data: bytes) -> Stated:
    """Return what a `manifest.json` says of its bundle's files and of what they were made of; the rest of it may be anything.

    Raises:
        UnreadableError: It is none, of a schema that is not known, or names files outside of the bundle.
    """
    found = read_json(data)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else type(found).__name__
        raise UnreadableError(f"expected the schema {SCHEMA!r}, found {schema!r}: another version of mlkit-build made it")
    stated = _typed(Stated, found, {"whole": found})
    _check_files("outputs", stated.outputs)
    _check_inputs(stated.inputs)
    for field in ("name", "version"):
        if stated.recipe.get(field) != found[field]:
            raise UnreadableError(f"{field} is {found[field]!r}, that of its recipe {stated.recipe.get(field)!r}")
    return stated


def read_in_full(data: bytes) -> StatedInFull:
    """Return what a `manifest.json` says, where all of it is what it has to be.

    Raises:
        UnreadableError: See `read_manifest`; or a part is missing, of another type, or not of the recipe in it.
    """
    stated = read_manifest(data)
    try:
        recipe = read_recipe(stated.recipe)
    except ConfigError as error:
        raise UnreadableError(error.message) from error
    if not recipe.names_variant(stated.variant):
        raise UnreadableError(f"variant is {stated.variant!r}, its recipe is of {recipe.variant or recipe.mode!r}")
    return _typed(StatedInFull, stated.whole, {"whole": stated.whole, "said": to_plain(recipe)})


def _typed(cls: type[T], found: Mapping[str, Any], derived: Mapping[str, Any]) -> T:
    """Return the fields of `cls` out of a document that has more. Raises UnreadableError."""
    known = {field.name: field for field in fields(cls) if field.name not in derived}  # type: ignore[arg-type]
    for name, field in known.items():
        if name not in found and field.default is MISSING:
            raise UnreadableError(f"{name}: missing")
    try:
        return from_plain(cls, {**{name: found[name] for name in known if name in found}, **derived})
    except ConfigError as error:
        raise UnreadableError(error.message) from error


def read_packing_list(data: bytes) -> PackingList:
    """Return what the statement in an archive for apps says.

    Raises:
        UnreadableError: It is none, of a schema that is not known, or names files outside of the archive.
    """
    found = read_json(data)
    if not isinstance(found, dict) or found.get("schema") != LIST_SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else type(found).__name__
        raise UnreadableError(f"expected the schema {LIST_SCHEMA!r}, found {schema!r}: another version of mlkit-build made it")
    try:
        contents = from_plain(PackingList, found)
    except ConfigError as error:
        raise UnreadableError(error.message) from error
    _check_files("files", contents.files)
    if contents.model not in {entry.path for entry in contents.files}:
        raise UnreadableError(f"model: expected one of its files, found {contents.model!r}")
    return contents


def read_checksums(data: bytes) -> dict[str, str]:
    """Return what a `SHA256SUMS` lists: file -> SHA-256.

    Raises:
        UnreadableError: A line is none of `sha256sum`.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError("expected UTF-8") from error
    if text and not text.endswith("\n"):
        raise UnreadableError("it is cut off: the last line has no end")
    named: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise UnreadableError(
                f"line {number}: expected 64 lower-case hex digits, two spaces and a file name, found {line[:80]!r}"
            )
        check_named(f"line {number}", match[2], match[1], named)
        named[match[2]] = match[1]
    if list(named) != sorted(named):
        raise UnreadableError("expected the files in the order of their names")
    return named


def _check_files(where: str, entries: tuple[FileEntry, ...]) -> None:
    named: dict[str, str] = {}
    for index, entry in enumerate(entries):
        check_named(f"{where}[{index}]", entry.path, entry.sha256, named)
        named[entry.path] = entry.sha256


def _check_inputs(entries: tuple[FileEntry, ...]) -> None:
    """An input may be the recipe's folder itself, lie beside it, and be the same file twice."""
    for index, entry in enumerate(entries):
        below = "/".join(part for part in entry.path.split("/") if part != "..")
        check_named(f"inputs[{index}]", "folder" if entry.path == "." else below, entry.sha256, {}, "near the recipe's folder")


def check_named(where: str, name: Any, sha256: Any, known: Mapping[str, str], place: str = "within the bundle") -> None:
    """Refuse the name and digest of a file as a document states them.

    Args:
        where: Where it does.
        known: What the document named before.
        place: Where files may be.

    Raises:
        UnreadableError: The name leads elsewhere or is among `known`, or the digest is none.
    """
    if not isinstance(name, str) or not is_safe(name):
        raise UnreadableError(f"{where}: expected a file {place}, found {name!r}")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise UnreadableError(f"{where}: {name}: expected a sha256 of 64 lower-case hex digits, found {sha256!r}")
    if name in known:
        raise UnreadableError(f"{where}: {name} is named twice")
