"""Whether a model is measured on data like those that it was calibrated on: otherwise it clips them, or wastes its integers."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from mlkit_build.datasets import Batch
from mlkit_build.datasets.feeding import Feed

FAR = 2.0
"""How many times wider one range may be than the other."""
SHARED = 0.5
"""Which part of the narrower range must lie in the other."""

Range = tuple[float, float]


class InputRanges:
    """The least and greatest value of every input over all samples that were seen. Threads may share it."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        self._feeds = feeds
        self._widest = {name: feed.range for name, feed in feeds.items() if feed.is_image}
        self._found: dict[str, Range] = {}
        self._lock = threading.Lock()

    def look(self, batch: Batch) -> None:
        """See a batch, whose samples are known to be valid."""
        for name, feed in self._feeds.items():
            if batch.features[name].size and self._found.get(name, ()) != self._widest.get(name):
                low, high = feed.ends(batch.features[name])
                with self._lock:
                    known = self._found.get(name, (low, high))
                    self._found[name] = min(known[0], low), max(known[1], high)

    def found(self) -> dict[str, Range]:
        """Return input -> range."""
        return {name: self._found[name] for name in self._feeds if name in self._found}


def warning_of(calibrated: Mapping[str, Range], measured: Mapping[str, Range]) -> str:
    """Return which inputs were calibrated on another range than they are measured on; empty when none was.

    A constant has no range: calibrate warns of it.
    """
    far = [
        f"the calibration samples of the input {name!r} are in {_text(calibrated[name])}, those of the dataset in {_text(range_)}"
        for name, range_ in measured.items()
        if name in calibrated and _are_far(calibrated[name], range_)
    ]
    return f"{'; '.join(far)}: calibrate on samples like those that the app feeds" if far else ""


def _are_far(one: Range, other: Range) -> bool:
    narrow, wide = sorted(high - low for low, high in (one, other))
    if narrow == 0:
        return False
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return wide > FAR * narrow or shared < SHARED * narrow


def _text(range_: Range) -> str:
    return f"{range_[0]:.4g}..{range_[1]:.4g}"
