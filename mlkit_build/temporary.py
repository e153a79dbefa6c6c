"""Temporary folders, which go when their process ends, however it ended: what a killed one leaves, the next one sweeps up.

Each is locked while its process lives. The number of its process would not do: a container beside, which may share the folder,
has numbers of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mlkit_build.errors import ConfigError, StoreError

_PREFIX = "mlkit-build-"
_UNLOCKED = ".unlocked"
_KEPT = ".mlkit-build-kept"
_ABANDONED_SECONDS = 86400
"""Older than any build lasts: where there are no locks, or for the moment before there is one."""


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder in TMPDIR for this user alone, and remove it afterwards, if nobody asked to `keep` it.

    Raises:
        StoreError: The temporary folder cannot be written or is full.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(folder_in(Path(tempfile.gettempdir()), _PREFIX, 0o700))
        except OSError as error:
            raise no_room(error) from error
        yield folder


@contextlib.contextmanager
def named_or_temporary(stated: Path | None, where: str) -> Iterator[Path]:
    """Yield a new folder at the path that somebody named, which stays; a temporary one where nobody did.

    Args:
        stated: The path.
        where: The verb and the option, for messages.

    Raises:
        ConfigError: Something is there already.
        StoreError: It cannot be made.
    """
    if stated is None:
        with temporary_folder() as folder:
            yield folder
        return
    named = stated.expanduser().absolute()
    try:
        named.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(f"{where} {stated}: expected a folder that is not there yet", "name another, or remove it") from error
    except OSError as error:
        raise StoreError(f"{where} {stated}: {error.strerror or error}") from error
    yield named


def keep(folder: Path) -> None:
    """Have a temporary folder stay when its process ends, for somebody to look into."""
    (folder / _KEPT).touch()


def no_room(error: OSError) -> StoreError:
    """Return the error for a temporary folder that cannot be written."""
    try:
        where = f"temporary folder {tempfile.gettempdir()}"
    except OSError:
        where = "temporary folder"
    return StoreError(f"{where}: {error.strerror or error}", "free some space, or set TMPDIR to another folder")


@contextlib.contextmanager
def folder_in(parent: Path, prefix: str, mode: int = 0o777) -> Iterator[Path]:
    """Yield a new folder `<prefix><16 hex digits>` in `parent`, and remove it afterwards.

    Those of that prefix whose process has ended are removed before.

    Raises:
        OSError: It cannot be made.
    """
    _sweep(parent, prefix)
    folder, lock = _made(unlocked_name(parent, prefix), mode)
    try:
        yield folder
    finally:
        if not (folder / _KEPT).exists():
            _remove(folder)
        if lock is not None:
            os.close(lock)


def unlocked_name(parent: Path, prefix: str) -> Path:
    """Return the path of a folder to be made that nobody locks: it is swept up when it is a day old."""
    return parent / f"{prefix}{os.urandom(8).hex()}{_UNLOCKED}"


def _made(unlocked: Path, mode: int) -> tuple[Path, int | None]:
    """Return a new folder, and the descriptor whose lock says that its process lives; None where there are no locks.

    It gets the name of a locked one only once it is: before, another process could take it for abandoned.
    """
    place = unlocked.with_name(unlocked.name.removesuffix(_UNLOCKED))
    unlocked.mkdir(mode)
    lock = None
    try:
        lock = _locked(unlocked)
        if lock is not None:
            unlocked.rename(place)
    except BaseException:
        shutil.rmtree(unlocked, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        raise
    return (unlocked if lock is None else place), lock


def _sweep(parent: Path, prefix: str) -> None:
    """Remove this user's folders of that prefix that nobody holds a lock of or keeps, and old ones that never had a lock."""
    ours = re.compile(rf"{re.escape(prefix)}[0-9a-f]{{16}}({re.escape(_UNLOCKED)})?")
    try:
        there_now = list(parent.iterdir())
    except OSError:  # what everybody may write to, not everybody may list; if it is not there, making the folder tells
        return
    for path in there_now:
        found = ours.fullmatch(path.name)
        if found is None:
            continue
        with contextlib.suppress(OSError):  # gone by now
            there = path.lstat()
            if not stat.S_ISDIR(there.st_mode) or not _is_own(there):
                continue
            if found[1]:
                if time.time() - there.st_mtime > _ABANDONED_SECONDS and not os.path.lexists(path / _KEPT):
                    _remove(path)
            elif (lock := _locked(path)) is not None:
                if not os.path.lexists(path / _KEPT):  # its process may have kept it, and ended, since we looked
                    _remove(path)
                os.close(lock)


def _is_own(found: os.stat_result) -> bool:
    return sys.platform == "win32" or found.st_uid == os.geteuid()


def _remove(folder: Path) -> None:
    """Remove a folder with all that is in it. What cannot be removed stays, and fails nobody's build."""
    with contextlib.suppress(RecursionError):  # before Python 3.13 it calls itself for each folder within another
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        with contextlib.suppress(OSError):
            _remove_flattened(folder)


def _remove_flattened(folder: Path) -> None:
    """Remove folders of any depth, and those that code made read-only: each is moved up before it is emptied."""
    pending = [folder]
    while pending:
        current = pending.pop()
        current.chmod(0o700)
        for entry in list(os.scandir(current)):
            if entry.is_dir(follow_symlinks=False):
                Path(entry.path).chmod(0o700)  # to move it is to write to it: what is above it is another then
                pending.append(Path(entry.path).rename(folder / os.urandom(8).hex()))
            else:
                Path(entry.path).unlink()
        if current != folder:
            current.rmdir()
    folder.rmdir()


def _locked(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of a folder until it is closed, or its process ends; None where another holds it,
    or the system or the file system has none."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
