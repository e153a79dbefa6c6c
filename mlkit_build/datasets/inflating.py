"""A compressed member of a zip archive as a stream, inflated by ISA-L, which takes a third of zlib's time for the same bytes.

Inflating is most of the work of validating a small model, and zipfile has no way to name another inflater.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from isal.isal_zlib import IsalError, crc32, decompressobj

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, then after fields that the central directory repeats the lengths of name and extra field (APPNOTE.TXT, 4.3.7)."""
_READ_BYTES = 1 << 16
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
        OSError: The archive cannot be read.
        zipfile.BadZipFile: The member is not where the archive says; while reading, it is damaged or ends early.
    """
    return cast(IO[bytes], _InflatedMember(path, member))


class _InflatedMember(io.RawIOBase):
    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        self._member = member
        self._file = path.open("rb")
        self._file.seek(member.header_offset)
        header = self._file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            self._file.close()
            raise zipfile.BadZipFile(f"{member.filename} is not where the archive says")
        _, name, extra = _LOCAL_HEADER.unpack(header)
        self._file.seek(name + extra, io.SEEK_CUR)
        self._inflater = decompressobj(-15)
        self._packed = member.compress_size
        self._left = member.file_size
        self._crc = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        wanted = memoryview(buffer).cast("B")[: self._left]
        size = len(wanted)
        while wanted:
            data = self._inflater.unconsumed_tail or self._file.read(min(_READ_BYTES, self._packed))
            if not self._inflater.unconsumed_tail:
                self._packed -= len(data)
            try:
                piece = self._inflater.decompress(data, len(wanted))
            except _DAMAGED as error:
                raise zipfile.BadZipFile(f"{self._member.filename}: {error}") from error
            if not piece and (not data or self._inflater.eof):
                raise zipfile.BadZipFile(f"{self._member.filename} ends {self._left} bytes early")
            wanted[: len(piece)] = piece
            wanted = wanted[len(piece) :]
            self._left -= len(piece)
            self._crc = crc32(piece, self._crc)
        if self._left == 0 and self._crc != self._member.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self._member.filename!r}")
        return size

    def tell(self) -> int:
        return self._member.file_size - self._left

    def close(self) -> None:
        self._file.close()
        super().close()
