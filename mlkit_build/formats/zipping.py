"""Zip archives whose bytes follow from their contents alone: in the given order, stored, with one time, owner and mode.

Nothing is deflated: weights hardly shrink, Android maps a model into memory only as it is, and zlib's bytes differ by version.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can state."""
_UNIX = 3
_FILE = 0o100644 << 16
"""A plain file that everybody may read, where a zip archive holds Unix's modes."""

Content = bytes | Path


def write_zip(file: Path | IO[bytes], entries: Iterable[tuple[str, Content]]) -> None:
    """Write (name, content) pairs as a zip archive. A path's file is copied piece by piece: models are large."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            entry = _entry(name, len(content) if isinstance(content, bytes) else content.stat().st_size)
            with archive.open(entry, "w") as target:
                if isinstance(content, bytes):
                    target.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, target, 1 << 20)


def zipped(entries: Iterable[tuple[str, Content]]) -> bytes:
    """Return (name, content) pairs as a zip archive."""
    buffer = BytesIO()
    write_zip(buffer, entries)
    return buffer.getvalue()


def parting(file: IO[bytes], entries: Sequence[zipfile.ZipInfo]) -> str:
    """Return where a zip archive is not as `write_zip` writes one with these entries in this order; empty for nowhere.

    The contents are not looked at, but for their sizes; whoever has their digests then knows every byte of the archive.

    Args:
        file: The archive.
        entries: As it lists them.
    """
    at, own = 0, []
    for entry in entries:
        made = _entry(entry.filename, entry.file_size)
        made.compress_size, made.CRC, made.header_offset = entry.file_size, entry.CRC, at
        own.append(made)
        header = made.FileHeader(made.file_size * 1.05 > zipfile.ZIP64_LIMIT)  # as `ZipFile.open` decides it
        place = _first_difference(file, at, header)
        if place is not None:
            return f"byte {place}, which is before the contents of {entry.filename!r}"
        at += len(header) + entry.file_size
    behind = _Behind(at)
    with zipfile.ZipFile(behind, "w", zipfile.ZIP_STORED) as archive:
        archive.filelist.extend(own)
    end = behind.getvalue()
    place = _first_difference(file, at, end)
    if place is None and file.read(1):
        place = at + len(end)
    return "" if place is None else f"byte {place}, which is behind all contents"


def _entry(name: str, size_bytes: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system, entry.external_attr, entry.file_size = _UNIX, _FILE, size_bytes
    return entry


def _first_difference(file: IO[bytes], at: int, expected: bytes) -> int | None:
    file.seek(at)
    found = file.read(len(expected))
    if found == expected:
        return None
    shared = min(len(found), len(expected))
    return at + next((place for place in range(shared) if found[place] != expected[place]), shared)


class _Behind(BytesIO):
    """What follows on the first bytes of a file."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self._start = start

    def tell(self) -> int:
        return self._start + super().tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._start + super().seek(offset - (self._start if whence == 0 else 0), whence)
