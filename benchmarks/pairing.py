"""Paired timing: two ways to do one thing, run alternately, judged by the median of the ratios of neighbouring runs.

A noisy machine slows neighbours alike, so the ratio of a pair varies less than either time; and since the order changes
from pair to pair, neither side always runs in the other's wake.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles


@dataclass(frozen=True)
class Paired:
    """Seconds of each run, pair by pair."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

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
