"""A sweep of 100 jobs with nothing to do: what a job costs that is fully cached.

The jobs are mnist in two modes with 50 sizes of the calibration set each, all in the cache. Timed is the whole command, as a user
sees it: Python's start, composing every job, every look into the cache, the comparison of every published file, the table and
the summary. Printed besides: what a further job adds, and the processor's time, which a busy machine changes little.

The promise: at most 30 ms per job. Besides, no action runs and no machine learning runtime is imported.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from noop import RUNTIMES
from pairing import judge, machine, mlkit_build, timed

JOBS = 100
PROMISE_MS = 30.0
SWEEP = ["recipe=mnist", "quantization=int8,weight_only_int8", f"calibration.samples=range(50,{50 + JOBS // 2})"]
SMALL = ["dataset.samples=200", "validation.gates.top1.min=0.5"]
"""Quick to build once; with nothing to do it makes no difference."""


def main() -> int:
    """Run the benchmark; return 1 where the promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="mlkit-build-sweep-noop-") as name:
        folder, env = Path(name, "work"), {"MLKIT_BUILD_CACHE": str(Path(name, "cache"))}
        folder.mkdir()
        sweep = [mlkit_build(), "-m", *SWEEP, *SMALL, "ui=plain"]
        first = timed(sweep, folder, "summary", env)
        check(folder, env)
        print(machine("mlkit-build"))
        print(f"{JOBS} jobs, built once in {first:.1f} s")
        seconds, processor = measured(sweep, folder, env, runs)
        alone, _ = measured([*sweep[:2], "recipe=mnist", *SMALL, "calibration.samples=50,51", "ui=plain"], folder, env, runs)
    per_job = [1000 * value / JOBS for value in seconds]
    print(f"nothing to do ({runs} runs)")
    print(f"  per job        median {median(per_job):6.1f} ms   fastest {min(per_job):6.1f} ms   slowest {max(per_job):6.1f} ms")
    print(f"  of these, busy median {1000 * median(processor) / JOBS:6.1f} ms of the processor's time")
    further = 1000 * (median(seconds) - median(alone)) / (JOBS - 2)
    print(
        f"  a further job  median {further:6.1f} ms   (2 jobs {median(alone):.2f} s, {JOBS} jobs {median(seconds):.2f} s in all)"
    )
    print(f"  ratio to the promise {median(per_job) / PROMISE_MS:.2f}")
    return judge(median(per_job) / PROMISE_MS, 1.0)


def measured(command: Sequence[str | Path], folder: Path, env: dict[str, str], runs: int) -> tuple[list[float], list[float]]:
    """Return the seconds of `runs` runs, and those that the processor was busy with them."""
    timed(command, folder, "nothing to do", env)
    wall, busy = [], []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(timed(command, folder, "nothing to do", env))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return wall, busy


def check(folder: Path, env: dict[str, str]) -> None:
    """Make sure, in a run of its own, that nothing to do is nothing: no action runs, and no runtime is imported."""
    probe = [sys.executable, "-X", "importtime", "-m", "mlkit_build.cli", "-m", *SWEEP, *SMALL, "ui=plain"]
    done = subprocess.run(probe, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "import time:" in line}
    assert not imported & RUNTIMES, f"nothing to do imported {', '.join(sorted(imported & RUNTIMES))}"
    assert done.stdout.count("nothing to do") == JOBS, done.stdout[-2000:]
    assert " running" not in done.stderr, done.stderr[-2000:]


if __name__ == "__main__":
    sys.exit(main())
