"""The folder an action works in: temporary, removed afterwards, and swept up later where its build was killed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlkit_build.errors import StoreError

_OURS = re.compile(r"mlkit-build-(\d+)-\w+")
_FULL_BELOW_BYTES = 1 << 16


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """Yield an empty folder named after this process.

    Raises:
        StoreError: The temporary folder cannot be written or is full.
    """
    try:
        _sweep()
        folder = Path(tempfile.mkdtemp(prefix=f"mlkit-build-{os.getpid()}-"))
    except OSError as error:
        raise no_room(error.strerror or str(error)) from error
    try:
        yield folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise no_room(error.strerror or str(error)) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_full(folder: Path) -> bool:
    """Return whether the disk of `folder` has no room left, which would explain an action that could not even report."""
    try:
        return shutil.disk_usage(folder).free < _FULL_BELOW_BYTES
    except OSError:
        return False


def no_room(reason: str) -> StoreError:
    """Return the error for a temporary folder that cannot be written."""
    return StoreError(f"temporary folder {tempfile.gettempdir()}: {reason}", "free some space, or set TMPDIR to another folder")


def _sweep() -> None:
    """Remove the folders of processes that no longer live."""
    for path in Path(tempfile.gettempdir()).glob("mlkit-build-*"):
        match = _OURS.fullmatch(path.name)
        if match and not _lives(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
