"""Calibration samples in the model's units, checked before any quantizer sees one: TensorFlow's dies of a large number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset, skipping
from mlkit_build.datasets.feeding import Feed
from mlkit_build.datasets.random import RandomDataset
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Input
from mlkit_build.signature import FrozenSignature

LARGEST = 1e30
"""Beyond it float32 products overflow, and ranges with them."""
INDEPENDENT = 0.1
"""The correlation of neighbouring pixels below which images are noise: natural ones have more than 0.9, texture more than 0.3."""
ENOUGH_PIXELS = 1000
"""Of fewer, chance alone makes a correlation of a tenth."""


class Samples:
    """The calibration samples in the model's units, checked. Notices inputs that never vary."""

    def __init__(self, dataset: Dataset, signature: FrozenSignature, stated: Mapping[str, Input]) -> None:
        self.dataset = dataset
        self.feeds = {spec.name: Feed(dataset, spec, stated.get(spec.name, Input())) for spec in signature.inputs}
        self._signature = signature
        self._seen: dict[int, dict[str, _Seen]] = {}

    def values(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Return `[n, *shape]` of every input, where `shape` is the tensor's. Threads may share it."""
        values = {name: self._checked(name, batch.features[name], batch.first) for name in self.feeds}
        self._seen[batch.first] = {name: _Seen.of(array, is_image=self.feeds[name].is_image) for name, array in values.items()}
        return {spec.name: values[spec.name].reshape(len(batch), *spec.shape) for spec in self._signature.inputs}

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the least and greatest value of every input over all samples."""
        return {
            name: (min(seen[name].low for seen in self._seen.values()), max(seen[name].high for seen in self._seen.values()))
            for name in self.feeds
        }

    def warning(self) -> str:
        """Return which samples were left out, and what is wrong with those that looked valid; empty when nothing is.

        Of equal samples a quantizer learns the ranges of one input, of a constant one it learns none, and of noise those of
        layers that see no edges: the model then clips whatever the app feeds. One sample alone may be meant, unless it is a
        constant too.
        """
        found, count = [], len(self.dataset)
        for name, (low, high) in sorted(self.ranges().items()):
            firsts: list[Any] = [seen[name].first for seen in self._seen.values()]
            if low == high:
                all_of = "the one sample" if count == 1 else f"all {count} samples"
                found.append(f"calibration input {name!r} never varies: every value of {all_of} is {low:g}")
            elif count > 1 and all(first is not None and np.array_equal(first, firsts[0]) for first in firsts):
                found.append(f"calibration input {name!r} never varies: all {count} samples are the same")
            elif isinstance(self.dataset, RandomDataset):
                found.append(f"calibration input {name!r} is noise, as asked: its ranges within the model are not data's")
            elif _are_noise([seen[name] for _, seen in sorted(self._seen.items())]):
                found.append(f"calibration input {name!r} looks like noise: neighbouring pixels are independent of each other")
        unlike = f"{'; '.join(found)}; calibrate on samples of the training set" if found else ""
        return "; ".join(filter(None, (skipping(self.dataset, "calibration"), unlike)))

    def _checked(self, name: str, raw: Any, first: int) -> NDArray[Any]:
        values = self.feeds[name].values(raw, first)
        if values.dtype.kind == "f" and (np.abs(values) > LARGEST).any():
            row = int(np.nonzero(np.abs(values) > LARGEST)[0][0])
            raise ConfigError(
                f"{self.dataset.origin}, array {self.dataset.array_name(name)!r}: {self.dataset.sample(first + row)} has values "
                f"beyond {LARGEST:g}, which no integer range can represent",
                "remove the sample, or check how the array was made",
            )
        return values


class _Seen:
    """What is remembered of one batch of an input.

    Attributes:
        low: The least value.
        high: The greatest.
        first: The first sample, where all are the same.
        pixels: How many of the first sample, if it is an image, were compared with a neighbour.
        together: Over these, the sum of products of both, each less the mean.
        apart: What that sum would be if neighbours were equal.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        self.low, self.high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        self.first = None if (values != values[0]).any() else values[0].copy()
        self.pixels, self.together, self.apart = 0, 0.0, 0.0

    @classmethod
    def of(cls, values: NDArray[Any], *, is_image: bool) -> _Seen:
        """Look at `[n, ...]` values, of images `[n, height, width, channels]`."""
        found = cls(values)
        if is_image and values.ndim > 2:
            centred = values[0] - values[0].mean(dtype=np.float64)
            left, right = centred[..., :-1, :], centred[..., 1:, :]
            found.pixels = left.size
            found.together = float((left * right).sum())
            found.apart = float(np.sqrt((left**2).sum() * (right**2).sum()))
        return found


def _are_noise(seen: list[_Seen]) -> bool:
    """Return whether neighbouring pixels are independent: of photographs, drawings and scans, nearly equal."""
    together, apart = sum(found.together for found in seen), sum(found.apart for found in seen)
    return sum(found.pixels for found in seen) >= ENOUGH_PIXELS and together < INDEPENDENT * apart
