"""What is said of a file or folder that is not where a recipe states it: where that is, and what was meant."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mlkit_build.errors import SourceError, did_you_mean


def not_found(field: str, path: Path, stated: str, expected: str = "file") -> SourceError:
    """Return the error.

    Args:
        path: Where it was looked for.
        stated: The path as the recipe has it.
        expected: `file` or `folder`.
    """
    place = path.resolve() if ".." in path.parts else path  # a/b/../../c is nothing that a reader looks up
    found = "a folder" if path.is_dir() else "a file" if path.exists() else "nothing"
    hint = _elsewhere(stated, expected) or _meant(place)
    return SourceError(f"{field}: expected a {expected} at {place}, found {found}", hint)


def _elsewhere(stated: str, expected: str) -> str:
    elsewhere = Path(stated).absolute()
    there = "://" not in stated and (elsewhere.is_dir() if expected == "folder" else elsewhere.is_file())
    return f"paths are relative to the recipe's folder; {elsewhere} exists" if there else ""


def _meant(place: Path) -> str:
    """Return which neighbour of the first part that is missing may be meant."""
    while not place.parent.is_dir() and place != place.parent:
        place = place.parent
    with suppress(OSError):
        if not place.exists():
            return did_you_mean(place.name, sorted(path.name for path in place.parent.iterdir() if not path.name.startswith(".")))
    return ""
