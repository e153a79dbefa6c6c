"""What the engine's tests share: a listener that remembers, a Pool that knows their actions, and short ways to say one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.engine import Action, Engine, OutputOf, Result
from mlkit_build.engine.pool import Pool
from mlkit_build.store import LayeredStore, open_store

ROOT = Path(__file__).parents[2]


@dataclass
class Heard:
    """A listener that remembers."""

    begun: list[tuple[str, str]] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    progress: list[tuple[str, int, int]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def started(self, action: Action, reason: str) -> None:
        self.begun.append((action.name, reason))

    def progressed(self, action: Action, done: int, total: int) -> None:
        self.progress.append((action.name, done, total))

    def waiting(self, action: Action) -> None:
        self.waits.append(action.name)

    def finished(self, result: Result) -> None:
        self.results.append(result)

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    @property
    def ran(self) -> list[str]:
        """Names of the actions that ran, in the order in which they began."""
        return [name for name, _ in self.begun]


def action(
    name: str,
    function: str = "join",
    inputs: Mapping[str, Path | OutputOf] | None = None,
    *,
    outputs: tuple[str, ...] = ("out",),
    after: tuple[str, ...] = (),
    version: int = 1,
    **params: Any,
) -> Action:
    """Return an action that runs a function of tests/engine/actions.py."""
    return Action(name, "toy", version, "python", f"tests.engine.actions:{function}", params, inputs or {}, outputs, after)


class Bench:
    """A workspace for engines: files, a cache, and a new engine per build."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.logs = folder / "logs"
        self.trace = folder / "trace"
        self.pool = pool
        self.heard = Heard()
        self.builds: list[subprocess.Popen[str]] = []

    def file(self, name: str, text: str) -> Path:
        """Write a file of the user."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    @contextlib.contextmanager
    def engine(self, jobs: int = 2) -> Iterator[Engine]:
        """Open a new build, and forget what was heard of the one before."""
        self.heard = Heard()
        with open_store(self.cache, self.heard.warning) as store:
            yield self.on(store, jobs)

    def on(self, store: LayeredStore, jobs: int = 2) -> Engine:
        """Return an engine on a store that is open."""
        return Engine(store, self.pool, self.heard, scope="toy", logs=self.logs, jobs=jobs)

    def run(self, *actions: Action, jobs: int = 2) -> dict[str, Result]:
        """Do one whole build."""
        with self.engine(jobs) as engine:
            return engine.run(actions)

    def text(self, *actions: Action, of: str, file: str = "out") -> str:
        """Do one whole build and return an output."""
        with self.engine() as engine:
            engine.run(actions)
            return engine.output(of, file).read_text(encoding="utf-8")

    def traced(self) -> list[str]:
        """Return the names of the actions whose function ran at all, in order."""
        return [line.split()[0] for line in self._lines()]

    def traced_processes(self) -> list[int]:
        """Return the ids of the processes that they ran in."""
        return [int(line.split()[1]) for line in self._lines()]

    def _lines(self) -> list[str]:
        return self.trace.read_text(encoding="utf-8").splitlines() if self.trace.exists() else []


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(scope="package")
def toy_pool() -> Iterator[Pool]:
    """A fork server without any runtime, which can import the tests' actions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("TF_DETERMINISTIC_OPS", "from the user's shell")
        patch.setenv("LANG", "tlh_KX.UTF-8")
        pool = Pool()
        pool.warm("python")
    yield pool
    pool.close()


@pytest.fixture
def bench(tmp_path: Path, toy_pool: Pool) -> Iterator[Bench]:
    """An empty workspace on the shared fork server."""
    bench = Bench(tmp_path, toy_pool)
    yield bench
    for build in bench.builds:
        with build:  # closes its pipe and waits for it
            build.kill()
