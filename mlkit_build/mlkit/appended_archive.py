"""The zip archive behind a model by anyone: what is in it, and whether the Task Library can open all of that."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from mlkit_build.mlkit.mapped import as_file
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_END = b"PK\x05\x06"
_LONGEST_END = (1 << 16) + 22
"""How far from the end of a file the record that ends an archive can begin."""
_MOST_FILES = 10_000
_MOST_LISTED = 1 << 20
"""Bytes of an archive's directory."""
_LOCAL = "<4s5H3I2H"
_SIZES_FOLLOW = 8
"""The flag of an entry whose checksum and sizes stand behind its content."""


@dataclass(frozen=True)
class Entry:
    """A file behind the model.

    Attributes:
        name: As the archive has it: never a path to write to.
        stored: Whether it is not compressed.
    """

    name: str
    size_bytes: int
    stored: bool


@dataclass(frozen=True)
class Archive:
    """What lies behind a model.

    Attributes:
        damage: Why it cannot be opened; empty where it can, or there is nothing.
    """

    entries: tuple[Entry, ...] = ()
    damage: str = ""


def archive_of(data: bytes) -> Archive:
    """Return what lies behind a model, without reading its content."""
    tail = data[-_LONGEST_END:]
    if _END not in tail:
        return Archive()
    for found in re.finditer(_END, tail):  # before a directory of any length is read into memory
        size = int.from_bytes(tail[found.start() + 12 : found.start() + 16], "little")
        if size > _MOST_LISTED:
            return Archive(damage=f"a zip archive whose directory has {size:,} bytes, more than that of any model")
    import zipfile

    try:
        with zipfile.ZipFile(as_file(data)) as archive:
            infos = archive.infolist()
            if len(infos) > _MOST_FILES:
                return Archive(damage=f"{len(infos):,} files behind the model, more than any model has")
            for info in infos:  # the Task Library opens every one, whoever asks for it
                _check(info, archive, data)
    except (zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, OverflowError, RuntimeError) as error:
        return Archive(damage=f"a zip archive that is damaged: {error}")
    return Archive(tuple(Entry(info.filename, info.file_size, info.compress_type == zipfile.ZIP_STORED) for info in infos))


def _check(info: ZipInfo, archive: ZipFile, data: bytes) -> None:
    """Compare an entry of the directory with what stands before its content, as minizip does (`unzip.c`). Raises BadZipFile."""
    import zipfile

    begin, _, flags, method, _, _, checksum, packed, size, name, _ = struct.unpack_from(_LOCAL, data, info.header_offset)
    stated = (info.compress_type, info.CRC, info.compress_size, info.file_size)
    found = (method, *(stated[1:] if flags & _SIZES_FOLLOW else (checksum, packed, size)))
    if begin != b"PK\x03\x04" or found != stated or name != len(info.orig_filename.encode()):
        raise zipfile.BadZipFile(f"the directory and the file {info.filename!r} differ")
    if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive.open(info).close()
