"""JSON by anyone, read strictly: bounded in size and depth, and without the mistakes that `json` lets pass."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_BYTES = 64 << 20
"""More than any document of a bundle has."""
DEEPEST = 100
"""Levels of nesting: more than any document of ours has, and less than Python can recurse."""
_TOO_DEEP = f"it is nested too deeply: expected at most {DEEPEST} levels"
_LONGEST_INTEGER = 300
"""Digits: an integer of more has no float."""
_HALF = re.compile("[\ud800-\udfff]")


class UnreadableError(Exception):
    """A document is not what it has to be: what was found, and what was expected."""


def read_json(data: bytes) -> Any:
    """Return what a JSON document says, with the mistakes refused that `json` lets pass.

    Raises:
        UnreadableError: It is no JSON in UTF-8, too large or too deep, has a key twice, NaN, a number that no float comes near,
            or half a character (of the pairs that UTF-16 is made of).
    """
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"expected at most {MAX_BYTES >> 20} MB, found more")
    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_number,
            parse_float=_float,
            parse_int=_integer,
        )
    except RecursionError:
        raise UnreadableError(_TOO_DEEP) from None
    except ValueError as error:
        raise UnreadableError(f"expected JSON: {error}") from error
    _check_depth(found)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise UnreadableError(f"the key {twice!r} is there twice")
    return found


def _no_number(text: str) -> Any:
    raise UnreadableError(f"expected a number, found {text[:80]}")


def _float(text: str) -> float:
    found = float(text)
    return found if math.isfinite(found) else _no_number(text)


def _integer(text: str) -> int:
    return int(text) if len(text) <= _LONGEST_INTEGER else _no_number(text)


def _check_depth(value: Any) -> None:
    """Go level by level: whatever walks the value later may then recurse. Texts are looked at on the way."""
    level = [value]
    for _ in range(DEEPEST):
        texts = [item for item in level if isinstance(item, str)]
        texts += [name for item in level if isinstance(item, dict) for name in item]
        if any(_HALF.search(text) for text in texts):
            raise UnreadableError("expected texts, found half a character, which no text in UTF-8 has")
        level = [
            part
            for item in level
            for part in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
        if not level:
            return
    raise UnreadableError(_TOO_DEEP)
