"""From what a recipe states to a path on this machine: fetched when it must be, unpacked when it is in an archive.

What is at the path has the digest that was stated, now: a cached file that was damaged is fetched again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from mlkit_build.errors import ConfigError, SourceError, did_you_mean
from mlkit_build.fetch.entries import Entries, Entry
from mlkit_build.fetch.urls import Location, file_name, shown
from mlkit_build.plain import canonical
from mlkit_build.store import Digest, DiskStore, FileDigests

_SCHEMA = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@contextmanager
def open_fetcher(
    cache: Path | None, warn: Callable[[str], None], progress: Callable[[str, int, int | None], None]
) -> Iterator[Fetcher]:
    """Open a fetcher that keeps things in the build cache; None, or a cache that cannot be written: until the end of the block.

    Args:
        cache: The folder of the build cache, as `open_store` takes it.
        warn: Told, once, that the cache cannot be used, and of what was damaged in it.
        progress: Told the URL as it may be shown, the bytes so far, and their number where it is known.
    """
    with ExitStack() as stack:
        yield Fetcher(Entries(DiskStore(cache) if cache else None, stack, warn), progress)


class Fetcher:
    """Finds what a recipe states; see `open_fetcher`."""

    def __init__(self, entries: Entries, progress: Callable[[str, int, int | None], None]) -> None:
        self._entries = entries
        self._progress = progress

    def local(self, stated: str, sha256: str | None, folder: Path, field: str) -> Path:
        """Return the local path of what `stated` names, fetching and unpacking what is not here yet.

        It is absolute and keeps its name and its suffix. For a plain path nothing need be there, unless a digest is stated;
        within an archive a checkpoint's prefix, which is no file itself, will do.

        Args:
            stated: A path or URL of the recipe, see `Location`.
            sha256: Of the whole file that is fetched, or of the local file or archive; only these may leave it out.
            folder: What a plain path is relative to.
            field: Where it is stated, like `source.path`; the digest is taken to be stated beside it.

        Raises:
            ConfigError: It cannot be understood, the digest is missing, or the protocol's package is.
            SourceError: It cannot be fetched or unpacked, or is not what the digest says.
            StoreError: No disk takes it.
        """
        return self._path(stated, sha256, folder, field, self._entries.make)

    def known(self, stated: str, sha256: str | None, folder: Path, field: str) -> Path | None:
        """Return what `local` would where that is known without fetching or unpacking anything, else None. Raises the same."""
        try:
            return self._path(stated, sha256, folder, field, _make_nothing)
        except _UnknownError:
            return None

    def _path(self, stated: str, sha256: str | None, folder: Path, field: str, make: Callable[..., Entry]) -> Path:
        location = Location.parse(stated, field)
        sha256 = _checked(sha256, location, field)
        if location.path is None:
            assert sha256 is not None
            path = self._fetched(location.origin, sha256, field, make)
        else:
            path = (folder / location.path).absolute()
            self._check(path, sha256, field, is_archive=bool(location.inside))
        name = shown(location.origin)
        for kind, place in location.inside:
            path = self._unpacked(path, kind, place, name, field, make)
            name = f"{place} in {name}"
        return path

    def _fetched(self, url: str, sha256: str, field: str, make: Callable[..., Entry]) -> Path:
        name = file_name(url)
        key = _key("file", name, sha256)

        def fill(folder: Path) -> dict[str, Digest]:
            from mlkit_build.fetch.download import download

            return {name: download(url, folder / name, sha256, field, self._progress)}

        entry = self._entries.find(key)
        if entry is None:
            entry = make(key, fill, lambda: self._progress(shown(url), 0, None))
            size = entry.index[name].size_bytes
            self._progress(shown(url), size, size)
        return entry.folder / name

    def _unpacked(self, archive: Path, kind: str, place: str, name: str, field: str, make: Callable[..., Entry]) -> Path:
        digests = self._entries.digests()
        key = _key("archive", kind, _sha256(digests, archive, f"{field}: the archive {name}"))

        def fill(folder: Path) -> dict[str, Digest]:
            from mlkit_build.fetch.unpack import unpack

            index = unpack(archive, kind, folder, name, field)
            if digests.changed([archive]):
                raise SourceError(f"{field}: the archive {name} changed while it was unpacked", "build again")
            return index

        entry = self._entries.find(key, place) or make(key, fill, lambda: None)
        if not any(inner.startswith(place) for inner in entry.index) and not (entry.folder / place).is_dir():
            raise SourceError(f"{field}: nothing at {place!r} in the archive {name}", _what_it_holds(place, entry))
        return entry.folder / place

    def _check(self, path: Path, sha256: str | None, field: str, is_archive: bool) -> None:
        """Check a local file, where there is something to check."""
        if not is_archive and sha256 is None:
            return
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing"
            hint = "" if is_archive else f"{_beside(field)} is the digest of one file; leave it out for a folder or a checkpoint"
            raise SourceError(f"{field}: expected {'an archive' if is_archive else 'a file'} at {path}, found {found}", hint)
        found = _sha256(self._entries.digests(), path, f"{field}: {path}")
        if sha256 not in (None, found):
            hint = "if the file was changed on purpose, state its new sha256"
            raise SourceError(f"{field}: {path} is not the file that was meant: expected sha256 {sha256}, found {found}", hint)


class _UnknownError(Exception):
    """It is not here."""


def _make_nothing(*_: object) -> Entry:
    raise _UnknownError


def _checked(sha256: str | None, location: Location, field: str) -> str | None:
    if sha256 is None:
        if location.path is None:
            hint = "fetch it once by hand, make sure that it is what you want, and state what `sha256sum FILE` prints"
            raise ConfigError(f"{_beside(field)}: missing; {shown(location.origin)} is fetched, and checked against it", hint)
        return None
    if not _SHA256.fullmatch(sha256.lower()):
        hint = "state what `sha256sum FILE` prints, in quotes"
        raise ConfigError(f"{_beside(field)}: expected 64 hexadecimal digits, found {sha256!r}", hint)
    return sha256.lower()


def _beside(field: str) -> str:
    parent = field.rpartition(".")[0]
    return f"{parent}.sha256" if parent else "sha256"


def _sha256(digests: FileDigests, path: Path, what: str) -> str:
    try:
        return digests.digest(path).sha256
    except OSError as error:
        raise SourceError(f"{what} cannot be read: {error.strerror or error}", "check its permissions and the disk") from error


def _key(*parts: str) -> str:
    return Digest.of_bytes(canonical([_SCHEMA, *parts])).sha256


def _what_it_holds(place: str, entry: Entry) -> str:
    folders = {parent.as_posix() for name in entry.index for parent in PurePosixPath(name).parents} - {"."}
    places = sorted({*entry.index, *folders})
    some = f"it holds {', '.join(places[:5]) or 'no file'}{', ...' if len(places) > 5 else ''}"
    return did_you_mean(place, places) or some
