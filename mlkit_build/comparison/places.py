"""Where two files part, for those that nothing more is known of."""

from __future__ import annotations

import os
from typing import IO

_AT_ONCE = 1 << 16


def parting(first: IO[bytes], second: IO[bytes]) -> str:
    """Return the first offset at which two files differ, and their sizes; empty for equal ones."""
    sizes = [file.seek(0, os.SEEK_END) for file in (first, second)]
    first.seek(0)
    second.seek(0)
    at = 0
    while True:
        one, other = first.read(_AT_ONCE), second.read(_AT_ONCE)
        if one != other:
            shared = min(len(one), len(other))
            at += next((place for place in range(shared) if one[place] != other[place]), shared)
            break
        if not one:
            return ""
        at += len(one)
    told = f"{sizes[0]:,} bytes each" if sizes[0] == sizes[1] else f"{sizes[0]:,} and {sizes[1]:,} bytes"
    return f"the first difference is at byte {at:,}, of {told}"
