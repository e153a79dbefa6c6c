"""`recipe.lock`: sorted JSON with a line for everything that somebody may have to review. Read strictly, written whole."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlkit_build.bounded import read_regular
from mlkit_build.bundle.manifest import FileEntry
from mlkit_build.bundle.portable import plain_recipe
from mlkit_build.errors import ConfigError, StoreError
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.printable import shown
from mlkit_build.recipe import LOCK_FILE, Recipe
from mlkit_build.records import dataclass
from mlkit_build.store import Digest
from mlkit_build.strict_json import MAX_BYTES, UnreadableError, read_json
from mlkit_build.verification.documents import Stated

SCHEMA = "mlkit-build/lock/v1"
_LINE = re.compile(r"[0-9a-f]{64}  .+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RENEW = "if it cannot be mended, remove it and run `mlkit-build lock` for each of its variants"


@dataclass(frozen=True)
class LockedVariant:
    """What one variant is made of, and what comes of it.

    Attributes:
        settings: The resolved recipe, dotted field -> value; what is null or empty is left out. URLs are without secrets.
        inputs: Every file that the recipe names, each as `sha256sum` prints it, sorted by name.
        toolchain: Tool -> version.
        outputs: Every file of the bundle that is the same in equal builds, likewise.
        manifest: SHA-256 of the bundle's manifest, which stands for all of this and for what was measured.
    """

    settings: Mapping[str, Any]
    inputs: tuple[str, ...]
    toolchain: Mapping[str, str]
    outputs: tuple[str, ...]
    manifest: str


@dataclass(frozen=True)
class Lock:
    """The content of `recipe.lock`.

    Attributes:
        schema: `mlkit-build/lock/v1`.
        recipe: The recipe's name.
        variants: By name.
    """

    schema: str
    recipe: str
    variants: Mapping[str, LockedVariant]

    def to_bytes(self) -> bytes:
        """Return the file's bytes; equal locks, equal bytes."""
        return (_spelled(to_plain(self)) + "\n").encode()


def locked_variant(stated: Stated, manifest: bytes) -> LockedVariant:
    """Return what a bundle's manifest says, as a lock keeps it."""
    return LockedVariant(
        settings=settings_of(stated.recipe),
        inputs=listed(stated.inputs),
        toolchain=stated.toolchain,
        outputs=listed(stated.outputs),
        manifest=Digest.of_bytes(manifest).sha256,
    )


def settings_of(recipe: Recipe | Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe's fields as dotted names, without those that are null or empty."""
    return dict(_flat(plain_recipe(recipe) if isinstance(recipe, Recipe) else recipe, ""))


def listed(entries: Sequence[FileEntry]) -> tuple[str, ...]:
    """Return files as `sha256sum` prints them, sorted by name."""
    return tuple(f"{entry.sha256}  {entry.path}" for entry in sorted(entries, key=lambda entry: (entry.path, entry.sha256)))


def read_lock(folder: Path, recipe: str) -> Lock | None:
    """Return the lock of the recipe in a folder; None without one.

    Raises:
        ConfigError: It is damaged, of a schema that is not known, or of another recipe.
    """
    file = folder / LOCK_FILE
    try:
        found = read_json(read_regular(file, MAX_BYTES + 1))
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            schema = found.get("schema") if isinstance(found, dict) else type(found).__name__
            raise UnreadableError(f"schema: expected {SCHEMA!r}, found {schema!r}")
        lock = from_plain(Lock, found)
        for name, variant in lock.variants.items():
            _check(f"variants.{name}", variant)
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = (
            "check its permissions"
            if isinstance(error, PermissionError)
            else "move it away: the lock is a file, or a link to one"
        )
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", hint) from error
    except UnreadableError as error:
        raise ConfigError(f"{file}: {shown(str(error))}", _RENEW) from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {shown(error.message)}", _RENEW) from error
    if lock.recipe != recipe:
        raise ConfigError(
            f"{file}: recipe: expected {recipe!r}, found {lock.recipe!r}: it is the lock of another recipe",
            "remove it and run `mlkit-build lock`; a copied recipe needs a lock of its own",
        )
    return lock


def write_variant(folder: Path, recipe: str, name: str, variant: LockedVariant) -> None:
    """Add or replace one variant of a recipe's lock; the others stay. The file, or what a link there leads to, is
    replaced as a whole.

    Raises:
        ConfigError: The lock that is there cannot be read.
        StoreError: The folder cannot be written.
    """
    try:
        with _alone(folder):
            before = read_lock(folder, recipe)
            variants = {**(before.variants if before else {}), name: variant}
            _replace(Path(os.path.realpath(folder / LOCK_FILE)), Lock(SCHEMA, recipe, variants).to_bytes())
    except OSError as error:
        raise StoreError(
            f"lock: {folder / LOCK_FILE}: {error.strerror or error}; the lock there before is untouched",
            "the lock is kept beside the recipe: copy its folder to one that you can write",
        ) from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from adding their variant at the same time, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(file: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fchmod(opened.fileno(), 0o644)
            os.fsync(opened.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _check(where: str, variant: LockedVariant) -> None:
    for field in ("inputs", "outputs"):
        for index, line in enumerate(getattr(variant, field)):
            if not _LINE.fullmatch(line):
                raise ConfigError(f"{where}.{field}[{index}]: expected 64 hex digits, two spaces and a name, found {line[:80]!r}")
        names = [(line[66:], line[:64]) for line in getattr(variant, field)]
        if names != sorted(names):
            raise ConfigError(f"{where}.{field}: expected the files in the order of their names, found another")
    if not _SHA256.fullmatch(variant.manifest):
        raise ConfigError(f"{where}.manifest: expected 64 hex digits, found {variant.manifest[:80]!r}")


def _flat(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(item, f"{where}.{name}" if where else str(name))
    elif value not in (None, "", []):
        yield where, value


def _spelled(value: Any, indent: str = "") -> str:
    """Return sorted JSON: mappings and lists of files have a line per entry, a setting has one."""
    within = indent + "  "
    if isinstance(value, dict) and value:
        entries = [f"{_one_line(key)}: {_spelled(item, within)}" for key, item in sorted(value.items())]
        return "{\n" + ",\n".join(f"{within}{entry}" for entry in entries) + f"\n{indent}}}"
    if isinstance(value, list) and value and all(isinstance(item, str) and _LINE.fullmatch(item) for item in value):
        return "[\n" + ",\n".join(f"{within}{_one_line(item)}" for item in value) + f"\n{indent}]"
    return _one_line(value)


def _one_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
