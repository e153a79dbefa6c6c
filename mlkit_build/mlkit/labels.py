"""Label files: one class per line, as ML Kit counts them."""

from __future__ import annotations

from pathlib import Path

from mlkit_build.errors import SourceError


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the labels, without byte order mark and carriage returns, which would show in the app.

    Exactly one newline at the end is no label; a second one would add a class without a name.

    Raises:
        SourceError: The file is missing, not UTF-8, empty, or has a blank line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"labels: {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"labels: {path}: expected UTF-8 text, found byte {error.start} that is not") from error
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    labels = tuple(line.strip() for line in lines)
    if labels == ("",):
        raise SourceError(f"labels: {path}: expected one class per line, found an empty file")
    if "" in labels:
        raise SourceError(
            f"labels: {path}: line {labels.index('') + 1} is blank; expected one class per line",
            "every line is a class",
        )
    return labels
