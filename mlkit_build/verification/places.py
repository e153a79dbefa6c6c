"""Where a bundle lies: a folder, a zip or tar archive, or either behind a URL. Each lists its files and opens them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from mlkit_build.bundle.publish import CHECKSUMS, MANIFEST, PROVENANCE
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.temporary import temporary_folder
from mlkit_build.verification.entries import MAX_DEPTH, MAX_FILES, check_names
from mlkit_build.verification.entries import UnsafeError as UnsafeError
from mlkit_build.verification.entries import is_safe as is_safe

_DEEPEST = 4
"""Folders from one that a user names to the bundles that are told: `again/dist/<recipe>/<variant>` has three."""
_MAX_NAMED = 3
"""Bundles that are told."""
_MAX_SEEN = 1000
"""Folders that are looked into for them."""
_BUNDLES = "a bundle's folder, its manifest.json, a zip or tar archive of it, or an AAR"


class Place(Protocol):
    """What holds the files of a bundle.

    Attributes:
        is_archive: Whether that is one file.
    """

    is_archive: bool

    @property
    def file(self) -> Path | None:
        """That file."""

    def files(self) -> Mapping[str, Any]:
        """Return name, with slashes -> what changes whenever the file does.

        Raises:
            UnsafeError: There is a link, a device, a name that leads out of the bundle, or two names for one file.
            OSError: It cannot be read.
        """

    def open(self, name: str) -> IO[bytes]:
        """Return one of them, to be read from its beginning to its end."""

    @property
    def damaged(self) -> tuple[type[Exception], ...]:
        """What reading a damaged place raises."""


@contextmanager
def open_place(stated: str) -> Iterator[Place]:
    """Open the bundle that a user named: a path or a URL.

    Raises:
        ConfigError: It is no such thing, or the URL's protocol is not known.
        SourceError: It cannot be read.
    """
    from mlkit_build.fetch.urls import Location, shown

    origin = Location.parse(stated, "bundle")
    if origin.inside:
        raise ConfigError(f"{shown(stated)}: expected {_BUNDLES}, or a URL of one", "name the archive itself: it is looked into")
    if origin.path is None:
        with _remote(stated) as place:
            yield place
        return
    path = Path(origin.path).expanduser()
    try:
        folder = _folder(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}", "see that you may read it") from error
    if folder is not None:
        yield Folder(folder)
        return
    with _archive(path, str(path)) as place:
        yield place


def _folder(path: Path) -> Path | None:
    """Return the folder of a bundle; None for a file, which may be an archive. Raises ConfigError where it is neither."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        found = "a link to nothing" if path.is_symlink() else "nothing"
        raise ConfigError(f"{path}: expected {_BUNDLES}, found {found}") from None
    if stat.S_ISREG(mode):
        return path.parent if path.name == MANIFEST else None
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"{path}: expected {_BUNDLES}, found something else")
    with os.scandir(path) as entries:  # which says so where nobody may look into it
        if not any(entry.name in (MANIFEST, CHECKSUMS, PROVENANCE) for entry in entries):
            below = " or ".join(str(folder) for folder in bundles_below(path))
            raise ConfigError(
                f"{path}: expected {_BUNDLES}, found a folder without {MANIFEST}",
                f"did you mean {below}?" if below else "name the folder that a build published",
            )
    return path


@contextmanager
def _remote(url: str) -> Iterator[Place]:
    """Bring what is behind the URL here first: what was hashed and what is then looked into must be the same bytes."""
    from mlkit_build.fetch.download import fetch_unknown
    from mlkit_build.fetch.urls import shown

    with temporary_folder() as folder:
        path = fetch_unknown(url, folder, "bundle", MAX_FILES, lambda *_: None)
        if path.is_dir():
            yield Folder(path)
        else:
            with _archive(path, shown(url)) as place:
                yield place


@contextmanager
def _archive(path: Path, name: str) -> Iterator[Place]:
    from mlkit_build.verification.packed import open_archive

    with open_archive(path, name) as place:
        if place is None:
            raise ConfigError(f"{name}: expected {_BUNDLES}, found a file of another kind")
        yield place


def bundle_above(stated: str) -> Path | None:
    """Return the bundle that a file lies in, as an AAR or an archive of the bundle does; None where it lies in none."""
    from mlkit_build.fetch.urls import is_url

    if is_url(stated):
        return None
    above = Path(stated).expanduser().absolute().parents
    # Not an error where nobody may look: `Path.is_file` makes one of it.
    return next((folder for folder in above if os.path.isfile(folder / MANIFEST)), None)  # noqa: PTH113


def bundles_below(folder: Path) -> list[Path]:
    """Return the first bundles in a folder: those of a recipe's variants, of `dist`, of what a rebuild kept."""
    found: list[Path] = []
    for seen, (above, names, files) in enumerate(os.walk(folder)):
        if len(found) == _MAX_NAMED or seen > _MAX_SEEN:
            break
        is_bundle = {MANIFEST, CHECKSUMS} <= set(files)
        if is_bundle:
            found.append(Path(above))
        deepest = is_bundle or len(Path(above).relative_to(folder).parts) == _DEEPEST
        names[:] = [] if deepest else sorted(name for name in names if not name.startswith("."))
    return found


class Folder:
    """A bundle's own folder."""

    is_archive = False
    file: Path | None = None
    damaged = (OSError,)

    def __init__(self, path: Path) -> None:
        self.path = path

    def files(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, entry in self._entries(self.path, ""):
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise UnsafeError(name, "a symbolic link" if entry.is_symlink() else "neither a file nor a folder")
            found[name] = (status.st_size, status.st_mtime_ns, status.st_ino)
            if len(found) > MAX_FILES:
                raise UnsafeError(name, f"one of more than {MAX_FILES} files")
        check_names(list(found))
        return found

    def _entries(self, folder: Path, above: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        if above and not entries:
            raise UnsafeError(above, "an empty folder")
        if above.count("/") >= MAX_DEPTH:
            raise UnsafeError(f"{above[:60]}...", f"one of more than {MAX_DEPTH} folders within each other")
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._entries(Path(entry.path), f"{above}{entry.name}/")
            else:
                yield f"{above}{entry.name}", entry

    def open(self, name: str) -> IO[bytes]:
        # A file that became a link meanwhile is not followed, and a pipe is not waited for.
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        return os.fdopen(descriptor, "rb")
