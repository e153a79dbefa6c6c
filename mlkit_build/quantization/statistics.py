"""Calibration statistics as a file: the range of every tensor, and the samples it was seen on. Equal content, equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlkit_build.plain import canonical


@dataclass(frozen=True)
class Statistics:
    """What calibration saw.

    Attributes:
        ranges: Tensor name -> its `min` and `max`, float32 arrays as ai-edge-quantizer shapes them.
        samples: The identity of every sample, in hexadecimal, sorted: the order in the file changes nothing.
    """

    ranges: Mapping[str, Mapping[str, Any]]
    samples: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Statistics:
        """Return what `write` wrote."""
        plain = json.loads(path.read_bytes())
        ranges = {
            tensor: {end: np.array(value, np.float32) for end, value in ends.items()} for tensor, ends in plain["ranges"].items()
        }
        return cls(ranges, tuple(plain["samples"]))

    def write(self, path: Path) -> None:
        """Write it. Float32 values survive JSON exactly."""
        ranges = {
            tensor: {end: np.asarray(value).tolist() for end, value in ends.items()} for tensor, ends in self.ranges.items()
        }
        path.write_bytes(canonical({"ranges": ranges, "samples": sorted(self.samples)}))


@dataclass(frozen=True)
class Calibrated:
    """On what a model was calibrated, as its manifest and page state it.

    Attributes:
        samples: How many.
        sha256: One digest over all their identities.
    """

    samples: int
    sha256: str

    @classmethod
    def on(cls, samples: tuple[str, ...]) -> Calibrated:
        """Return the summary of the sample identities."""
        return cls(len(samples), hashlib.sha256("".join(sorted(samples)).encode()).hexdigest())
