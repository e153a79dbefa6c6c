"""A bundle in a zip or tar archive by anyone: its entries, read as they lie there. Nothing is unpacked."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from mlkit_build.errors import SourceError
from mlkit_build.fetch.unpack import MAX_RATIO, MIN_LIMIT_BYTES
from mlkit_build.formats.zipping import parting
from mlkit_build.verification.entries import MAX_FILES, UnsafeError, rooted

_PACKED = ((b"\x1f\x8b", "r:gz"), (b"BZh", "r:bz2"), (b"\xfd7zXZ\0", "r:xz"))
"""How packed tar archives begin. By its end alone, every model with labels is a zip archive; by trying, zeros are xz for ever."""
_HEADER_BYTES = 16 << 20
"""A name is read into memory before anybody sees how long it is."""
_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class Damaged:
    """An archive of which not even the list of entries can be read."""

    is_archive = True
    damaged = (OSError,)

    def __init__(self, file: Path, reason: str) -> None:
        self.file = file
        self._reason = reason

    def files(self) -> dict[str, Any]:
        raise OSError(f"damaged: {self._reason}")

    def open(self, name: str) -> IO[bytes]:
        raise OSError(f"damaged: {self._reason}")


class Zip:
    """A bundle in a zip archive, perhaps in one folder of it."""

    is_archive = True
    damaged = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)

    def __init__(self, archive: zipfile.ZipFile, file: Path) -> None:
        self.file = file
        self._archive = archive
        self._entries: dict[str, zipfile.ZipInfo] = {}

    def files(self) -> dict[str, Any]:
        listed, folders, limit = [], [], _Limit(self.file)
        for entry in self._archive.infolist():
            name = entry.orig_filename  # the other one ends at a zero byte
            limit.check(name, entry.file_size)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnsafeError(name, "a symbolic link" if kind == stat.S_IFLNK else "a device")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UnsafeError(name, "a file with an uncommon compression")  # others decompress without bounds
            if not entry.is_dir():
                listed.append((name, entry))
            elif entry.file_size or entry.compress_size > 2:  # which is nothing, deflated
                raise UnsafeError(name, "a folder with bytes of its own")
            else:
                folders.append(name.removesuffix("/"))
        self._entries = rooted(listed, folders)
        return {name: (entry.file_size, entry.CRC, entry.header_offset) for name, entry in self._entries.items()}

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(self._entries[name])

    def parting(self) -> str:
        """Return where the archive is not as this project writes it, whatever its contents; empty for nowhere."""
        with self.file.open("rb") as file:
            return parting(file, self._archive.infolist())


class Tar:
    """A bundle in a tar archive, perhaps in one folder of it."""

    is_archive = True
    damaged = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error, lzma.LZMAError)

    def __init__(self, archive: tarfile.TarFile, file: Path) -> None:
        self.file = file
        self._archive = archive
        self._listed: tuple[list[tuple[str, tarfile.TarInfo]], list[str]] | None = None
        self._entries: dict[str, tarfile.TarInfo] = {}

    def files(self) -> dict[str, Any]:
        if self._listed is None:
            try:
                self._listed = self._list()
            except (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise OSError(f"damaged: {error}") from error
        self._entries = rooted(*self._listed)
        return {name: (entry.size, entry.mtime, entry.offset) for name, entry in self._entries.items()}

    def _list(self) -> tuple[list[tuple[str, tarfile.TarInfo]], list[str]]:
        listed: list[tuple[str, tarfile.TarInfo]] = []
        folders, limit = [], _Limit(self.file)
        for entry in self._archive:
            limit.check(entry.name, entry.size)
            if entry.issparse():
                raise UnsafeError(entry.name, "a file with holes")
            if not entry.isdir():
                if not entry.isreg():
                    raise UnsafeError(entry.name, "a link or a device")
                listed.append((entry.name, entry))
            elif entry.size:
                raise UnsafeError(entry.name, "a folder with bytes of its own")
            elif entry.name not in ("", "."):
                folders.append(entry.name)
        self._check_end()
        return listed, folders

    def _check_end(self) -> None:
        """Nothing but zeros follows the end; and behind them a compressed archive has its checksum."""
        file = cast("IO[bytes]", self._archive.fileobj)
        for _ in range(_HEADER_BYTES >> 20):
            rest = file.read(1 << 20)
            if not rest:
                return
            if rest.strip(b"\0"):
                break
        raise tarfile.ReadError(f"something follows the end, which is at byte {self._archive.offset}")

    def open(self, name: str) -> IO[bytes]:
        return cast("IO[bytes]", self._archive.extractfile(self._entries[name]))


@contextmanager
def open_archive(path: Path, name: str) -> Iterator[Zip | Tar | Damaged | None]:
    """Open an archive; None for a file of another kind.

    Args:
        name: What it is called in messages.

    Raises:
        SourceError: This machine cannot read it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
        opened = _opened(path, head)
    except (*Zip.damaged, *Tar.damaged) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise SourceError(f"{name}: cannot be read: {error.strerror}", "see that you may read it") from error
        yield Damaged(path, str(error))
        return
    if opened is None:
        yield None
        return
    with opened:
        yield Zip(opened, path) if isinstance(opened, zipfile.ZipFile) else Tar(opened, path)


def _opened(path: Path, head: bytes) -> zipfile.ZipFile | tarfile.TarFile | None:
    mode = "r:" if head[257:262] == b"ustar" else next((mode for magic, mode in _PACKED if head.startswith(magic)), "")
    if mode:
        return tarfile.open(path, cast("Any", mode), tarinfo=_StrictHeader)
    return zipfile.ZipFile(path) if head.startswith(b"PK\x03\x04") else None


class _StrictHeader(tarfile.TarInfo):
    """A header as `tarfile` reads it, which takes a damaged one for the end of the archive, and reads a long one whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or (header.type in _HEADERS and header.size > _HEADER_BYTES):
            raise tarfile.ReadError(f"a header that states {header.size} bytes")
        return header


class _Limit:
    """How much an archive may hold: what is small on the disk and large in it is read for ever."""

    def __init__(self, file: Path) -> None:
        self._left_bytes = self._most_bytes = max(MAX_RATIO * file.stat().st_size, MIN_LIMIT_BYTES)
        self._left_entries = 2 * MAX_FILES

    def check(self, name: str, size: int) -> None:
        """Take one more entry in. Raises UnsafeError where that is too much."""
        self._left_bytes -= size
        self._left_entries -= 1
        if self._left_bytes < 0:
            raise UnsafeError(name, f"unpacked, it is more than {self._most_bytes} bytes with what is before it")
        if self._left_entries < 0:
            raise UnsafeError(name, f"one of more than {2 * MAX_FILES} files and folders")
