"""A compressed member of a zip archive as a stream, inflated by ISA-L, which takes a third of zlib's time for the same bytes.

Inflating is most of the work of validating a small model, and zipfile has no way to name another inflater. ISA-L's reader of
gzip files inflates whatever is asked for in one call, without the GIL, which the threads that run the model would wait for: so
the member, which has all that a gzip file is made of, is shown to it as one.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from isal.igzip import IGzipFile
from isal.isal_zlib import IsalError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, then after fields that the central directory repeats the lengths of name and extra field (APPNOTE.TXT, 4.3.7)."""
_GZIP_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
"""Deflated, without name and time, by an unknown system (RFC 1952, 2.3)."""
_ENCRYPTED = 0x1
_DAMAGED = cast(type[Exception], IsalError)  # whose stub says it is an instance


def inflates(member: zipfile.ZipInfo) -> bool:
    """Return whether the member is stored in the one form that is read here: deflated, and not encrypted."""
    return member.compress_type == zipfile.ZIP_DEFLATED and not member.flag_bits & _ENCRYPTED


def inflated(path: Path, member: zipfile.ZipInfo) -> IO[bytes]:
    """Return the bytes of a member that `inflates`, from the first on. What is read to its end has the right checksum.

    Args:
        path: The archive.
        member: Of it.

    Raises:
        zipfile.BadZipFile: The member is not where the archive says; while reading, it is damaged or longer than that says.
        OSError: The archive cannot be read; while reading, the checksum is another.
        EOFError: While reading, it ends early.
    """
    return cast(IO[bytes], _Member(path, member))


class _Member(IGzipFile):
    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        self._member = member
        self._framed = _AsGzip(path, member)
        self._position = 0
        super().__init__(fileobj=self._framed, mode="rb")  # type: ignore[no-untyped-call]

    def read(self, size: int | None = -1) -> bytes:
        try:
            found = super().read(size)
        except _DAMAGED as error:
            raise zipfile.BadZipFile(f"{self._member.filename}: {error}") from error
        self._position += len(found)
        if self._position > self._member.file_size:  # the checksum, which comes after the last byte, would not be seen
            raise zipfile.BadZipFile(f"{self._member.filename} is longer than the archive says")
        return found

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        super().close()
        self._framed.close()


class _AsGzip(io.RawIOBase):
    """The member's deflated bytes between a gzip file's header and its checksum and size (RFC 1952, 2.3.1)."""

    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        self._file = path.open("rb")
        self._file.seek(member.header_offset)
        header = self._file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            self._file.close()
            raise zipfile.BadZipFile(f"{member.filename} is not where the archive says")
        _, name, extra = _LOCAL_HEADER.unpack(header)
        self._file.seek(name + extra, io.SEEK_CUR)
        self._packed = member.compress_size
        end = struct.pack("<II", member.CRC, member.file_size & 0xFFFFFFFF)
        self._before, self._after = io.BytesIO(_GZIP_HEADER), io.BytesIO(end)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        wanted = memoryview(buffer).cast("B")
        if count := self._before.readinto(wanted):
            return count
        if self._packed:
            count = self._file.readinto(wanted[: self._packed])
            self._packed -= count
            return count
        return self._after.readinto(wanted)

    def close(self) -> None:
        self._file.close()
        super().close()
