"""From samples as a file holds them to what a model's input wants. Calibration, validation and the app read one statement."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Dataset
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Input
from mlkit_build.signature import TensorSpec

_TO_RGB = np.kron(np.eye(4, dtype=np.float32), np.ones((1, 3), np.float32))
"""`[4, 12]`: four grey pixels times this are their RGB, exactly: each is a pixel times 1 and zeros. One product is one time
without the GIL; three strided copies, no faster, are three, and after each the threads that infer wait for one another. Of up to
a million multiplications OpenBLAS makes a small product, in half the time; wider blocks have more of them."""


class Feed:
    """Turns batches of one feature into batches of one input.

    Args:
        dataset: Where the samples come from.
        spec: The model's input.
        stated: What the recipe says about it: mean and std make it an image.

    Attributes:
        origin: The file and its array, to name in messages.
        is_image: Whether samples are pixels.

    Raises:
        ConfigError: The samples do not have the input's shape.
    """

    def __init__(self, dataset: Dataset, spec: TensorSpec, stated: Input) -> None:
        self._spec = spec
        self._dataset = dataset
        self.origin = f"{dataset.origin}, array {dataset.array_name(spec.name)!r}"
        self.is_image = stated.mean is not None
        self._mean = np.array(stated.mean or (0.0,), np.float32)
        self._std = np.array(stated.std or (1.0,), np.float32)
        self._planes = list(zip(*np.broadcast_arrays(self._mean, self._std), strict=True))
        self._check_channels()
        self._repeat = self._check_shape(dataset.sample_shape(spec.name))

    def values(self, raw: NDArray[Any], first: int) -> NDArray[Any]:
        """Return `[n, ...]` in the model's units and type: `(pixel - mean) / std` for images.

        Raises:
            ConfigError: A sample has values that the input cannot mean; names it.
        """
        values = np.empty((len(raw), *self._spec.shape[1:]), self._spec.dtype)
        self.write(self.ready(raw, first), values)
        return values

    def ready(self, raw: NDArray[Any], first: int) -> NDArray[Any]:
        """Return samples for `write`, which may then be given a few of them at a time: `[n, ...]`, checked.

        Grey pixels that become RGB are normalized here: before repeating that is a third of the work, and of many samples it is
        one long step without the GIL. After each of many short ones the threads that infer would wait for one another.

        Raises:
            ConfigError: As `values`.
        """
        if not self._normalizes:
            return self._cast(self._shaped(raw, first), first)
        self._check_values(raw, first)
        pixels = raw if raw.dtype == np.uint8 else raw.astype(np.float32, copy=False)
        return self._normalized(pixels, *self._planes[0]) if self._is_one_plane else pixels

    def write(self, ready: NDArray[Any], out: NDArray[Any]) -> None:
        """Write what `values` returns for samples that are `ready` into `out`, an interpreter's memory: no copy in between."""
        if not self._normalizes:
            out[...] = ready
        elif self._repeat == 1:
            np.subtract(ready.reshape(out.shape), self._mean, out=out)
            np.divide(out, self._std, out=out)
        elif self._is_one_plane and ready.size % len(_TO_RGB) == 0:
            np.matmul(ready.reshape(-1, len(_TO_RGB)), _TO_RGB, out=out.reshape(-1, _TO_RGB.shape[1]))
        else:
            grey, rgb = ready.reshape(-1), out.reshape(-1, self._repeat)
            for channel in range(self._repeat):
                rgb[:, channel] = grey if self._is_one_plane else self._normalized(grey, *self._planes[channel])

    def pixels(self, raw: NDArray[Any], first: int) -> NDArray[np.uint8]:
        """Return `[n, height, width, channels]` uint8 pixels, as an app feeds a uint8 model."""
        shaped: NDArray[Any] = self._shaped(raw, first)
        return np.rint(shaped).astype(np.uint8) if shaped.dtype.kind == "f" else shaped.astype(np.uint8)

    def ends(self, raw: NDArray[Any]) -> tuple[float, float]:
        """Return the least and the greatest value that `values` would return for samples that are known to be valid."""
        if not self.is_image:
            return float(raw.min()), float(raw.max())
        channels = raw.ndim - 1 if len(self._planes) > 1 and self._repeat == 1 else None
        axes = None if channels is None else tuple(range(channels))
        ends = (np.array([raw.min(axis=axes), raw.max(axis=axes)], np.float32).reshape(2, -1) - self._mean) / self._std
        return float(ends.min()), float(ends.max())

    @property
    def range(self) -> tuple[float, float]:
        """The least and greatest value that an image input can have: pixels 0 and 255, normalized."""
        ends = np.array([(0 - self._mean) / self._std, (255 - self._mean) / self._std])
        return float(ends.min()), float(ends.max())

    def _check_channels(self) -> None:
        channels = self._spec.shape[-1] if self._spec.shape else 1
        for key, values in (("mean", self._mean), ("std", self._std)):
            if len(values) not in (1, channels):
                raise ConfigError(
                    f"signature.inputs.{self._spec.name}.{key}: expected 1 value, or one for each of the {channels} channels, "
                    f"found {len(values)}"
                )

    def _check_shape(self, found: tuple[int, ...]) -> int:
        """Return how often the channel must be repeated: a grey image has three equal channels where RGB is wanted."""
        if self._spec.shape and self._spec.shape[0] != 1:
            raise ConfigError(
                f"signature.inputs.{self._spec.name}.shape: expected a batch of 1, since samples are fed one by one, found "
                f"{list(self._spec.shape)}",
                "pin the batch to 1, or leave dataset and calibration out",
            )
        wanted = self._spec.shape[1:] if self._spec.shape else ()
        if found == wanted or (*found, 1) == wanted:
            return 1
        if self.is_image and wanted[-1:] == (3,) and found in (wanted[:-1], (*wanted[:-1], 1)):
            return 3
        raise ConfigError(
            f"{self.origin}: expected samples of shape {list(wanted)} for the input {self._spec.name!r}, found {list(found)}",
            "check the array, or signature.inputs and its shape",
        )

    @property
    def _normalizes(self) -> bool:
        return self.is_image and self._spec.dtype == "float32"

    @property
    def _is_one_plane(self) -> bool:
        """Whether the three channels of RGB that is made of grey are normalized alike."""
        return self._repeat == 3 and len(self._planes) == 1

    @staticmethod
    def _normalized(pixels: NDArray[Any], mean: np.float32, std: np.float32) -> NDArray[Any]:
        shifted: NDArray[Any] = pixels - mean if mean else pixels
        return shifted / std

    def _shaped(self, raw: NDArray[Any], first: int) -> NDArray[Any]:
        self._check_values(raw, first)
        wanted = self._spec.shape[1:] if self._spec.shape else ()
        if self._repeat == 3:
            grey = raw if raw.ndim == len(wanted) + 1 else raw[..., np.newaxis]
            return np.repeat(grey, 3, axis=-1)
        return raw.reshape(len(raw), *wanted)

    def _check_values(self, raw: NDArray[Any], first: int) -> None:
        if raw.dtype == np.uint8:
            return  # every value is a finite number and a pixel
        if raw.dtype.kind == "f":
            self._refuse(
                ~np.isfinite(raw), raw, first, "a finite number", "fill it in as the training did, or leave the sample out"
            )
        if self.is_image:
            hint = "store pixels as an app feeds them: mean and std of signature.inputs are applied here"
            self._refuse((raw < 0) | (raw > 255), raw, first, "a pixel in 0..255", hint)

    def _refuse(self, bad: NDArray[np.bool_], raw: NDArray[Any], first: int, expected: str, hint: str) -> None:
        if bad.any():
            where = tuple(int(axis[0]) for axis in np.nonzero(bad))
            raise ConfigError(
                f"{self.origin}: {self._dataset.sample(first + where[0])}: expected {expected}, found {raw[where]}", hint
            )

    def _cast(self, values: NDArray[Any], first: int) -> NDArray[Any]:
        wanted = np.dtype(self._spec.dtype)
        if wanted.kind == "f" and values.dtype.kind in "buif":
            with np.errstate(over="ignore"):
                numbers = values.astype(wanted)
            if not np.can_cast(values.dtype, wanted):  # 1e300 would be infinity, and the model blamed for what it makes of it
                hint = "scale the values as the training did, or leave the sample out"
                self._refuse(~np.isfinite(numbers), values, first, f"a number that {wanted} can hold", hint)
            return numbers
        if values.dtype == wanted:
            return values.astype(wanted)
        if wanted.kind in "ui" and values.dtype.kind in "bui":
            limits = np.iinfo(wanted)
            if values.size == 0 or (values.min() >= limits.min and values.max() <= limits.max):
                return values.astype(wanted)
        raise ConfigError(
            f"{self.origin}: expected values of type {wanted} for the input {self._spec.name!r}, found {values.dtype}"
        )
