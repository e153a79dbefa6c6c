"""Folders of files in the cache, by key. An entry appears whole or not at all, and is checked wherever it is used.

Layout, beside the build cache's own: `v1/fetched/<k2>/<key>/files/...`, with `index.json` to say what they must be.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from mlkit_build.bounded import read_regular
from mlkit_build.errors import StoreError
from mlkit_build.plain import canonical
from mlkit_build.records import dataclass
from mlkit_build.store import Digest, DiskStore, FileDigests
from mlkit_build.store.folders import locked, move, sweep
from mlkit_build.temporary import no_room, temporary_folder

_PREFIX = "fetch-"
_LONG_AGO_NS = 1_000_000_000 * 10**9


@dataclass(frozen=True)
class Entry:
    """Some files that belong together.

    Attributes:
        folder: Where they are, under the names in the index.
        index: Relative name -> digest.
    """

    folder: Path
    index: Mapping[str, Digest]


class Entries:
    """Entries of the user's cache, and private ones of this run for what the cache refuses."""

    def __init__(self, cache: DiskStore | None, stack: ExitStack, warn: Callable[[str], None]) -> None:
        self._cache = cache
        self._stack = stack
        self._warn = warn
        self._writable = cache is not None
        self._private: DiskStore | None = None

    def find(self, key: str, part: str = "") -> Entry | None:
        """Return the entry of `key`, or None when there is none or it is damaged.

        Args:
            part: A place in it: only what lies beside and under it is checked. Unchanged files are not read again.
        """
        for store in (self._cache, self._private):
            if store and (entry := _whole(store, key, part)):
                return entry
        return None

    def make(self, key: str, fill: Callable[[Path], Mapping[str, Digest]], waiting: Callable[[], None]) -> Entry:
        """Return the entry of `key`, filled now unless another build has done so meanwhile.

        Args:
            fill: Writes the files to a folder with `write_file` and returns the index. An OSError is the disk's refusal.
            waiting: Called when another build is at it.

        Raises:
            StoreError: No disk takes it.
        """
        if self._cache and self._writable:
            try:
                with locked(self._cache, f"{_PREFIX}{key}", waiting) as alone:
                    entry = self.find(key)
                    return entry or self._fill(self._cache, key, fill, alone)
            except OSError as error:
                self._writable = False
                reason = f"cache {self._cache.root.parent}: {error.strerror or error}"
                self._warn(f"{reason}; what is fetched or unpacked now is forgotten at the end of this build")
        try:
            if self._private is None:
                self._private = DiskStore(self._stack.enter_context(temporary_folder()))
            return self.find(key) or self._fill(self._private, key, fill, alone=True)
        except OSError as error:
            raise no_room(error) from error

    def digests(self) -> FileDigests:
        """Return digests of files anywhere, remembered in the cache."""
        return FileDigests(_Notes(self._cache or self._private))

    def _fill(self, store: DiskStore, key: str, fill: Callable[[Path], Mapping[str, Digest]], alone: bool) -> Entry:
        place, work = _place(store, key), store.root / "tmp" / f"{_PREFIX}{key}-{secrets.token_hex(8)}"
        if place.exists():
            self._warn(f"cache: what was fetched or unpacked to {place} is damaged; doing it again")
        sweep(work.parent, _PREFIX, key if alone else None)
        try:
            (work / "files").mkdir(parents=True)
            index = {name: [digest.sha256, digest.size_bytes] for name, digest in fill(work / "files").items()}
            write_file(work / "index.json", [canonical(index)])
            move(work, place, lambda: _whole(store, key) is not None)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        entry = _whole(store, key)
        if entry is None:
            raise StoreError(f"{place}: damaged while it was written", "check the disk, then build again")
        return entry


def write_file(path: Path, chunks: Iterable[bytes]) -> Digest:
    """Write a new read-only file, down to the disk; return its digest.

    It is dated long ago: then any later write shows in its date, however soon it comes, and FileDigests believes its note.

    Raises:
        OSError: The disk refuses it, or something has this name.
    """
    sha256, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
            sha256.update(chunk)
            size += len(chunk)
        file.flush()
        os.fchmod(file.fileno(), 0o444)
        os.utime(file.fileno(), ns=(_LONG_AGO_NS, _LONG_AGO_NS))
        os.fsync(file.fileno())
    return Digest(sha256.hexdigest(), size)


class _Notes:
    """The notes of a store that may refuse them, or of none."""

    def __init__(self, store: DiskStore | None) -> None:
        self._store = store

    def read_note(self, *parts: str) -> object:
        return self._store.read_note(*parts) if self._store else None

    def write_note(self, value: object, *parts: str) -> None:
        if self._store:
            with suppress(OSError):
                self._store.write_note(value, *parts)


def _place(store: DiskStore, key: str) -> Path:
    return store.root.absolute() / "fetched" / key[:2] / key


def _whole(store: DiskStore, key: str, part: str = "") -> Entry | None:
    """Return the entry when exactly the files of its index are there, with their digests, beside and under `part`."""
    place = _place(store, key)
    beside = part.rpartition("/")[0]
    try:
        value = json.loads(read_regular(place / "index.json"))
        index = {str(name): Digest(str(sha256), int(size)) for name, (sha256, size) in value.items()}
        top = place / "files" / beside
        there = {path.relative_to(place / "files").as_posix(): path for path in top.rglob("*") if not path.is_dir()}
        expected = {name for name in index if not beside or name.startswith(f"{beside}/")}
        if set(there) != expected:
            return None
        digests = FileDigests(_Notes(store))
        if any(digests.digest(path) != index[name] for name, path in there.items()):
            return None
        return Entry(place / "files", index)
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
