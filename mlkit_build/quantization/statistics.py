"""Calibration statistics as a file: the range of every tensor, exact and with equal bytes for equal ranges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mlkit_build.plain import canonical


def write(statistics: dict[str, dict[str, Any]], path: Path) -> None:
    """Write tensor name -> {min, max}. Float32 values survive JSON exactly."""
    plain = {
        tensor: {name: np.asarray(value).tolist() for name, value in ranges.items()} for tensor, ranges in statistics.items()
    }
    path.write_bytes(canonical(plain))


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Return what `write` wrote."""
    plain = json.loads(path.read_bytes())
    return {tensor: {name: np.array(value, np.float32) for name, value in ranges.items()} for tensor, ranges in plain.items()}
