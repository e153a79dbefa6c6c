"""One build in a process of its own, for tests that need two or must kill one: `python -m tests.engine.one_build CACHE ACTIONS`.

It prints what it hears, a line each: `started NAME`, `waiting NAME`, `finished NAME cached|ran`, at last `done`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from mlkit_build.engine import Action, Engine, Result
from mlkit_build.engine.pool import Pool
from mlkit_build.store import open_store


class Printer:
    """A listener that prints."""

    def started(self, action: Action, reason: str) -> None:
        print("started", action.name, flush=True)

    def progressed(self, action: Action, done: int, total: int) -> None:
        print("progressed", action.name, done, total, flush=True)

    def waiting(self, action: Action) -> None:
        print("waiting", action.name, flush=True)

    def finished(self, result: Result) -> None:
        print("finished", result.action.name, "cached" if result.cached else "ran", flush=True)

    def warning(self, text: str) -> None:
        print("warning", text, flush=True)


class SlowPool(Pool):
    """A pool that takes its time to close, so that whatever may happen meanwhile does."""

    def close(self) -> None:
        super().close()
        time.sleep(0.3)


def main(cache: str, actions: list[dict[str, Any]]) -> None:
    """Build the actions, each given as its name, function and params."""
    pool = SlowPool()
    todo = [
        Action(one["name"], "toy", 1, "python", f"tests.engine.actions:{one['function']}", one["params"], {}, ("out",))
        for one in actions
    ]
    try:
        with open_store(Path(cache), print) as store:
            Engine(store, pool, Printer(), scope="toy", logs=Path(cache, "logs"), jobs=1).run(todo)
        print("done", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        pool.close()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
