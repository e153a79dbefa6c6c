"""Files that a user names, read whole where that has an end: regular files that are no larger than such a file can be."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from mlkit_build.errors import SourceError

MODEL_BYTES = 1 << 31
"""The offsets of a flatbuffer reach no further."""
TEXT_BYTES = 64 << 20
"""More than a list of labels or scores has: 1,000 labels of 64 kB."""


class IrregularError(OSError):
    """What lies at a path can be opened, and is no file and no folder."""


def open_regular(path: Path) -> BufferedReader:
    """Return a file, opened to be read. Nothing else is: a pipe that nobody writes, or a device, may have no beginning or no end.

    Raises:
        IrregularError: It is a pipe or a device.
        OSError: It is a folder, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise IrregularError(errno.EINVAL, "it is a pipe or a device", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_file(path: Path) -> bool:
    """Return whether a file lies there. Where its name is longer than names can be, none does. Raises OSError otherwise."""
    return _is(path.is_file)


def is_folder(path: Path) -> bool:
    """Return whether a folder lies there. See `is_file`."""
    return _is(path.is_dir)


def is_there(path: Path) -> bool:
    """Return whether anything lies there. See `is_file`."""
    return _is(path.exists)


def is_link(path: Path) -> bool:
    """Return whether a link lies there, wherever it leads. See `is_file`."""
    return _is(path.is_symlink)


def _is(asked: Callable[[], bool]) -> bool:
    try:
        return asked()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def read_regular(path: Path, most: int = -1) -> bytes:
    """Return the bytes of a file, or the first of them: of larger files no more than `most`. Raises OSError."""
    with open_regular(path) as file:
        return file.read(most)


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
    try:
        file = open_regular(path)
    except IrregularError as error:
        raise SourceError(f"{where}: expected a file, found a pipe or a device", "write it to a file first") from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise SourceError(f"{where}: expected at most {most} bytes, found {size}", "it is no such file")
        return file.read(most)
