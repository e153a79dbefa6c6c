"""Files in a folder of samples that are none by their ending, though they look as if somebody took them for some."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from mlkit_build.printable import shown
from mlkit_build.store import Tree

_TEXTS = (
    ".txt", ".md", ".rst", ".html", ".pdf", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".ini", ".db", ".log",
    ".py", ".sh", ".ipynb",
)  # fmt: skip
"""Tables, notes, programs, and what file managers leave behind (`Thumbs.db`, `desktop.ini`)."""
_NOTES = ("readme", "license", "licence", "copying", "notice", "changelog", "sha256sums", "md5sums", "makefile")
"""Names, without their ending, of what accompanies data."""
_NAMED = 5


def left_out(files: Tree, field: str) -> str:
    """Return how many files of a folder of samples are left out, and how these end; empty where none is, or a table names them.

    Args:
        field: The recipe's field that names the folder, for messages.

    Raises:
        SourceError: The folder cannot be looked through.
    """
    if not files.endings or files.besides is not None:
        return ""
    names = (name for name in Tree(files.root).listed_for(field) if not name.lower().endswith((*files.endings, "/")))
    paths = [PurePosixPath(name.lower()) for name in names]
    found = Counter(path.suffix for path in paths if path.suffix not in _TEXTS and path.stem not in _NOTES)
    if not found:
        return ""
    count = found.total()
    some = [f"{shown(ending, 20) or 'without an ending'} ({number})" for ending, number in found.most_common(_NAMED)]
    left = "1 file is" if count == 1 else f"{count} files are"
    return (
        f"{field}: {left} left out, since names of samples end with one of {', '.join(files.endings)}: "
        f"{', '.join(some)}{', ...' if len(found) > _NAMED else ''}; save them as such, or move them elsewhere"
    )
