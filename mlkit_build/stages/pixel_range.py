"""Whether a dataset's images and a recipe's mean and std are in the one unit that an app has: pixels in 0..255."""

from __future__ import annotations

from collections.abc import Mapping

from mlkit_build.datasets import Batch
from mlkit_build.recipe import Input


class PixelRanges:
    """Notices images in 0..1, and a mean and std that were stated for such.

    Args:
        inputs: Input name -> what the recipe says about it; one with a mean takes images.
    """

    def __init__(self, inputs: Mapping[str, Input]) -> None:
        self._images = {name: stated for name, stated in inputs.items() if stated.mean and stated.std}
        self._in_units = dict(self._images)
        """Those of which no value above 1 was seen: mostly none after the first batch, so that looking costs nothing."""

    def look(self, batch: Batch) -> None:
        """See a batch, whose samples are known to be pixels in 0..255."""
        for name in [name for name in self._in_units if (batch.features[name] > 1).any()]:
            del self._in_units[name]

    def warning(self) -> str:
        """Return which range is not that of pixels, once all batches were seen; empty where none is."""
        found = []
        for name, stated in self._images.items():
            mean, std = stated.mean or (), stated.std or ()
            both = f"mean [{_listed(mean)}] and std [{_listed(std)}]"
            for_units = all(0 < abs(value) < 1 for value in std) and all(abs(value) <= 1 for value in mean)
            if name in self._in_units:
                what = f"dataset: all values of the image input {name!r} lie in 0..1"
                also = f"{both} look as if they did too: multiply all by 255" if for_units else f"{both} apply to 0..255"
                found.append(f"{what}, while an app feeds pixels in 0..255; {also}")
            elif for_units:
                what = f"signature.inputs.{name}: {both} look as if they were for values in 0..1"
                found.append(
                    f"{what}, while those of the dataset reach beyond 1 and an app feeds pixels in 0..255; multiply both by 255"
                )
        return "; ".join(found)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
