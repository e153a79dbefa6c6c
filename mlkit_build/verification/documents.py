"""The documents of a bundle, read strictly: a bundle that somebody edited or made up must not get past its reader."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mlkit_build.bundle.manifest import SCHEMA, ActionEntry, FileEntry
from mlkit_build.errors import ConfigError
from mlkit_build.formats.packing_list import SCHEMA as LIST_SCHEMA
from mlkit_build.plain import from_plain
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature
from mlkit_build.verification.places import is_safe

MAX_BYTES = 64 << 20
"""More than any document of a bundle has."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"


class UnreadableError(Exception):
    """A document is not what it has to be: what was found, and what was expected."""


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


def read_json(data: bytes) -> Any:
    """Return what a JSON document says, with the mistakes refused that `json` lets pass.

    Raises:
        UnreadableError: It is no JSON in UTF-8, too large or too deep, has a key twice, or NaN or Infinity.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"expected at most {MAX_BYTES >> 20} MB, found more")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(f"expected JSON: {error}") from error


def read_manifest(data: bytes) -> Stated:
    """Return what a `manifest.json` says.

    Raises:
        UnreadableError: It is none, of a schema that is not known, or names files outside of the bundle.
    """
    found = read_json(data)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else type(found).__name__
        raise UnreadableError(f"expected the schema {SCHEMA!r}, found {schema!r}: another version of mlkit-build made it")
    try:
        known = {name: found[name] for name in Stated.__dataclass_fields__ if name != "whole"}
        stated = from_plain(Stated, {**known, "whole": found})
    except KeyError as error:
        raise UnreadableError(f"{error.args[0]}: missing") from error
    except ConfigError as error:
        raise UnreadableError(error.message) from error
    _check_files("outputs", stated.outputs)
    _check_inputs(stated.inputs)
    for field in ("name", "version"):
        if stated.recipe.get(field) != found[field]:
            raise UnreadableError(f"{field} is {found[field]!r}, that of its recipe {stated.recipe.get(field)!r}")
    return stated


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


def read_provenance(data: bytes) -> dict[str, str]:
    """Return what a `provenance.json` speaks for: file -> SHA-256.

    Raises:
        UnreadableError: It is no in-toto Statement v1 with a SLSA v1 predicate.
    """
    found = read_json(data)
    if not isinstance(found, dict) or (found.get("_type"), found.get("predicateType")) != (_STATEMENT, _PREDICATE):
        raise UnreadableError(f"expected an in-toto statement of the type {_STATEMENT} with {_PREDICATE}")
    subjects = found.get("subject")
    if not isinstance(subjects, list):
        raise UnreadableError("subject: expected a list")
    named: dict[str, str] = {}
    for index, subject in enumerate(subjects):
        digest = subject.get("digest") if isinstance(subject, dict) else None
        name: Any = subject.get("name") if isinstance(subject, dict) else None
        sha256: Any = digest.get("sha256") if isinstance(digest, dict) else None
        check_named(f"subject[{index}]", name, sha256, named)
        named[name] = sha256
    return named


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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise UnreadableError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _no_constant(text: str) -> Any:
    raise UnreadableError(f"expected a number, found {text}")
