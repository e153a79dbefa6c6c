"""Numbers that the metadata hold as float32: what that type has no room for is refused by its field."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from mlkit_build.errors import ConfigError

_PIXELS = (0, 255)


def check_float32(where: str, value: float) -> None:
    """Refuse a number that is none in float32. Raises ConfigError."""
    if not math.isfinite(_rounded(value)):
        raise ConfigError(f"{where}: expected a finite number that float32 can hold, at most 3.4e38, found {value:g}")


def check_scaling(wheres: tuple[str, str], mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse mean and std with which `(pixel - mean) / std` is no number in float32.

    Args:
        wheres: The fields of the mean and of the std.
        mean: One value, or one per channel.
        std: Likewise.

    Raises:
        ConfigError: Names the field.
    """
    for where, values in zip(wheres, (mean, std), strict=True):
        for value in values:
            check_float32(where, value)
    told = ", ".join(f"{value:g}" for value in std)
    if any(_rounded(value) == 0 for value in std):
        raise ConfigError(f"{wheres[1]}: expected values that are not 0 in float32, found {told}")
    channels = max(len(mean), len(std))
    means, stds = ([*values] * (channels if len(values) == 1 else 1) for values in (mean, std))
    for center, spread in zip(means, stds, strict=True):
        if not all(math.isfinite(_rounded((pixel - center) / spread)) for pixel in _PIXELS):
            raise ConfigError(
                f"{wheres[1]}: expected (pixel - mean) / std to be a number in float32, found mean {center:g} and std {spread:g}",
                "state the values of the training, e.g. 127.5 and 127.5 for -1..1",
            )


def _rounded(value: float) -> float:
    """Return the float32 nearest to a number, infinity beyond its range."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.inf
