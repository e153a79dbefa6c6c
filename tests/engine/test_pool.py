"""The Pool: every future ends, and when the Pool or its parent ends, so does everything it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.engine.pool import Ended, Pool, _environment
from mlkit_build.errors import StageError
from tests.engine.conftest import ROOT
from tests.processes import PATIENCE, alive, eventually


@pytest.fixture
def pool() -> Iterator[Pool]:
    servers = Pool()
    yield servers
    servers.close()


@pytest.mark.parametrize(
    "name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "GLIBC_TUNABLES"]
)
def test_what_switches_instructions_of_the_processor_off_does_not_reach_an_action(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "AVX2")
    monkeypatch.setenv("KEPT", "yes")
    given = _environment()
    assert given["KEPT"] == "yes"
    assert given.get(name) != "AVX2"


class Desk:
    """Hands actions to a pool, each with a work folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = folder / "trace"
        self._next = iter(range(1000))

    def request(self, function: str, **params: Any) -> dict[str, Any]:
        work = self.folder / f"work{next(self._next)}"
        (work / "out").mkdir(parents=True)
        params = {"trace": str(self.trace), **params}
        where = {"work": str(work), "log": str(work / "log")}
        return {"function": f"tests.engine.actions:{function}", "params": params, "inputs": {}, **where}

    def endless(self) -> dict[str, Any]:
        return self.request("slow", release=str(self.folder / "never"))

    def processes(self) -> list[int]:
        lines = self.trace.read_text(encoding="utf-8").splitlines() if self.trace.exists() else []
        return [int(line.split()[-1]) for line in lines]

    def server(self, pool: Pool) -> int:
        """Return the process id of the fork server, as a child sees it."""
        request = self.request("look_around")
        assert pool.submit("python", request).result(PATIENCE).status == 0
        return int(json.loads(Path(request["work"], "out", "out").read_bytes())["parent"])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_every_future_ends_with_its_own_child(pool: Pool, desk: Desk) -> None:
    futures = [pool.submit("python", desk.request("die", status=status)) for status in range(20, 30)]
    assert [future.result(PATIENCE).status for future in futures] == list(range(20, 30))


def test_a_child_that_was_killed_ends_with_the_signal(pool: Pool, desk: Desk) -> None:
    assert pool.submit("python", desk.request("die", signal="SIGSEGV")).result(PATIENCE).status == -signal.SIGSEGV


def test_actions_run_at_the_same_time(pool: Pool, desk: Desk) -> None:
    release = desk.folder / "release"
    futures = [pool.submit("python", desk.request("slow", release=str(release))) for _ in range(3)]
    assert eventually(lambda: len(desk.processes()) == 3)
    release.touch()
    assert [future.result(PATIENCE).status for future in futures] == [0, 0, 0]


def test_a_request_larger_than_a_pipe_arrives_whole(pool: Pool, desk: Desk) -> None:
    request = desk.request("join", text="x" * 300_000)
    assert pool.submit("python", request).result(PATIENCE).status == 0
    assert Path(request["work"], "out", "out").stat().st_size == 300_000


def test_a_killed_server_fails_what_it_was_doing_and_the_next_action_gets_a_new_one(pool: Pool, desk: Desk) -> None:
    server = desk.server(pool)
    pending: list[Future[Ended]] = [pool.submit("python", desk.endless()) for _ in range(2)]
    assert eventually(lambda: len(desk.processes()) == 2)
    os.kill(server, signal.SIGKILL)
    for future in pending:
        with pytest.raises(StageError, match="the python worker process ended: it was killed"):
            future.result(PATIENCE)
    assert eventually(lambda: not any(map(alive, desk.processes())))
    assert desk.server(pool) != server


def test_a_server_that_cannot_import_its_runtime_says_why(
    pool: Pool, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "numpy.py").write_text("raise ImportError('broken on purpose')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with pytest.raises(StageError, match="the litert worker process ended: ImportError: broken on purpose") as caught:
        pool.submit("litert", desk.endless()).result(PATIENCE)
    assert "pip check" in caught.value.hint


def test_closing_kills_the_server_and_its_children_and_fails_what_they_did(desk: Desk) -> None:
    pool = Pool()
    server = desk.server(pool)
    future = pool.submit("python", desk.endless())
    assert eventually(desk.processes)
    pool.close()
    with pytest.raises(StageError):
        future.result(PATIENCE)
    assert eventually(lambda: not any(map(alive, [server, *desk.processes()])))


def test_closing_twice_and_closing_what_never_started_do_nothing() -> None:
    before = _children()
    pool = Pool()
    pool.close()
    pool.close()
    assert _children() == before


def test_nothing_starts_before_it_is_needed() -> None:
    before = _children()
    pool = Pool()
    assert _children() == before
    pool.close()


def _children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="utf-8").split())


_PARENT = """
import json, sys
from mlkit_build.engine.pool import Pool
pool = Pool()
futures = [pool.submit("python", request) for request in json.loads(sys.argv[1])]
futures[-1].result()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_takes_the_server_and_its_children_with_it(desk: Desk, number: signal.Signals) -> None:
    look = desk.request("look_around")
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, json.dumps([look, desk.endless(), desk.endless()])],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert eventually(lambda: len(desk.processes()) == 2)
    seen = Path(look["work"], "out", "out")
    assert eventually(lambda: seen.exists() and seen.stat().st_size)
    server = int(json.loads(seen.read_bytes())["parent"])
    assert all(map(alive, [server, *desk.processes()]))
    parent.send_signal(number)
    parent.communicate()
    assert eventually(lambda: not any(map(alive, [server, *desk.processes()])))
