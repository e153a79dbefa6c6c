"""Makes one environment in a process of its own, which tests kill or start twice: CACHE REQUIREMENT."""

from __future__ import annotations

import sys
from pathlib import Path

from mlkit_build.runtimes import parse
from mlkit_build.runtimes.environments import open_environments


def main(cache: str, stated: str) -> None:
    """Print what progress says, and the place."""

    def progress(name: str, done: int, total: int | None) -> None:
        print("done" if done == total else "begun", flush=True)

    with open_environments(Path(cache), lambda text: print("warning", text), progress, makes=True) as environments:
        print(environments.record(parse(stated, "x")), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
