"""Environments appear whole or not at all, whoever is killed when, and are found again without a process."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.errors import SourceError, StoreError
from mlkit_build.runtimes import Requirement, parse
from mlkit_build.runtimes.environments import Environments, open_environments, python_of
from mlkit_build.store import DiskStore
from tests.runtimes.wheels import interpreter, only_from

WANTED = parse("tflite_runtime==2.14", "x")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only ones that pip sees: tflite_runtime 2.14 and what it needs."""
    folder = tmp_path / "wheels"
    interpreter(folder, "2.14")
    only_from(folder, monkeypatch)
    return folder


@contextmanager
def opened(cache: Path | None, said: list[str] | None = None, *, makes: bool = True) -> Iterator[Environments]:
    heard = said if said is not None else []
    with open_environments(cache, heard.append, lambda *_: None, makes=makes) as environments:
        yield environments


def started(cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.runtimes.one_environment", str(cache), WANTED.stated]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def imported(python: Path) -> str:
    code = "import numpy, tflite_runtime.interpreter as found; print(found.__file__)"
    return subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_it_holds_what_was_asked_for_and_says_so(wheels: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as environments:
        record = environments.record(WANTED)
    found = json.loads(record.read_bytes())
    assert found["packages"] == {"numpy": "1.99", "tflite-runtime": "2.14"}
    assert str(tmp_path) not in record.read_text()
    assert imported(python_of(record)).startswith(str(record.parent))
    assert DiskStore(tmp_path / "cache").size()[2] > 0


def test_it_is_found_again_without_a_process_or_a_registry(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "cache") as environments:
        record = environments.record(WANTED)
    shutil.rmtree(wheels)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", fail)
    for makes in (True, False):
        with opened(tmp_path / "cache", makes=makes) as environments:
            assert environments.record(WANTED) == record


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "environment.json").write_text("{"),
        lambda place: (place / "environment.json").unlink(),
        lambda place: (place / "bin" / "python").unlink(),
        lambda place: shutil.rmtree(place),
    ],
)
def test_what_was_damaged_is_made_again(wheels: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    with opened(tmp_path / "cache") as environments:
        record = environments.record(WANTED)
        before = record.read_bytes()
        damage(record.parent)
        assert environments.record(WANTED) == record
    assert record.read_bytes() == before
    assert imported(python_of(record))


def test_a_plan_makes_none(wheels: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "cache", makes=False) as environments, pytest.raises(SourceError, match="a plan installs nothing"):
        environments.record(WANTED)
    assert not (tmp_path / "cache").exists()


def test_two_builds_at_once_make_it_once(wheels: Path, tmp_path: Path) -> None:
    builds = [started(tmp_path / "cache") for _ in range(2)]
    said = [build.communicate(timeout=120)[0].splitlines() for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    assert said[0][-1] == said[1][-1]
    assert sum("done" in lines for lines in said) == 1
    assert list((tmp_path / "cache/v1/tmp").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pip ends a little later than who was killed")
def test_a_build_that_is_killed_leaves_no_pip_and_nothing_half_made(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, temporary = tmp_path / "cache", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a registry that never answers, so that pip waits
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.delenv("PIP_NO_INDEX")
        build = started(cache)
        connection, _ = silent.accept()
        with connection:
            children = Path(f"/proc/{build.pid}/task/{build.pid}/children").read_text().split()
            assert len(children) == 1
            build.kill()
            build.communicate()
            assert build.returncode == -signal.SIGKILL
            deadline = time.monotonic() + 10
            while _lives(int(children[0])):
                assert time.monotonic() < deadline, "pip outlived the build"
                time.sleep(0.05)
    assert not (cache / "v1/runtimes").exists()
    assert len(list((cache / "v1/tmp").iterdir())) == 1
    assert [path for path in temporary.glob("*/*") if path.name.startswith("pip-")], "pip was to be at work there"
    only_from(wheels, monkeypatch)
    with opened(cache) as environments:
        assert imported(python_of(environments.record(WANTED)))
    assert list((cache / "v1/tmp").iterdir()) == []
    assert list(temporary.iterdir()) == []


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("cache", [None, "a file"])
def test_without_a_cache_it_lasts_as_long_as_the_build(wheels: Path, tmp_path: Path, cache: str | None) -> None:
    said: list[str] = []
    if cache is not None:
        (tmp_path / "cache").write_text("in the way")
    with opened(tmp_path / "cache" if cache else None, said) as environments:
        record = environments.record(WANTED)
        assert imported(python_of(record))
    assert not record.exists()
    assert [("forgotten at its end" in text) for text in said] == ([True] if cache else [])


def test_a_python_without_pip_lets_the_environment_have_its_own(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    with opened(tmp_path / "cache") as environments:
        record = environments.record(WANTED)
    packages = json.loads(record.read_bytes())["packages"]
    assert (packages["tflite-runtime"], "pip" in packages) == ("2.14", True)
    assert imported(python_of(record))


def refusal(requirement: Requirement, cache: Path) -> SourceError:
    with opened(cache) as environments, pytest.raises(SourceError) as caught:
        environments.record(requirement)
    assert not (cache / "v1/runtimes").exists()
    assert list((cache / "v1/tmp").iterdir()) == []
    assert len(str(caught.value).splitlines()) == 2
    return caught.value


def test_a_version_that_the_registry_lacks_is_told_with_those_that_it_has(wheels: Path, tmp_path: Path) -> None:
    error = refusal(parse("tflite_runtime==2.99", "x"), tmp_path / "cache")
    assert "`pip install tflite-runtime==2.99 numpy<2` failed for Python 3." in error.message
    assert error.message.endswith("(from versions: 2.14)")
    assert "tflite_runtime has wheels for Python 3.11 and older" in error.hint


def test_a_registry_that_cannot_be_reached_is_told_so(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    error = refusal(WANTED, tmp_path / "cache")
    assert error.message.endswith("pip says: no connection to the registry: [Errno 111] Connection refused")
    assert "pip.conf" in error.hint


@pytest.mark.parametrize(("number", "words"), [(28, "No space left on device"), (122, "Disk quota exceeded")])
def test_a_disk_that_is_full_while_pip_writes_is_told_as_what_it_is(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    run, said = subprocess.run, list[str]()

    def full(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        text = f"ERROR: Could not install packages due to an OSError: [Errno {number}] {words}\n"  # as pip says it
        return subprocess.CompletedProcess(command, 1, "", text) if "install" in command else run(command, **options)

    monkeypatch.setattr(subprocess, "run", full)
    with opened(tmp_path / "cache", said) as environments, pytest.raises(StoreError) as refused:
        environments.record(WANTED)
    assert len(said) == 1
    assert said[0].startswith(f"cache {tmp_path / 'cache'}: {words}; tflite_runtime 2.14 is installed for this build")
    assert refused.value.message == f"temporary folder {tempfile.gettempdir()}: {words}"
    assert "free some space" in refused.value.hint
    assert not list((tmp_path / "cache" / "v1" / "tmp").iterdir())


def test_one_that_does_not_run_here_is_told_and_not_kept(wheels: Path, tmp_path: Path) -> None:
    interpreter(wheels, "2.15", "raise ImportError('GLIBC_2.99 not found')")
    error = refusal(parse("tflite_runtime==2.15", "x"), tmp_path / "cache")
    assert error.message.endswith("its import fails: ImportError: GLIBC_2.99 not found")


def test_a_module_in_the_current_folder_is_not_taken_for_pip(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "current"
    folder.mkdir()
    (folder / "pip.py").write_text("raise SystemExit('taken for pip')")
    monkeypatch.chdir(folder)
    with opened(tmp_path / "cache") as environments:
        assert imported(python_of(environments.record(WANTED)))
    assert os.listdir(folder) == ["pip.py"]  # noqa: PTH208
