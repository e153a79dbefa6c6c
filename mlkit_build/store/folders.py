"""Whole folders of the cache: made in a temporary one, under a lock, and moved to their place when they are finished."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mlkit_build.store.disk import DiskStore

ABANDONED_SECONDS = 24 * 3600
"""A folder that nobody finished for so long is swept up, whosever it was."""


@contextmanager
def locked(store: DiskStore, name: str, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock of that name; False where there is none to be had, which costs at most the same work twice."""
    with ExitStack() as stack:
        held = False
        with suppress(OSError, NotImplementedError):
            try:
                stack.enter_context(store.lock(name, timeout=0.05))
            except TimeoutError:
                waiting()
                stack.enter_context(store.lock(name))
            held = True
        yield held


def move(work: Path, place: Path, is_whole: Callable[[], bool]) -> None:
    """Put a finished folder in its place, and a damaged one out of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        work.rename(place)
    except OSError:
        if not place.exists():
            raise
        if is_whole():
            return  # another build, without the lock, was first
        aside = work.with_name(f"{work.name}-damaged")
        place.rename(aside)
        try:
            work.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path, prefix: str, key: str | None) -> None:
    """Remove what killed builds left: everything of `key`, whose lock is held, and of anybody what is old.

    Args:
        folder: Where folders called `<prefix><key>-...` are made.
    """
    before = time.time() - ABANDONED_SECONDS
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError):
            if (key and path.name.startswith(f"{prefix}{key}-")) or path.stat().st_mtime < before:
                shutil.rmtree(path, ignore_errors=True)
