"""An archive unpacked: zip, or tar plain or compressed with gzip, bzip2 or xz. Archives are data that may be hostile.

Only files and folders come out, each once, under the name it has, inside the folder, and not more than the bounds below.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn, cast

from mlkit_build.errors import SourceError
from mlkit_build.fetch.entries import write_file
from mlkit_build.records import dataclass
from mlkit_build.store import Digest

MAX_MEMBERS = 200_000
MAX_RATIO = 100
MIN_LIMIT_BYTES = 256 << 20
"""An archive may unpack to MAX_RATIO times its size, or to this where that is less: weights hardly compress, zeros do."""

_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 16 << 20
_NAME_BYTES = 1024
_PART_BYTES = 255
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ArithmeticError, LookupError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError),
)
"""What the readers raise for a damaged archive. OSError is among them: bzip2 and gzip say so with it."""


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    odd: str
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


class _RefusedError(Exception):
    """Why the archive is not unpacked, and what to do."""

    def __init__(self, problem: str, hint: str = "make the archive again, with plain files and folders only") -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


def unpack(archive: Path, kind: str, folder: Path, name: str, field: str) -> dict[str, Digest]:
    """Unpack `archive` (`zip` or `tar`) to the empty `folder`; return relative name -> digest of every file.

    Args:
        name: What the archive is called in messages.

    Raises:
        SourceError: It is damaged, or holds what an archive of a model has no need of.
        OSError: The disk refuses it.
    """
    try:
        return _unpack(archive, kind, folder)
    except _RefusedError as refused:
        raise SourceError(f"{field}: the archive {name} {refused.problem}", refused.hint) from None


def _unpack(archive: Path, kind: str, folder: Path) -> dict[str, Digest]:
    limit = max(MAX_RATIO * archive.stat().st_size, MIN_LIMIT_BYTES)
    index: dict[str, Digest] = {}
    total = 0
    for number, member in enumerate(_read(_MEMBERS[kind](archive), archive, kind), start=1):
        total += member.size
        if number > MAX_MEMBERS:
            raise _RefusedError(f"has more than {MAX_MEMBERS} members", "make an archive of what the recipe names alone")
        if total > limit:
            raise _RefusedError(f"unpacks to more than {limit} bytes, which its own size does not explain")
        if member.odd:
            raise _RefusedError(f"holds {member.odd} {member.name!r}")
        parts = _parts(member.name)
        try:
            if member.is_folder:
                folder.joinpath(*parts).mkdir(parents=True, exist_ok=True)
            elif parts:
                path = folder.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                index["/".join(parts)] = write_file(path, _read(_chunks(member), archive, kind))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise _RefusedError(f"holds {member.name!r} twice, or as a file and a folder") from None
    return index


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise _RefusedError(f"holds {name!r}, which leads out of it")
    encoded = [os.fsencode(part) for part in parts]
    if sum(map(len, encoded)) + len(encoded) > _NAME_BYTES or any(len(part) > _PART_BYTES for part in encoded):
        raise _RefusedError(f"holds a name that is too long: {name[:60]!r}...")
    return parts


def _chunks(member: _Member) -> Iterator[bytes]:
    with ExitStack() as stack:
        file = member.open()
        if file is None:
            raise ValueError("no data")
        stack.enter_context(file)
        left = member.size
        while chunk := file.read(_CHUNK_BYTES):
            left -= len(chunk)
            yield chunk
        if left:
            raise ValueError(f"{member.name!r} has not the size it states")


def _read(items: Iterator[Any], archive: Path, kind: str) -> Iterator[Any]:
    """Yield the items; what goes wrong while the archive is read is its fault, and what goes wrong elsewhere is not."""
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except _DAMAGED as error:
            _refuse(archive, kind, error)
        yield item


def _refuse(archive: Path, kind: str, error: Exception) -> NoReturn:
    with archive.open("rb") as file:
        head = file.read(262)
    if isinstance(error, RuntimeError) and "password" in str(error):
        raise _RefusedError("is encrypted", "make it again without a password") from None
    looks = "zip" if head.startswith(b"PK") else "tar" if head.startswith(tuple(_DECOMPRESSORS)) or head[257:] == b"ustar" else ""
    if looks and looks != kind:
        raise _RefusedError(f"is no {kind} archive", f"it looks like {looks}: write {looks}:// instead of {kind}://") from None
    problem = f"cannot be read as {kind}: {str(error).strip() or type(error).__name__}"
    raise _RefusedError(problem, "it may be truncated or damaged; make it or copy it again") from None


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            odd = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "a link" if kind == stat.S_IFLNK else "a special file"
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                odd = odd or "with an uncommon compression"  # others decompress without bounds
            yield _Member(info.filename, info.file_size, odd, info.is_dir(), partial(file.open, info))


def _tar_members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        decompress = next((way for magic, way in _DECOMPRESSORS.items() if head.startswith(magic)), None)
        data = _Bounded(decompress(raw) if decompress else raw)
        with tarfile.open(fileobj=cast("IO[bytes]", data), mode="r:") as file:
            for info in file:
                odd = "" if info.isreg() or info.isdir() else "a link" if info.islnk() or info.issym() else "a special file"
                yield _Member(info.name, info.size, odd, info.isdir(), partial(file.extractfile, info))
        if data.last.strip(b"\0") or not data.last:  # tarfile takes a damaged header for the end
            raise tarfile.ReadError(f"no end of the archive after {file.offset} bytes")
        for _ in range(_HEADER_BYTES // _CHUNK_BYTES):  # the checksum of what is compressed comes last
            if not data.read(_CHUNK_BYTES):
                break


class _Bounded:
    """A stream of which nobody reads much at once: a header that states a huge size would be read into memory.

    Attributes:
        last: What was read last.
    """

    def __init__(self, file: Any) -> None:
        self.last = b""
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int) -> bytes:
        if size > _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = cast(bytes, self._file.read(size))
        return self.last


_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_MEMBERS = {"zip": _zip_members, "tar": _tar_members}
