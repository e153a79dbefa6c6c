"""Texts out of files by anyone, as they can be printed and stated in JSON."""

from __future__ import annotations

import math
from typing import Any


def shown(text: str, longest: int = 600) -> str:
    """Return a text as it can be printed: a name in a model may be long, and hold what moves a terminal's cursor."""
    cut = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return _escaped(cut, "")


def shown_lines(text: str) -> str:
    """Return a message as it can be printed, whatever the names in it: as `shown`, but of any length, and in its lines."""
    return _escaped(text, "\n\t")


def _escaped(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in kept else repr(letter)[1:-1] for letter in text)


def in_utf8(text: str) -> str:
    """Return a text that UTF-8 can hold: of a file's name that is no UTF-8, `caf\\udce9.png` with a backslash as it is shown."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def finite(value: Any) -> Any:
    """Return a plain value with texts for numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value
