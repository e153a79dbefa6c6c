"""Calibration statistics as a file: the range of every tensor, and the samples it was seen on. Equal content, equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlkit_build.plain import canonical
from mlkit_build.quantization.observing import Tensor
from mlkit_build.records import dataclass


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
    def of(cls, ends: Mapping[Tensor, tuple[float, float]], identities: Sequence[bytes]) -> Statistics:
        """Return the ranges as ai-edge-quantizer wants them: arrays of the tensor's rank with one value."""
        ranges = {
            tensor.name: {
                end: np.full((1,) * tensor.rank, value, np.float32) for end, value in zip(("min", "max"), values, strict=True)
            }
            for tensor, values in ends.items()
        }
        return cls(ranges, tuple(identity.hex() for identity in identities))

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
class Hessians:
    """What GPTQ needs beside the ranges: how the values that a FULLY_CONNECTED reads go together.

    Attributes:
        matrices: Tensor name -> `2 / n * X^T X` over all `n` rows that the tensor held, float32 (GPTQ, arXiv:2210.17323).
    """

    matrices: Mapping[str, Any]

    @classmethod
    def summed(cls, tensors: Sequence[str], parts: Iterable[Sequence[tuple[Any, int]]]) -> Hessians:
        """Return them from `X^T X` and its number of rows, for every part of the samples and every tensor."""
        sums: list[Any] = [0.0] * len(tensors)
        counts = [0] * len(tensors)
        for part in parts:
            for index, (product, count) in enumerate(part):
                sums[index] = sums[index] + product
                counts[index] += count
        found = zip(tensors, sums, counts, strict=True)
        return cls({tensor: (2.0 / max(1, count) * product).astype(np.float32) for tensor, product, count in found})

    @classmethod
    def read(cls, path: Path) -> Hessians:
        """Return what `write` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            names = json.loads(bytes(archive["names"]))
            return cls({name: archive[str(index)] for index, name in enumerate(names)})

    def write(self, path: Path) -> None:
        """Write them: tensor names are no file names, so the matrices are numbered."""
        names = np.frombuffer(canonical(list(self.matrices)), np.uint8)
        np.savez(path, names=names, **{str(index): matrix for index, matrix in enumerate(self.matrices.values())})


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
