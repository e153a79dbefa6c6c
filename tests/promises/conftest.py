"""The command line as a fixture: the whole way from argv to the exit code, in this process."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.cli import run
from mlkit_build.engine.pool import Ended, Pool
from mlkit_build.runtimes import parse
from mlkit_build.runtimes.environments import open_environments
from tests.conftest import Workspace

Command = Callable[..., tuple[int, str, str]]
"""Takes the arguments; returns exit code, stdout and stderr."""


class Borrowed:
    """The worker's fork servers, which a run may not end."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def warm(self, preload: str) -> None:
        self._pool.warm(preload)

    def submit(self, preload: str, request: Mapping[str, Any]) -> Future[Ended]:
        return self._pool.submit(preload, request)

    def close(self) -> None:
        """Leave them running."""


@pytest.fixture
def command(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run the command line in this process, on the worker's fork servers; return exit code, stdout and stderr."""
    monkeypatch.setattr("mlkit_build.engine.pool.Pool", lambda: Borrowed(workspace.pool))
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlkit-build", *arguments])
        capfd.readouterr()
        code = run(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    yield call
    signal.signal(signal.SIGTERM, before)


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Return every file below `folder` with its digest and its time of change."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the environment of the old runtime. To be read only."""
    if "MLKIT_BUILD_OLD_RUNTIME" not in os.environ:
        pytest.skip("no registry for old runtimes: set MLKIT_BUILD_OLD_RUNTIME where pip can install tflite-runtime==2.14")
    if sys.version_info >= (3, 12):
        pytest.skip("tflite_runtime has wheels for Python 3.11 and older")
    folder = tmp_path_factory.mktemp("environments")
    with open_environments(folder, print, lambda *_: None, makes=True) as made:
        made.record(parse("tflite_runtime==2.14", "validation.runtimes"))
    return folder / "v1" / "runtimes"
