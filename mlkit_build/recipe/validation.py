"""What is measured and how good it must be, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlkit_build.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Limits of one measured value.

    Attributes:
        min: The value may not be below this.
        max: The value may not be above this.
        max_drop: The value may be at most this much worse than TensorFlow's on the same samples: below it, or above it where a
            smaller value is the better one.
        max_regression: The value may be at most this much worse than that of the manifest `validation.baseline`.
        significance: Let `max_drop` fail only where the drop is significant too: where McNemar's test on the same samples gives
            less than this, e.g. 0.05. For shares of samples, such as top1.
    """

    min: float | None = None
    max: float | None = None
    max_drop: float | None = None
    max_regression: float | None = None
    significance: float | None = None


@dataclass(frozen=True, kw_only=True)
class MetricChoice:
    """A metric. In a recipe `name`, or `{name: {option: value}}`.

    Attributes:
        name: From the table of metrics.
        options: Its options.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How the time of one inference is measured, on the machine that builds.

    Attributes:
        runs: How many inferences are timed; fewer where they take more than a second together. 0 times none.
        warmups: How many run before them, untimed.
        threads: Of the interpreter.
        delegate: `xnnpack`, as on the phone's CPU, or `none`: LiteRT's own kernels.
    """

    runs: int = 50
    warmups: int = 5
    threads: int = 1
    delegate: str = "xnnpack"


DELEGATES = ("xnnpack", "none")
MOST_THREADS = 64
"""Of the interpreter; LiteRT crashes on some tens of thousands."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What is measured on the dataset, and how good it must be.

    Attributes:
        metrics: From the table of metrics; parity with TensorFlow is always measured.
        gates: Measured value -> its limits.
        output: The output that all metrics but parity read; the first one when left out.
        baseline: The `manifest.json` of an earlier bundle of this recipe, which `max_regression` compares with; relative to the
            recipe's folder.
        hops: On how many samples, the dataset's first, every form of the model is compared with the one before it: the source,
            the frozen graph, the float model, the shipped file. 0 compares nothing.
        latency: How the time of one inference is measured.
        runtimes: Other versions of the interpreter to run the shipped file in, e.g. `[tflite_runtime==2.14]`: the gates must hold
            there too, and the outputs be those of the newest one.
    """

    metrics: tuple[MetricChoice, ...] = ()
    gates: Mapping[str, Gate] = field(default_factory=dict)
    output: str | None = None
    baseline: str | None = None
    hops: int = 16
    latency: Latency = field(default_factory=Latency)
    runtimes: tuple[str, ...] = ()
