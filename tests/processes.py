"""Processes that a build started, watched from outside."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20.0
"""Seconds until a wait is given up: far beyond what anything here takes, so that a slow machine fails no test."""


def eventually(holds: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Wait until `holds()` is true; return whether it became so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return bool(holds())


def alive(process: int) -> bool:
    """Return whether a process runs; one that is dead and not yet buried by its parent does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True


def descendants(process: int) -> list[int]:
    """Return every process below `process`, from /proc."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, left = [], [process]
    while left:
        below = parents.get(left.pop(), [])
        found += below
        left += below
    return found
