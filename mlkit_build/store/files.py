"""Digests of the user's own files, without reading an unchanged file again.

A digest is remembered with the file's size, times of modification and change, and inode. As in Git's index, a file modified
within the clock's grain of the moment it was hashed is not believed: it could change again without showing.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Protocol

from mlkit_build.plain import canonical
from mlkit_build.records import dataclass
from mlkit_build.store.digest import Digest
from mlkit_build.store.tree import Tree

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
        self._reading: dict[Path | Tree, threading.Lock] = {}
        self._trees: dict[Tree, tuple[dict[str, _Stamp], Digest, dict[str, str]]] = {}

    def digest(self, path: Path | Tree) -> Digest:
        """Return the digest of the file as this build first saw it; of a tree, that of its names and their digests.

        Raises:
            OSError: It cannot be read.
        """
        if isinstance(path, Tree):
            with self._reading.setdefault(path, threading.Lock()):
                if path not in self._trees:
                    self._trees[path] = self._look_through(path)
            return self._trees[path][1]
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

    def _look_through(self, tree: Tree) -> tuple[dict[str, _Stamp], Digest, dict[str, str]]:
        """Look at every file of a tree; a folder has no digest. One note remembers them all: there may be very many."""
        now, root = time.time_ns(), Path(os.path.abspath(tree.root))  # noqa: PTH100
        note = self._note(root / "*")
        known = self._notes.read_note(*note)
        known = known if isinstance(known, dict) else {}
        stamps, digests, kept = {}, {}, {}
        for name in tree.listed():
            if name.endswith("/"):
                digests[name] = ""
                continue
            stamp = stamps[name] = _Stamp.of(root / name)
            fields = [stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode]
            old = known.get(name)
            if isinstance(old, list) and len(old) == 5 and old[:4] == fields:
                digests[name] = str(old[4])
            else:
                digests[name] = Digest.of_file(root / name).sha256
                if now - stamp.mtime_ns <= GRAIN_NS or _Stamp.of(root / name) != stamp:
                    continue
            kept[name] = [*fields, digests[name]]
        if kept and any(known.get(name) != value for name, value in kept.items()):
            self._notes.write_note(kept if tree.names is None else {**known, **kept}, *note)
        size = sum(stamp.size for stamp in stamps.values())
        return stamps, Digest(Digest.of_bytes(canonical(digests)).sha256, size), digests

    def digests_of(self, tree: Tree) -> dict[str, str]:
        """Return name -> SHA-256 of every file of a tree, as this build first saw it. Raises OSError."""
        self.digest(tree)
        return {name: sha256 for name, sha256 in self._trees[tree][2].items() if sha256}

    def _tree_changed(self, tree: Tree) -> Path | None:
        stamps, digest, _ = self._trees[tree]
        try:
            listed = [name for name in tree.listed() if not name.endswith("/")]
            differ = [
                *sorted(set(listed) ^ set(stamps)),
                *(name for name in listed if stamps.get(name) != _Stamp.of(tree.root / name)),
            ]
            if differ and self._look_through(tree)[1] != digest:
                return tree.root / differ[0]
        except OSError:
            return tree.root
        return None

    def changed(self, paths: list[Path | Tree]) -> Path | None:
        """Return the first of `paths` that is no longer what `digest` saw, or None: nobody wrote them meanwhile."""
        for path in paths:
            if isinstance(path, Tree):
                if (found := self._tree_changed(path)) is not None:
                    return found
                continue
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
