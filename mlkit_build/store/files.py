"""Digests of the user's own files, without reading an unchanged file again.

A digest is remembered with the file's size, times of modification and change, and inode. As in Git's index, a file modified
within the clock's grain of the moment it was hashed is not believed: it could change again without showing.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlkit_build.store.digest import Digest

GRAIN_NS = 2_000_000_000
"""Two seconds: the coarsest modification time in use (FAT)."""


class Notes(Protocol):
    """Where digests are remembered."""

    def read_note(self, *parts: str) -> object:
        """Return what was remembered, or None."""

    def write_note(self, value: object, *parts: str) -> None:
        """Remember `value`."""


@dataclass(frozen=True)
class _Stamp:
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> _Stamp:
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


class FileDigests:
    """Digests of files by path, for one build or sweep: what was seen first holds until its end; `changed` tells of a change.

    Threads may share it; a file is read once.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._seen: dict[Path, tuple[_Stamp, Digest]] = {}
        self._reading: dict[Path, threading.Lock] = {}

    def digest(self, path: Path) -> Digest:
        """Return the digest of the file as this build first saw it.

        Raises:
            OSError: It cannot be read.
        """
        path = Path(os.path.abspath(path))  # noqa: PTH100 - keeps symbolic links: the name is what the user wrote
        if path not in self._seen:
            with self._reading.setdefault(path, threading.Lock()):
                if path not in self._seen:
                    self._seen[path] = self._look(path)
        return self._seen[path][1]

    def _look(self, path: Path) -> tuple[_Stamp, Digest]:
        now = time.time_ns()
        stamp = _Stamp.of(path)
        note = self._note(path)
        remembered = self._notes.read_note(*note)
        known = [str(path), stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode]
        if isinstance(remembered, list) and len(remembered) == 6 and remembered[:5] == known:
            digest = Digest(str(remembered[5]), stamp.size)
        else:
            digest = Digest.of_file(path)
            if now - stamp.mtime_ns > GRAIN_NS and _Stamp.of(path) == stamp:
                self._notes.write_note([*known, digest.sha256], *note)
        return stamp, digest

    def changed(self, paths: list[Path]) -> Path | None:
        """Return the first of `paths` that is no longer what `digest` saw, or None: nobody wrote them meanwhile."""
        for path in paths:
            stamp, digest = self._seen[Path(os.path.abspath(path))]  # noqa: PTH100
            try:
                if _Stamp.of(path) != stamp and Digest.of_file(path) != digest:
                    return path
            except OSError:
                return path
        return None

    @staticmethod
    def _note(path: Path) -> tuple[str, str, str]:
        name = Digest.of_bytes(str(path).encode(errors="surrogateescape")).sha256
        return "files", name[:2], f"{name}.json"
