"""A model of any size, as bytes that are not read before they are looked at."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, cast


class Mapped(mmap.mmap):
    """A file in memory, where readers take bytes: slices of it are bytes."""

    def seekable(self) -> bool:
        """Return whether it can be read from any place, which Python 3.13's own does too."""
        return True


@contextmanager
def mapped(file: IO[bytes]) -> Iterator[bytes]:
    """Map an open file; what was sliced from it stays when it is closed.

    Raises:
        OSError, ValueError: It cannot be mapped, or is empty.
    """
    memory = Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        yield cast(bytes, memory)
    finally:
        with suppress(BufferError):  # a view of it is still held; it is closed with the last
            memory.close()


def as_file(data: bytes) -> IO[bytes]:
    """Return the bytes as a file to read from, without a copy."""
    return cast(IO[bytes], data) if isinstance(data, Mapped) else io.BytesIO(data)
