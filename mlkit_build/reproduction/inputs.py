"""A manifest's inputs, found by digest among the user's files, and laid out as the recipe expects them.

A manifest says where its inputs were; nothing of that is followed out of the folders that the user named. Everything is laid
out with links to single files in folders that are new: what is written there is written nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from mlkit_build.bundle.manifest import FileEntry
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.recipe.sample_folders import IMAGES, SOUNDS
from mlkit_build.store import Digest, FileDigests, Tree

_MAX_FILES = 200_000
"""Of the folders that are looked through, folders counted too: a home folder has more, and nobody means that."""
_COUNTED: tuple[tuple[str, ...], ...] = ((), IMAGES, SOUNDS)
"""How the files of a folder end that its digest may be of."""


def find_inputs(
    entries: Sequence[FileEntry],
    folders: Sequence[Path],
    *,
    by_content: bool,
    own: Callable[[FileEntry], Iterable[Path]] = lambda _: (),
) -> tuple[dict[FileEntry, Path | Tree], list[FileEntry]]:
    """Return where each input is, and those that are in none of the folders.

    Args:
        entries: What the manifest states.
        folders: The recipe's folder and those that the user named; nothing else is read, but for `own`.
        by_content: Whether a file or folder counts wherever it lies and whatever it is called.
        own: Returns where the user's own recipe has an input.
    """
    searched = _Searched(folders)
    found: dict[FileEntry, Path | Tree] = {}
    for entry in dict.fromkeys(entries):
        places = chain(_places(entry, folders, by_content), own(entry))
        place = next((place for place in places if searched.matches(place, entry)), None)
        if place is None and by_content:
            place = searched.anywhere(entry)
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
            raise ConfigError(
                f"inputs: {entry.path}: another input has this place",
                "two absolute paths of one name were not always kept apart: build again, and rebuild from that manifest",
            ) from error
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
    """The files and folders below some folders, by size, hashed when asked for."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._digests = new_digests()
        self._by_size: dict[int, list[Path]] | None = None
        self._left = _MAX_FILES

    def matches(self, place: Path, entry: FileEntry) -> bool:
        """Return whether the file or folder is the one that is stated."""
        expected = Digest(entry.sha256, entry.size_bytes)
        try:
            if place.is_dir():
                return any(self._is(tree, expected) for tree in (Tree(place, endings=endings) for endings in _COUNTED))
            return place.is_file() and place.stat().st_size == entry.size_bytes and self._digests.digest(place) == expected
        except (OSError, ValueError):
            return False

    def _is(self, tree: Tree, expected: Digest) -> bool:
        size = sum((tree.root / name).stat().st_size for name in tree.listed() if not name.endswith("/"))
        return size == expected.size_bytes and self._digests.digest(tree) == expected

    def anywhere(self, entry: FileEntry) -> Path | None:
        """Return a file or folder of that content, however it is called."""
        if self._by_size is None:
            self._by_size = {}
            for path, size in self._sizes():
                self._by_size.setdefault(size, []).append(path)
        return next((path for path in self._by_size.get(entry.size_bytes, []) if self.matches(path, entry)), None)

    def _sizes(self) -> Iterator[tuple[Path, int]]:
        """Yield files, then folders with the size that `Tree` gives them: what begins with a dot is no part of one."""
        sums: dict[Path, int] = {}
        for folder in self._folders:
            sums[folder] = 0
            own: dict[Path, int] = {}
            for path in self._files(folder, own):
                size = path.stat().st_size
                yield path, size
                part = path
                while part != folder and not part.name.startswith("."):
                    part = part.parent
                    own[part] = own.get(part, 0) + size
            sums |= own
        yield from sums.items()

    def _files(self, folder: Path, folders: dict[Path, int]) -> Iterator[Path]:
        """Yield the files below a folder, and add the folders below it."""
        for above, names, files in os.walk(folder):
            names.sort()
            folders.setdefault(Path(above), 0)
            self._left -= len(files) + 1
            if self._left < 0:
                return
            yield from (path for path in (Path(above, name) for name in sorted(files)) if path.is_file())


class _Forgetful:
    """Remembers nothing."""

    def read_note(self, *parts: str) -> object:
        return None

    def write_note(self, value: object, *parts: str) -> None:
        """Forget it."""
