"""Where a bundle lies: a folder, a zip or tar archive, or either behind a URL. Each lists its files and opens them."""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from mlkit_build.bundle.publish import CHECKSUMS, MANIFEST, PROVENANCE
from mlkit_build.errors import ConfigError, SourceError

MAX_FILES = 10_000
"""More files than any bundle has: an archive may list as many as it likes."""
_DEEPEST = 4
"""Folders from one that a user names to the bundles that are told: `again/dist/<recipe>/<variant>` has three."""
_MAX_NAMED = 3
"""Bundles that are told."""
_MAX_SEEN = 1000
"""Folders that are looked into for them."""
_PACKED = ((b"\x1f\x8b", "r:gz"), (b"BZh", "r:bz2"), (b"\xfd7zXZ\0", "r:xz"))
"""How packed tar archives begin. By its end alone, every model with labels is a zip archive; by trying, zeros are xz for ever."""
_BUNDLES = "a bundle's folder, its manifest.json, a zip or tar archive of it, or an AAR"


class UnsafeError(Exception):
    """Something in the place is no file of a bundle: its name, and what it is."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(f"{name}: {found}")
        self.name, self.found = name, found


class Place(Protocol):
    """What holds the files of a bundle.

    Attributes:
        is_archive: Whether that is one file.
        file: That file.
    """

    is_archive: bool
    file: Path | None

    def files(self) -> Mapping[str, Any]:
        """Return name, with slashes -> what changes whenever the file does.

        Raises:
            UnsafeError: There is a link, a device, a name that leads out of the bundle, or a name twice.
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
    with _remote(stated) if origin.path is None else _local(Path(origin.path).expanduser()) as place:
        yield place


@contextmanager
def _local(path: Path) -> Iterator[Place]:
    if path.name == MANIFEST and path.is_file():
        path = path.parent
    if path.is_dir():
        if not any(os.path.lexists(path / name) for name in (MANIFEST, CHECKSUMS, PROVENANCE)):
            below = " or ".join(str(folder) for folder in bundles_below(path))
            raise ConfigError(
                f"{path}: expected {_BUNDLES}, found a folder without {MANIFEST}",
                f"did you mean {below}?" if below else "name the folder that a build published",
            )
        yield Folder(path)
        return
    if not path.is_file():
        raise ConfigError(f"{path}: expected {_BUNDLES}, found {'nothing' if not os.path.lexists(path) else 'something else'}")
    with _archive(path, str(path)) as place:
        yield place


@contextmanager
def _remote(url: str) -> Iterator[Place]:
    """Bring what is behind the URL here first: what was hashed and what is then looked into must be the same bytes."""
    from mlkit_build.fetch.download import fetch_unknown
    from mlkit_build.fetch.urls import shown

    with tempfile.TemporaryDirectory(prefix="mlkit-build-verify-") as name:
        path = fetch_unknown(url, Path(name), "bundle", MAX_FILES, lambda *_: None)
        if path.is_dir():
            yield Folder(path)
        else:
            with _archive(path, shown(url)) as place:
                yield place


@contextmanager
def _archive(path: Path, name: str) -> Iterator[Place]:
    try:
        with path.open("rb") as file:
            head = file.read(512)
        mode = "r:" if head[257:262] == b"ustar" else next((mode for magic, mode in _PACKED if head.startswith(magic)), "")
        opened: AbstractContextManager[Any] | None = None
        if mode:
            opened = tarfile.open(path, mode)  # type: ignore[call-overload]  # noqa: SIM115 - closed below
        elif head.startswith(b"PK\x03\x04"):
            opened = zipfile.ZipFile(path)
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, ValueError, NotImplementedError, zlib.error) as error:
        raise SourceError(f"{name}: cannot be read: {error}", "fetch or make it again") from error
    if opened is None:
        raise ConfigError(f"{name}: expected {_BUNDLES}, found a file of another kind")
    with opened as archive:
        yield Zip(archive, path) if isinstance(archive, zipfile.ZipFile) else Tar(archive, path)


