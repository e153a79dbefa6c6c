"""The worker process, spoken to as the Pool does: requests in, answers out, and pristine children in between."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.engine.pool import _environment
from mlkit_build.engine.worker import command_line
from tests.engine.conftest import Bench, action
from tests.engine.test_pool import Desk
from tests.processes import PATIENCE, alive, eventually


class Worker:
    """A worker process and its pipe."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            command_line("python", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
        )

    def send(self, identifier: int, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": identifier, **request}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None


@pytest.fixture(params=["fork", "spawn"])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """The worker as Linux runs it, and as a system does where forking is not safe."""
    if request.param == "fork" and sys.platform != "linux":
        pytest.skip("only Linux forks")
    worker = Worker(*(["--spawn"] if request.param == "spawn" else []))
    yield worker
    worker.process.kill()
    worker.process.communicate()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def seen(request: dict[str, Any]) -> dict[str, Any]:
    """Return what the action `look_around` saw."""
    value: dict[str, Any] = json.loads(Path(request["work"], "out", "out").read_bytes())
    return value


def test_a_request_is_done_and_answered(worker: Worker, desk: Desk) -> None:
    request = desk.request("join", text="hello")
    worker.send(7, request)
    answer = worker.answer()
    assert (answer["id"], answer["status"]) == (7, 0)
    assert answer["seconds"] >= 0
    assert Path(request["work"], "out", "out").read_text(encoding="utf-8") == "hello"
    assert json.loads(Path(request["work"], "result.json").read_bytes()) == {"ok": True}


def test_an_action_sees_nothing_of_the_one_before(worker: Worker, desk: Desk) -> None:
    requests = [desk.request("look_around") for _ in range(2)]
    for identifier, request in enumerate(requests):
        worker.send(identifier, request)
        assert worker.answer()["status"] == 0
    first, second = map(seen, requests)
    assert first["process"] != second["process"]
    assert (second["state"], second["left"]) == ([], None)


def test_an_action_hashes_alike_in_every_process(worker: Worker, desk: Desk) -> None:
    request = desk.request("look_around")
    worker.send(0, request)
    worker.answer()
    expected = subprocess.run(
        [sys.executable, "-c", "print(hash('mlkit'))"], env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
    )
    assert seen(request)["hash"] == int(expected.stdout)


def test_an_action_begins_in_its_own_empty_work_folder(worker: Worker, desk: Desk) -> None:
    request = desk.request("look_around")
    worker.send(0, request)
    worker.answer()
    assert Path(seen(request)["folder"]).samefile(request["work"])
    assert set(seen(request)["beside"]) <= {"log", "out", "request.json", "tmp"}


def test_all_that_an_action_prints_goes_to_its_log(worker: Worker, desk: Desk) -> None:
    request = desk.request("look_around")
    worker.send(0, request)
    worker.answer()
    lines = Path(request["log"]).read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == ["complained", "printed", "written by C"]


def test_an_action_that_kills_itself_is_answered_with_the_signal(worker: Worker, desk: Desk) -> None:
    worker.send(0, desk.request("die", signal="SIGKILL"))
    assert worker.answer()["status"] == -9
    worker.send(1, desk.request("join"))
    assert worker.answer()["status"] == 0


def test_params_larger_than_an_argument_may_be_arrive_whole(worker: Worker, desk: Desk) -> None:
    request = desk.request("join", text="x" * 300_000)
    worker.send(0, request)
    assert worker.answer()["status"] == 0
    assert Path(request["work"], "out", "out").stat().st_size == 300_000


def test_the_worker_and_its_children_end_with_its_input(worker: Worker, desk: Desk) -> None:
    worker.send(0, desk.endless())
    assert eventually(desk.processes)
    worker.end()
    worker.process.wait(PATIENCE)
    assert eventually(lambda: not any(map(alive, desk.processes())))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can ask to die with the parent")
def test_children_end_with_a_worker_that_was_killed(worker: Worker, desk: Desk) -> None:
    worker.send(0, desk.endless())
    assert eventually(desk.processes)
    worker.process.kill()
    worker.process.wait(PATIENCE)
    assert eventually(lambda: not any(map(alive, desk.processes())))


def test_a_child_whose_worker_died_before_it_began_does_nothing(desk: Desk) -> None:
    request = desk.request("join")
    file = Path(request["work"], "request.json")
    file.write_text(json.dumps(request), encoding="utf-8")
    nobody = str(2**22 + 1)
    run = subprocess.run(command_line("--request", str(file), nobody), env=_environment(), timeout=PATIENCE, check=False)
    assert run.returncode != 0
    assert not desk.trace.exists()


def test_the_worker_does_not_import_from_the_current_folder(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    worker = Worker()
    try:
        worker.send(0, desk.request("join"))
        assert worker.answer()["status"] == 0
    finally:
        worker.end()
        worker.process.communicate()


def test_the_users_shell_does_not_reach_an_action(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("LANG", "tlh_KX.UTF-8")
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    monkeypatch.setenv("MY_PROXY", "kept")
    environment = _environment()
    assert not {"TF_DETERMINISTIC_OPS", "LANG"} & set(environment)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert (environment["PYTHONHASHSEED"], environment["LC_ALL"], environment["TZ"]) == ("0", "C", "UTC")
    assert environment["MY_PROXY"] == "kept"
    found = json.loads(bench.text(action("look", "look_around"), of="look"))["environment"]
    assert not {"TF_DETERMINISTIC_OPS", "LANG"} & set(found), "the Pool of these tests was started with both"
    assert found["PYTHONHASHSEED"] == "0"


def test_an_action_without_a_runtime_never_sees_tensorflow(bench: Bench) -> None:
    assert json.loads(bench.text(action("look", "look_around"), of="look"))["tensorflow"] is False


def test_what_libraries_leave_in_the_temporary_folder_goes_with_the_work_folder(worker: Worker, desk: Desk) -> None:
    request = desk.request("leave_temporary_file")
    worker.send(0, request)
    assert worker.answer()["status"] == 0
    left = Path((Path(request["work"]) / "out" / "left").read_text())
    assert left.is_file()
    assert left.is_relative_to(request["work"])
