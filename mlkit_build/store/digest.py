"""What identifies content: SHA-256 and size."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlkit_build.bounded import open_regular
from mlkit_build.records import dataclass


@dataclass(frozen=True)
class Digest:
    """The identity of some bytes.

    Attributes:
        sha256: 64 lower-case hex digits.
        size_bytes: Their number.
    """

    sha256: str
    size_bytes: int

    @classmethod
    def of_bytes(cls, data: bytes) -> Digest:
        """Return the digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """Return the digest of the file at `path`, reading it once with flat memory.

        Raises:
            OSError: It cannot be read.
        """
        with open_regular(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(sha256, file.tell())
