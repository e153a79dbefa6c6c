"""The JSON files of a prepared dataset, which are data and may be hostile: read with bounds on size and depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlkit_build.bounded import read_whole
from mlkit_build.errors import SourceError

MAX_BYTES = 16 << 20
"""The largest of the library's own, with a hundred configurations described, have 100 kB."""


def read_object(path: Path, origin: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        origin: What to call the file in messages.

    Raises:
        SourceError: It cannot be read, is too large or too deep, or holds something else.
    """
    hint = "prepare the dataset again, or fetch it again"
    try:
        found = json.loads(read_whole(path, MAX_BYTES, origin))
    except OSError as error:
        raise SourceError(f"{origin}: cannot be read: {error.strerror}", hint) from error
    except RecursionError:
        raise SourceError(f"{origin}: nested too deeply", hint) from None
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise SourceError(f"{origin}: expected JSON, found something else: {error}", hint) from error
    if not isinstance(found, dict):
        raise SourceError(f"{origin}: expected an object, found {type(found).__name__}", hint)
    return found
