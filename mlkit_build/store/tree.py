"""A folder of the user as one input: its identity is the names in it and their contents, not where it lies.

A file or folder whose name begins with a dot is no part of it: file managers and notebooks leave such things behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from mlkit_build.records import dataclass


@dataclass(frozen=True)
class Tree:
    """Some files of a folder.

    Attributes:
        root: The folder.
        names: The files that count, relative to it; all of them when None.
    """

    root: Path
    names: tuple[str, ...] | None = None

    def listed(self) -> list[str]:
        """Return the names that count, in order; of a whole folder also its folders, which end with a slash.

        Raises:
            OSError: A folder cannot be read, or what is there is neither a file nor a folder.
        """
        return sorted(self.names if self.names is not None else _names(self.root, "", ()))


def _names(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    stat = folder.stat()
    if (stat.st_dev, stat.st_ino) in above:
        raise OSError(errno.ELOOP, "a link to a folder that it lies in", str(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield f"{name}/"
                yield from _names(Path(entry.path), f"{name}/", (*above, (stat.st_dev, stat.st_ino)))
            elif entry.is_file():
                yield name
            else:
                odd = "a link that leads nowhere" if entry.is_symlink() else "neither a file nor a folder"
                raise OSError(errno.EINVAL, odd, entry.path)
