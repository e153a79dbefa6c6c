"""What is said of a file or folder that is not where a recipe states it: where that is, and what was meant."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from mlkit_build.bounded import is_file, is_folder, is_link, is_there
from mlkit_build.errors import SourceError, did_you_mean
from mlkit_build.printable import shown


def not_found(field: str, path: Path, stated: str, expected: str = "file") -> SourceError:
    """Return the error.

    Args:
        path: Where it was looked for.
        stated: The path as the recipe has it.
        expected: `file` or `folder`.
    """
    place = _without_detours(path) if ".." in path.parts else path  # a/b/../../c is nothing that a reader looks up
    found = "a folder" if is_folder(path) else "a file" if is_there(path) else "nothing"
    if leads_nowhere := found == "nothing" and is_link(place):
        found = "a link that leads nowhere"
    elif found == "nothing" and _is_too_long(path):
        found = "nothing: the name is too long for one"
    hint = _elsewhere(stated, expected) or ("" if leads_nowhere else _meant(place))
    return SourceError(f"{field}: expected a {expected} at {shown(str(place))}, found {found}", hint)


def _without_detours(path: Path) -> Path:
    """Return where the path leads, or the path itself where it can lead nowhere. Links may lead in a circle."""
    try:
        return Path(os.path.realpath(path))
    except (ValueError, OSError):  # a NUL, which no name can have
        return path


def _is_too_long(path: Path) -> bool:
    try:
        path.lstat()
    except (ValueError, OSError) as error:
        return isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
    return False


def _elsewhere(stated: str, expected: str) -> str:
    elsewhere = Path(stated).absolute()
    there = "://" not in stated and (is_folder(elsewhere) if expected == "folder" else is_file(elsewhere))
    return f"paths are relative to the recipe's folder; {shown(str(elsewhere))} exists" if there else ""


def _meant(place: Path) -> str:
    """Return which neighbour of the first part that is missing may be meant."""
    while not is_folder(place.parent) and place != place.parent:
        place = place.parent
    with suppress(OSError):
        if not place.exists():
            return did_you_mean(place.name, sorted(path.name for path in place.parent.iterdir() if not path.name.startswith(".")))
    return ""
