"""How fast a model ran on the machine that built it. It varies from run to run, so nothing of it is in a manifest."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

from mlkit_build.records import dataclass

METRIC = "latency_ms"
"""The name that gates and sweeps know the median by."""


@dataclass(frozen=True)
class Timing:
    """What `latency` measured.

    Attributes:
        median_ms: Of one inference, without filling inputs or reading outputs.
        p95_ms: 19 of 20 inferences were at most as long.
        min_ms: The shortest one.
        first_ms: From opening the file to the end of the first inference, as an app waits for it at its start.
        runs: How many inferences were timed.
        warmups: How many ran before them.
        threads: Of the interpreter.
        delegate: `xnnpack`, or `none`: LiteRT's own kernels.
        memory_bytes: By how much the process grew from before the model was opened.
        host: The machine's processor and number of cores.
    """

    median_ms: float
    p95_ms: float
    min_ms: float
    first_ms: float
    runs: int
    warmups: int
    threads: int
    delegate: str
    memory_bytes: int
    host: str


def host() -> str:
    """Return what of this machine decides how fast a model runs on it: the processor and the number of its cores."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count() or 1} cores"
