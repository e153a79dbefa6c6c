"""The folder an action works in, and what a disk without room for it is told as."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from mlkit_build.temporary import no_room, temporary_folder

_FULL_BELOW_BYTES = 1 << 16


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """Yield an empty folder that goes with this process.

    Raises:
        StoreError: The temporary folder cannot be written or is full.
    """
    with temporary_folder() as folder:
        try:
            yield folder
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise no_room(error) from error
            raise


def is_full(folder: Path) -> bool:
    """Return whether the disk of `folder` has no room left, which would explain an action that could not even report."""
    try:
        return shutil.disk_usage(folder).free < _FULL_BELOW_BYTES
    except OSError:
        return False
