"""From samples as a file holds them to what a model's input wants. Calibration, validation and the app read one statement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Dataset
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Input
from mlkit_build.signature import TensorSpec


class Feed:
    """Turns batches of one feature into batches of one input.

    Args:
        dataset: Where the samples come from.
        spec: The model's input.
        stated: What the recipe says about it: mean and std make it an image.

    Raises:
        ConfigError: The samples do not have the input's shape.
    """

    def __init__(self, dataset: Dataset, spec: TensorSpec, stated: Input) -> None:
        self._spec = spec
        self._origin = f"{dataset.origin}, array {dataset.array_name(spec.name)!r}"
        self.is_image = stated.mean is not None
        self._mean = np.array(stated.mean or (0.0,), np.float32)
        self._std = np.array(stated.std or (1.0,), np.float32)
        self._repeat = self._check_shape(dataset.sample_shape(spec.name))

    def values(self, raw: NDArray[Any], first: int) -> NDArray[Any]:
        """Return `[n, ...]` in the model's units and type: `(pixel - mean) / std` for images.

        Raises:
            ConfigError: A sample has values that the input cannot mean; names it.
        """
        shaped = self._shaped(raw, first)
        if self._spec.dtype != "float32" or not self.is_image:
            return self._cast(shaped)
        normalized: NDArray[Any] = (shaped.astype(np.float32) - self._mean) / self._std
        return normalized

    def pixels(self, raw: NDArray[Any], first: int) -> NDArray[np.uint8]:
        """Return `[n, height, width, channels]` uint8 pixels, as an app feeds a uint8 model."""
        shaped: NDArray[Any] = self._shaped(raw, first)
        return np.rint(shaped).astype(np.uint8) if shaped.dtype.kind == "f" else shaped.astype(np.uint8)

    @property
    def range(self) -> tuple[float, float]:
        """The least and greatest value that an image input can have: pixels 0 and 255, normalized."""
        ends = np.array([(0 - self._mean) / self._std, (255 - self._mean) / self._std])
        return float(ends.min()), float(ends.max())

    def _check_shape(self, found: tuple[int, ...]) -> int:
        """Return how often the channel must be repeated: a grey image has three equal channels where RGB is wanted."""
        wanted = self._spec.shape[1:] if self._spec.shape else ()
        if found == wanted or (*found, 1) == wanted:
            return 1
        if self.is_image and wanted[-1:] == (3,) and found in (wanted[:-1], (*wanted[:-1], 1)):
            return 3
        raise ConfigError(
            f"{self._origin}: expected samples of shape {list(wanted)} for the input {self._spec.name!r}, found {list(found)}",
            "check the array, or signature.inputs and its shape",
        )

    def _shaped(self, raw: NDArray[Any], first: int) -> NDArray[Any]:
        if raw.dtype.kind == "f":
            self._refuse(~np.isfinite(raw), raw, first, "a finite number")
        if self.is_image:
            self._refuse((raw < 0) | (raw > 255), raw, first, "a pixel in 0..255")
        wanted = self._spec.shape[1:] if self._spec.shape else ()
        if self._repeat == 3:
            grey = raw if raw.ndim == len(wanted) + 1 else raw[..., np.newaxis]
            return np.repeat(grey, 3, axis=-1)
        return raw.reshape(len(raw), *wanted)

    def _refuse(self, bad: NDArray[np.bool_], raw: NDArray[Any], first: int, expected: str) -> None:
        if bad.any():
            where = tuple(int(axis[0]) for axis in np.nonzero(bad))
            raise ConfigError(f"{self._origin}: sample {first + where[0]}: expected {expected}, found {raw[where]}")

    def _cast(self, values: NDArray[Any]) -> NDArray[Any]:
        wanted = np.dtype(self._spec.dtype)
        if values.dtype == wanted or (wanted.kind == "f" and values.dtype.kind in "buif"):
            return values.astype(wanted)
        if wanted.kind in "ui" and values.dtype.kind in "bui":
            limits = np.iinfo(wanted)
            if values.size == 0 or (values.min() >= limits.min and values.max() <= limits.max):
                return values.astype(wanted)
        raise ConfigError(
            f"{self._origin}: expected values of type {wanted} for the input {self._spec.name!r}, found {values.dtype}"
        )