def bundle_above(stated: str) -> Path | None:
    """Return the bundle that a file lies in, as an AAR or an archive of the bundle does; None where it lies in none."""
    from mlkit_build.fetch.urls import is_url

    if is_url(stated):
        return None
    above = Path(stated).expanduser().absolute().parents
    return next((folder for folder in above if (folder / MANIFEST).is_file()), None)


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
        return found

    def _entries(self, folder: Path, above: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        if above and not entries:
            raise UnsafeError(above, "an empty folder")
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._entries(Path(entry.path), f"{above}{entry.name}/")
            else:
                yield f"{above}{entry.name}", entry

    def open(self, name: str) -> IO[bytes]:
        # A file that became a link meanwhile is not followed, and a pipe is not waited for.
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        return os.fdopen(descriptor, "rb")


class Zip:
    """A bundle in a zip archive, perhaps in one folder of it."""

    is_archive = True
    damaged = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)

    def __init__(self, archive: zipfile.ZipFile, file: Path | None = None) -> None:
        self.file = file
        self._archive = archive
        self._entries: dict[str, zipfile.ZipInfo] = {}

    def files(self) -> dict[str, Any]:
        listed = [(entry.filename, entry) for entry in self._archive.infolist() if not entry.is_dir()]
        for name, entry in listed:
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise UnsafeError(name, "a symbolic link")
        self._entries = _rooted(listed)
        return {name: (entry.file_size, entry.CRC, entry.header_offset) for name, entry in self._entries.items()}

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(self._entries[name])


class Tar:
    """A bundle in a tar archive, perhaps in one folder of it."""

    is_archive = True
    damaged = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error)

    def __init__(self, archive: tarfile.TarFile, file: Path | None = None) -> None:
        self.file = file
        self._archive = archive
        self._entries: dict[str, tarfile.TarInfo] = {}

    def files(self) -> dict[str, Any]:
        listed: list[tuple[str, tarfile.TarInfo]] = []
        try:
            for entry in self._archive:
                if entry.isdir():
                    continue
                if not entry.isreg():
                    raise UnsafeError(entry.name, "a link or a device")
                listed.append((entry.name, entry))
                if len(listed) > MAX_FILES:
                    raise UnsafeError(entry.name, f"one of more than {MAX_FILES} files")
        except (tarfile.TarError, EOFError, ValueError, zlib.error) as error:
            raise OSError(f"damaged: {error}") from error
        self._entries = _rooted(listed)
        return {name: (entry.size, entry.mtime, entry.offset) for name, entry in self._entries.items()}

    def open(self, name: str) -> IO[bytes]:
        return cast("IO[bytes]", self._archive.extractfile(self._entries[name]))


def _rooted(listed: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return name -> entry, the names as they are in the folder that holds the manifest."""
    if len(listed) > MAX_FILES:
        raise UnsafeError(listed[MAX_FILES][0], f"one of more than {MAX_FILES} files")
    names = [name for name, _ in listed]
    for name in names:
        if not is_safe(name):
            raise UnsafeError(repr(name), "a name that leads out of the bundle")
    if len(set(names)) != len(names):
        raise UnsafeError(next(name for name in names if names.count(name) > 1), "there twice")
    manifests = [name for name in names if PurePosixPath(name).name == MANIFEST]
    root = min(manifests, key=len, default=MANIFEST).removesuffix(MANIFEST)
    if not all(name.startswith(root) for name in names):
        root = ""
    return {name.removeprefix(root): entry for name, entry in listed}


def is_safe(name: str) -> bool:
    """Return whether a name stays in the folder it is read in, on every system: relative, no `..`, no backslash, no drive."""
    parts = name.split("/")
    return bool(name) and not any(part in ("", ".", "..") for part in parts) and not set(name) & {"\\", "\0", ":"}
