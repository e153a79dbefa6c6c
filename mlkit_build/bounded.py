"""Files that a user names, read whole where that has an end: regular files that are no larger than such a file can be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mlkit_build.errors import SourceError

MODEL_BYTES = 1 << 31
"""The offsets of a flatbuffer reach no further."""
TEXT_BYTES = 64 << 20
"""More than a list of labels or scores has: 1,000 labels of 64 kB."""


def read_whole(path: Path, most: int, where: str = "") -> bytes:
    """Return the bytes of a file.

    Args:
        most: How many there may be.
        where: What to call it in messages; its path when left out.

    Raises:
        SourceError: It is no regular file, or larger.
        OSError: It cannot be read.
    """
    where = where or str(path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe is not waited for
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{where}: expected a file, found a pipe or a device", "write it to a file first")
        if status.st_size > most:
            raise SourceError(f"{where}: expected at most {most} bytes, found {status.st_size}", "it is no such file")
        return file.read(most)
