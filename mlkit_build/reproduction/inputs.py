"""A manifest's inputs, found by digest among the user's files, and laid out as the recipe expects them.

A manifest says where its inputs were; nothing of that is followed out of the folders that the user named. Everything is laid
out with links to single files in folders that are new: what is written there is written nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlkit_build.bundle.manifest import FileEntry
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.store import Digest, FileDigests, Tree

_MAX_FILES = 200_000
"""Of a folder that is looked through: a home folder has more, and nobody means that."""


def find_inputs(
    entries: Sequence[FileEntry], folders: Sequence[Path], *, by_content: bool
) -> tuple[dict[FileEntry, Path | Tree], list[FileEntry]]:
    """Return where each input is, and those that are in none of the folders.

    Args:
        entries: What the manifest states.
        folders: The recipe's folder and those that the user named; nothing else is read.
        by_content: Whether a file counts wherever it lies and whatever it is called.
    """
    searched = _Searched(folders)
    found: dict[FileEntry, Path | Tree] = {}
    for entry in dict.fromkeys(entries):
        place = next((place for place in _places(entry, folders, by_content) if searched.matches(place, entry)), None)
        if place is None and by_content:
            place = searched.anywhere(entry) or next((place for place in folders if searched.matches(place, entry)), None)
        if place is not None:
            found[entry] = Tree(place) if place.is_dir() else place
    return found, [entry for entry in dict.fromkeys(entries) if entry not in found]


def lay_out(found: Mapping[FileEntry, Path | Tree], folder: Path, root: Path) -> None:
    """Link every input to its place, relative to `folder`.

    Args:
        folder: The recipe's folder to be; new, as is everything below `root`.
        root: What nothing is written outside of.

    Raises:
        ConfigError: Two inputs have one place, or one has a place outside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for entry, item in found.items():
        place = Path(os.path.normpath(folder / entry.path))
        if not place.is_relative_to(root):
            raise ConfigError(f"inputs: {entry.path}: expected a place below the recipe's folder")
        try:
            if isinstance(item, Tree):
                place.mkdir(parents=True, exist_ok=True)
                for name in item.listed():
                    _link(item.root / name, place / name)
            else:
                _link(item, place)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(f"inputs: {entry.path}: another input has this place") from error
        except OSError as error:
            raise SourceError(f"inputs: {entry.path}: {error.strerror or error}", "make room, or name another folder") from error


def new_digests() -> FileDigests:
    """Return digests that nothing is known of: what is compared with a manifest is read, whatever a cache remembers."""
    return FileDigests(_Forgetful())


def _link(file: Path, place: Path) -> None:
    if str(file).endswith("/") or file.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(file.absolute())


def _places(entry: FileEntry, folders: Sequence[Path], by_content: bool) -> Iterator[Path]:
    """Yield where the input would be; never outside of the folders."""
    path = PurePosixPath(entry.path)
    for folder in folders:
        if ".." not in path.parts:
            yield folder / path
        if by_content:
            yield folder / path.name


class _Searched:
    """The files of some folders, by size, hashed when asked for."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._digests = new_digests()
        self._by_size: dict[int, list[Path]] | None = None

    def matches(self, place: Path, entry: FileEntry) -> bool:
        """Return whether the file or folder is the one that is stated."""
        expected = Digest(entry.sha256, entry.size_bytes)
        try:
            if place.is_dir():
                tree = Tree(place)
                size = sum((place / name).stat().st_size for name in tree.listed() if not name.endswith("/"))
                return size == entry.size_bytes and self._digests.digest(tree) == expected
            return place.is_file() and place.stat().st_size == entry.size_bytes and self._digests.digest(place) == expected
        except (OSError, ValueError):
            return False

    def anywhere(self, entry: FileEntry) -> Path | None:
        """Return a file of that content, however it is called."""
        if self._by_size is None:
            self._by_size = {}
            for path in self._files():
                self._by_size.setdefault(path.stat().st_size, []).append(path)
        return next((path for path in self._by_size.get(entry.size_bytes, []) if self.matches(path, entry)), None)

    def _files(self) -> Iterator[Path]:
        count = 0
        for folder in self._folders:
            for above, names, files in os.walk(folder):
                names.sort()
                for path in (Path(above, name) for name in sorted(files)):
                    count += 1
                    if count > _MAX_FILES:
                        return
                    if path.is_file():
                        yield path


class _Forgetful:
    """Remembers nothing."""

    def read_note(self, *parts: str) -> object:
        return None

    def write_note(self, value: object, *parts: str) -> None:
        """Forget it."""
