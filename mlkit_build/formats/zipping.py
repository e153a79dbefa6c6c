"""Zip archives whose bytes follow from their contents alone: in the given order, stored, with one time, owner and mode.

Nothing is deflated: weights hardly shrink, Android maps a model into memory only as it is, and zlib's bytes differ by version.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
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
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = _UNIX, _FILE
            entry.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
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
