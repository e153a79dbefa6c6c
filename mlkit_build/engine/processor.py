"""What of the processor decides the last bits of a sum: the vector instructions that libraries choose their kernels by."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_LEVELS = {
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"},
}
"""The micro-architecture levels of the x86-64 psABI (section 3.1.1), by the names that Linux gives to features.

Measured with TensorFlow 2.21, LiteRT 2.3 and NumPy 2.4: these levels differ from one another in the last bits. What a processor
has besides (VNNI, AMX, BF16, FP16) and who made it changed no byte.
"""
_ARM = ("asimdhp", "asimddp", "i8mm", "sve")
"""Of ARM nothing was measured: each set of features that LiteRT has kernels for counts as another."""


@cache
def processor() -> str:
    """Return the kind of this machine's processor, e.g. `x86-64-v3`; its architecture where no more is known."""
    with suppress(OSError), _CPUINFO.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:  # a block for each core: the first will do
            name, _, listed = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return kind_of(platform.machine(), listed.split())
    return platform.machine()


def kind_of(machine: str, features: Iterable[str]) -> str:
    """Return the kind of a processor by its architecture and its features."""
    has = set(features)
    if machine == "x86_64":
        return next((level for level, needed in _LEVELS.items() if needed <= has), "x86-64-v2")
    return "+".join([machine, *(name for name in _ARM if name in has)])
