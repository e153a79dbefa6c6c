"""Texts of a recipe inside texts that other programs read: they stay texts, whatever they hold."""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"([\\`*\[\]<>&|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""What could mean something. A `_` within a word means nothing, and names are full of them."""
_BARE_ADDRESS = re.compile(r"(?i)(?<=[a-z])(://)|\b(www)(\.)")
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Controls, line ends of all kinds, and marks that turn the direction of text, with which code can look other than it is."""


class Verbatim(str):
    """A text that is safe where it stands: a filter made it so."""

    __slots__ = ()


def one_line(text: str, limit: int = 300) -> str:
    """Return the text in one line of at most `limit` characters, without controls."""
    flat = " ".join(_INVISIBLE.sub(" ", text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1].rstrip()}…"


def markdown(text: object, limit: int = 300) -> Verbatim:
    """Return the text for CommonMark and GitHub's dialect, anywhere but at the start of a line; it becomes no link and no tag."""
    escaped = _MARKDOWN.sub(r"\\\1", one_line(str(text), limit))
    return Verbatim(_BARE_ADDRESS.sub(lambda found: (found[2] or "") + "\\" + (found[1] or found[3]), escaped))


def code_span(text: object, limit: int = 100) -> Verbatim:
    """Return the text as a code span, also in a table, in a fence of more backticks than it holds in a row."""
    flat = one_line(str(text), limit).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") or not flat else ""
    return Verbatim(f"{fence}{pad}{flat}{pad}{fence}")


def kotlin(text: object) -> Verbatim:
    """Return the text as a literal of Kotlin, or of a Gradle build file in Kotlin."""
    return Verbatim('"' + "".join(_kotlin(character) for character in str(text)) + '"')


def swift(text: object) -> Verbatim:
    """Return the text as a literal of Swift."""
    return Verbatim('"' + "".join(_swift(character) for character in str(text)) + '"')


def _kotlin(character: str) -> str:
    if character in '\\"$':
        return f"\\{character}"
    return f"\\u{ord(character):04x}" if _INVISIBLE.match(character) else character


def _swift(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    return f"\\u{{{ord(character):x}}}" if _INVISIBLE.match(character) else character
