"""A folder of the user as one input: its identity is the names in it and their contents, not where it lies.

A file or folder whose name begins with a dot is no part of it: file managers and notebooks leave such things behind. Others are
called `Thumbs.db`, so that where it is known how the files end that count, the rest is no part of it either.
"""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from pathlib import Path, PurePosixPath

from mlkit_build.errors import SourceError
from mlkit_build.records import dataclass


@dataclass(frozen=True)
class Tree:
    """Some files of a folder.

    Attributes:
        root: The folder.
        names: The files that count, relative to it; all of them when None.
        endings: Of all of them, how those end that count, in lower case; every file counts when empty.
        besides: Returns the names of others that count; asked only where there are others.
    """

    root: Path
    names: tuple[str, ...] | None = None
    endings: tuple[str, ...] = ()
    besides: Callable[[], Iterable[str]] | None = field(default=None, compare=False)

    def listed(self) -> list[str]:
        """Return the names that count, in order; of a whole folder also its folders, which end with a slash.

        Raises:
            OSError: A folder cannot be read, or what is there is neither a file nor a folder.
            MlkitBuildError: What `besides` raises.
        """
        if self.names is not None:
            return sorted(self.names)
        found = sorted(_names(self.root, "", ()))
        if not self.endings:
            return found
        others = [name for name in found if not name.lower().endswith((*self.endings, "/"))]
        if not others:
            return found
        named = {_alike(name) for name in self.besides()} if self.besides else set()
        left_out = {name for name in others if _alike(name) not in named}
        return [name for name in found if name not in left_out]

    def listed_for(self, field: str) -> list[str]:
        """Return what `listed` does.

        Args:
            field: The recipe's field that names the folder, for messages.

        Raises:
            SourceError: A folder cannot be read, or what is there is neither a file nor a folder.
        """
        try:
            return self.listed()
        except OSError as error:
            raise SourceError(
                f"{field}: {error.filename}: cannot be read: {error.strerror}", "take it out of the folder, or mend it"
            ) from error


def _alike(name: str) -> str:
    """Return what names have in common that one disk or another takes for the same."""
    return unicodedata.normalize("NFC", PurePosixPath(name).as_posix()).casefold()


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
