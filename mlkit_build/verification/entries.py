"""Names of files in a bundle by anyone: which of them stay inside, and mean one file each wherever the bundle is unpacked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from mlkit_build.bundle.publish import MANIFEST

MAX_FILES = 10_000
"""More files than any bundle has: an archive may list as many as it likes."""
MAX_DEPTH = 100
"""More folders within each other than any bundle has."""
_NAME_BYTES = 1024
_PART_BYTES = 255


class UnsafeError(Exception):
    """Something in the place is no file of a bundle: its name, and what it is."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(f"{name}: {found}")
        self.name, self.found = name, found


def is_safe(name: str) -> bool:
    """Return whether a name stays in the folder it is read in, on every system: relative, no `..`, no backslash, no drive."""
    parts = name.split("/")
    return bool(name) and not any(part in ("", ".", "..") for part in parts) and not set(name) & {"\\", "\0", ":"}


def check_names(files: Sequence[str], folders: Iterable[str] = ()) -> None:
    """Refuse names that lead out of a bundle, or that are not one file each on every system.

    Args:
        files: As the place lists them.
        folders: Those that it lists by themselves; each has to hold one of the files.

    Raises:
        UnsafeError: There is such a name, or there are too many.
    """
    if len(files) > MAX_FILES:
        raise UnsafeError(files[MAX_FILES], f"one of more than {MAX_FILES} files")
    known: dict[str, str] = {}
    above: set[str] = set()
    for name in files:
        _check_name(name)
        _check_twin(name, known)
        for folder in map(str, PurePosixPath(name).parents):
            if folder in above or folder == ".":
                break
            _check_twin(folder, known)
            above.add(folder)
    for folder in folders:
        _check_name(folder)
        if folder not in above:
            raise UnsafeError(f"{folder}/", "an empty folder")


def rooted(listed: Sequence[tuple[str, Any]], folders: Sequence[str]) -> dict[str, Any]:
    """Return name -> entry, the names as they are in the folder that holds the manifest. Raises UnsafeError as above."""
    names = [name for name, _ in listed]
    check_names(names, folders)
    manifests = [name for name in names if PurePosixPath(name).name == MANIFEST]
    root = min(manifests, key=len, default=MANIFEST).removesuffix(MANIFEST)
    if not all(name.startswith(root) for name in names):
        root = ""
    return {name.removeprefix(root): entry for name, entry in listed}


def _check_name(name: str) -> None:
    if not is_safe(name):
        raise UnsafeError(repr(name), "a name that leads out of the bundle")
    parts = name.split("/")
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if sum(sizes) + len(sizes) > _NAME_BYTES or max(sizes) > _PART_BYTES or len(parts) > MAX_DEPTH:
        raise UnsafeError(repr(f"{name[:60]}..."), "a name that is too long")
    if not name.isprintable():  # what turns the direction of writing is not printable either
        raise UnsafeError(repr(name), "a name that does not show what it is")


def _check_twin(name: str, known: dict[str, str]) -> None:
    """Refuse a second name for what is one file on some system."""
    folded = _folded(name)
    if (other := known.get(folded)) is not None:
        raise UnsafeError(name, "there twice" if other == name else f"the same file as {other} on other systems")
    known[folded] = name


def _folded(name: str) -> str:
    """Return a name as the least particular systems see it: without case, ways to write an accent, dots and spaces at the end."""
    if not name.isascii():
        import unicodedata  # not at the top: few names have such letters

        name = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return "/".join(part.rstrip(". ") for part in name.lower().split("/"))
