"""latency: how long the shipped file takes on this machine, by the method of `litert-benchmark`.

Warm-ups, then single inferences on one input of random values, each timed by itself. A phone's times are others; which of two
variants is the faster one is often the same.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mlkit_build.errors import StageError
from mlkit_build.plain import from_plain, pretty
from mlkit_build.stages.params import LatencyParams
from mlkit_build.timing import Timing

LIMIT_S = 1.0
"""No more inferences begin after so many seconds ..."""
LEAST = 5
"""... and so many."""


def latency(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `latency.json`, see Timing.

    Raises:
        StageError: LiteRT refuses the model or cannot run it.
    """
    request = from_plain(LatencyParams, params)
    opened, random = _opener(inputs["model"], request), np.random.default_rng(0)  # imports, which take longer than a small model
    before = _resident_bytes()
    started = time.perf_counter()
    try:
        interpreter = opened()
        interpreter.allocate_tensors()
        _feed(interpreter, random)
        interpreter.invoke()
        first = time.perf_counter() - started
        for _ in range(request.warmups):
            interpreter.invoke()
        seconds = _seconds(interpreter, request.runs)
    except (ValueError, RuntimeError) as error:
        raise StageError(f"latency: LiteRT cannot run the model: {str(error).splitlines()[0]}") from error
    found = Timing(
        median_ms=_milliseconds(median(seconds)),
        p95_ms=_milliseconds(float(np.percentile(seconds, 95))),
        min_ms=_milliseconds(min(seconds)),
        first_ms=_milliseconds(first),
        runs=len(seconds),
        warmups=request.warmups,
        threads=request.threads,
        delegate=request.delegate,
        memory_bytes=max(0, _resident_bytes() - before),
        host=request.host,
    )
    (outputs / "latency.json").write_bytes(pretty(found))


def _opener(path: Path, request: LatencyParams) -> Callable[[], Any]:
    """Return what opens the model, with all that this needs imported."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = {"xnnpack": OpResolverType.AUTO, "none": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    return partial(
        Interpreter, model_path=str(path), num_threads=request.threads, experimental_op_resolver_type=kinds[request.delegate]
    )


def _feed(interpreter: Any, random: np.random.Generator) -> None:
    for detail in interpreter.get_input_details():
        dtype, shape = np.dtype(detail["dtype"]), detail["shape"]
        if dtype.kind == "f":
            interpreter.set_tensor(detail["index"], random.uniform(0, 1, shape).astype(dtype))
        elif dtype.itemsize == 1 and dtype.kind in "ui":
            limits = np.iinfo(dtype)
            interpreter.set_tensor(detail["index"], random.integers(limits.min, limits.max, shape, dtype, endpoint=True))
        else:  # an index, perhaps, and every table has a row 0
            interpreter.set_tensor(detail["index"], np.zeros(shape, dtype))


def _seconds(interpreter: Any, runs: int) -> list[float]:
    seconds: list[float] = []
    end = time.perf_counter() + LIMIT_S
    while len(seconds) < runs and (len(seconds) < LEAST or time.perf_counter() < end):
        started = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - started)
    return seconds


def _resident_bytes() -> int:
    """Return the memory of this process at its greatest."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 4)
