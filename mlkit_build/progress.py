"""How far an action is, for whoever waits: the action's process tells a file in its work folder, the build's looks into it.

Nothing depends on it. An action that runs elsewhere, in a test or a notebook, tells nobody.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

FILE = "progress"
EVERY_S = 0.2
"""How often the build looks."""

_told: list[Path] = []


def tell_to(path: Path) -> None:
    """Have `tell` write to this file from now on."""
    _told[:] = [path]


def tell(done: int, total: int) -> None:
    """Say that so much is done of so much, e.g. samples."""
    for path in _told:
        with contextlib.suppress(OSError):
            path.write_text(f"{done} {total}", encoding="ascii")


def told(work: Path) -> tuple[int, int] | None:
    """Return what the action in this work folder said last, or None."""
    try:
        done, total = (work / FILE).read_text(encoding="ascii").split()
        return int(done), int(total)
    except (OSError, ValueError):  # nothing yet, or half of it
        return None
