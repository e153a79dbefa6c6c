"""How far loops are unrolled: what `freeze.unroll` says."""

from __future__ import annotations

from mlkit_build.errors import ConfigError
from mlkit_build.records import dataclass


@dataclass(frozen=True)
class Limits:
    """How far loops are unrolled.

    Attributes:
        steps: The most steps of a loop; None is without limit.
        nodes: The most nodes that a loop may become, with the loops in it; None is without limit.
        functional: Whether a loop that is not unrolled may become a functional While.
    """

    steps: int | None
    nodes: int | None
    functional: bool


AUTO = Limits(steps=256, nodes=3_000, functional=True)
"""What `auto` unrolls: an LSTM of some 160 steps.

Measured with an LSTM of 64 units: a step is 18 operators, 2.8 kB of the model, and 29 ms of the converter's time, so the
limits are 5 s and half a megabyte. A While converts in 0.1 s whatever its length, and ai_edge_litert runs it even faster
(0.28 against 0.57 ms for 128 steps); but delegates do not take it.
"""


def limits_of(unroll: str) -> Limits:
    """Return what `freeze.unroll` means.

    Raises:
        ConfigError: It is none of `auto`, `always`, `never` and a number.
    """
    if unroll == "auto":
        return AUTO
    if unroll == "always":
        return Limits(None, None, functional=False)
    if unroll == "never":
        return Limits(0, None, functional=True)
    if unroll.isdecimal():
        return Limits(int(unroll), None, functional=True)
    raise ConfigError(f"freeze.unroll: expected auto, always, never or a number of steps, found {unroll!r}")
