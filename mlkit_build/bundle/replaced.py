"""What a bundle had that the one which takes its place lacks: an override can undo by accident what gates stood for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlkit_build.bounded import read_regular
from mlkit_build.bundle.publish import MANIFEST
from mlkit_build.metrics import OF_THE_FILE
from mlkit_build.printable import shown
from mlkit_build.recipe import ML_KIT_TARGETS
from mlkit_build.tflite import FLEX


def lost(place: Path, manifest: bytes) -> str:
    """Return in one line what is lost with the bundle at `place`; empty where nothing is, or no bundle is there.

    Values that other values take the place of are not lost, nor are gates that others do.

    Args:
        manifest: The bytes of the manifest that is about to be published there.
    """
    try:
        before = _held(read_regular(place / MANIFEST))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):  # damaged, or of another version
        return ""
    now = _held(manifest)
    gone = [f"{what} ({_some(names)})" if names[0] else what for what, names in before.items() if names and not now[what]]
    if not gone:
        return ""
    return f"{place}: the bundle there had what this one lacks: {', '.join(gone)}; variant= gives this one a place of its own"


def _held(manifest: bytes) -> dict[str, list[str]]:
    """Return what a bundle has of what an app or its maker relies on -> its names; a name may be empty."""
    found: dict[str, Any] = json.loads(manifest)
    recipe = found["recipe"]
    task = recipe["target"]["task"]
    return {
        "measured values": [name for name in found["metrics"] if name not in OF_THE_FILE and not name.startswith(FLEX)],
        "gates": [str(gate["metric"]) for gate in found["gates"]],
        "labels": [] if recipe["labels"] is None else [""],
        "a target of ML Kit": [str(task)] if task in ML_KIT_TARGETS else [],
    }


def _some(names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    return shown(", ".join(different[:3])) + (", ..." if len(different) > 3 else "")
