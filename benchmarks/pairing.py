"""Paired timing: two ways to do one thing, run alternately, judged by the median of the ratios of neighbouring runs.

A noisy machine slows neighbours alike, so the ratio of a pair varies less than either time; and since the order changes
from pair to pair, neither side always runs in the other's wake.

It does not slow them alike where one side uses every core and the other a single one: two virtual cores may be one physical
core's for a while, which gives them together little more than one alone, or a neighbour may take half of one. For such sides
`Cores` measures before, between and after the two what each core gives, and a pair in which that differs does not count.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles

DISTURBED = 1.15
"""How much longer the same work may take on one core than on another, beside others than alone, before than after."""
LOOKS = 5
"""Times that the work is done for that; the fastest counts, for a hiccup of a millisecond is none of a core's."""
MOST_TRIES = 8
"""Times as many pairs as asked for are run at most, until so many of them were not disturbed."""


@dataclass(frozen=True)
class Paired:
    """Seconds of each run, pair by pair.

    Attributes:
        left_out: The ratios of the pairs that were disturbed, and do not count.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    left_out: tuple[float, ...] = ()

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours over theirs, pair by pair: below 1 where ours is faster."""
        return tuple(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return median(self.ratios)


def paired(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> Paired:
    """Run both `pairs` times in changing order, after one run of each that does not count.

    Args:
        ours: Does the work once and returns its seconds.
        theirs: The same for what a user would otherwise run.
    """
    ours(), theirs()
    seconds: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            last = theirs()
            seconds.append((ours(), last))
        else:
            seconds.append((ours(), theirs()))
    return Paired(tuple(first for first, _ in seconds), tuple(second for _, second in seconds))


class Cores:
    """Measures what each core gives, alone and while all of them are busy.

    Args:
        work: Makes the work of one thread, always the same, of some 5 ms and without the GIL: like that of the two sides, since
            a neighbour on the same core slows arithmetic and waiting for memory by different amounts.
    """

    def __init__(self, work: Callable[[], Callable[[], None]]) -> None:
        self._works = [work() for _ in range(os.cpu_count() or 1)]
        self._threads = ThreadPoolExecutor(len(self._works))
        self.seconds()

    def seconds(self) -> list[float]:
        """Return the seconds of one thread alone, and then of each while all of them run."""
        alone = [self._threads.submit(_seconds_of, self._works[0]).result() for _ in range(LOOKS)]
        together = [list(self._threads.map(_seconds_of, self._works)) for _ in range(LOOKS)]
        return [min(alone), *map(min, zip(*together, strict=True))]


def inference(model: Path) -> Callable[[], None]:
    """Return what infers for some 5 ms in one thread, with little around it, in batches as far as they fit into a cache."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    taken = interpreter.get_input_details()[0]
    batch = max(1, 1_000_000 // (4 * math.prod(taken["shape"])))
    interpreter.resize_tensor_input(taken["index"], [batch, *taken["shape"][1:]])
    interpreter.allocate_tensors()
    seconds = min(_seconds_of(interpreter.invoke) for _ in range(10))

    def run() -> None:
        for _ in range(math.ceil(0.005 / seconds)):
            interpreter.invoke()

    return run


def _seconds_of(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired_on_whole_cores(ours: Callable[[], float], theirs: Callable[[], float], pairs: int, cores: Cores) -> Paired:
    """Run both as `paired` does, until in `pairs` of them every core gave as much as one alone, before, between and after.

    Raises:
        SystemExit: The machine is too busy: of many more pairs, less than half as many as asked for were undisturbed.
    """
    ours(), theirs()
    counted: list[tuple[float, float]] = []
    left_out: list[float] = []
    while len(counted) < pairs and len(counted) + len(left_out) < MOST_TRIES * pairs:
        swapped = (len(counted) + len(left_out)) % 2
        found = cores.seconds()
        first = (theirs if swapped else ours)()
        found += cores.seconds()
        second = (ours if swapped else theirs)()
        found += cores.seconds()
        pair = (second, first) if swapped else (first, second)
        if max(found) <= DISTURBED * min(found):
            counted.append(pair)
        else:
            left_out.append(pair[0] / pair[1])
    if 2 * len(counted) < pairs:
        tried = len(counted) + len(left_out)
        sys.exit(
            f"  the cores gave less together than alone in {len(left_out)} of {tried} pairs: run it when the machine is idle"
        )
    return Paired(tuple(pair[0] for pair in counted), tuple(pair[1] for pair in counted), tuple(left_out))


def timed(command: Sequence[str | Path], folder: Path, expected: str = "", env: dict[str, str] | None = None) -> float:
    """Run a command to its end in `folder` and return its seconds.

    Args:
        expected: What its standard output must contain: proof that it did what is being timed.
        env: Added to this process's environment.

    Raises:
        RuntimeError: It failed, or said something else.
    """
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode or expected not in done.stdout:
        shown = " ".join(map(str, command))
        raise RuntimeError(f"{shown}: exit code {done.returncode}, expected {expected!r} in\n{done.stdout}{done.stderr}")
    return seconds


def mlkit_build() -> Path:
    """Return the console script of the environment that runs the benchmark."""
    script = Path(sys.executable).with_name("mlkit-build")
    if not script.is_file():
        sys.exit("mlkit-build is not installed beside this Python: run `pip install -e .` in the checkout first")
    return script


def report(title: str, names: tuple[str, str], result: Paired) -> None:
    """Print both medians, and the median ratio with its spread."""
    low, _, high = quantiles(result.ratios, n=4) if len(result.ratios) > 1 else (result.ratio,) * 3
    print(f"{title} ({len(result.ratios)} pairs)")
    for name, seconds in zip(names, (result.ours, result.theirs), strict=True):
        print(f"  {name:<32} median {median(seconds):7.3f} s   fastest {min(seconds):7.3f} s   slowest {max(seconds):7.3f} s")
    spread = f"middle half {low:.2f} to {high:.2f}   all {min(result.ratios):.2f} to {max(result.ratios):.2f}"
    print(f"  ratio {result.ratio:.2f}   {spread}")
    if result.left_out:
        everything = median((*result.ratios, *result.left_out))
        print(f"  {len(result.left_out)} more were disturbed and do not count; with them the ratio would be {everything:.2f}")


def judge(ratio: float, most: float) -> int:
    """Print whether the promise, a ratio of at most `most`, holds; return the exit code."""
    kept = ratio <= most
    print(f"  promise: at most {most:g}: {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


def machine(*packages: str) -> str:
    """Return what a measurement depends on: cores, load, Python, and the versions of `packages`."""
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in packages)]
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; {', '.join(versions)}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
