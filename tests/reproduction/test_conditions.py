"""How a build under conditions is run, and how it ends when it is told to."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlkit_build.reproduction import conditions
from mlkit_build.reproduction.held import code
from tests.conftest import Workspace
from tests.processes import alive, eventually

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(60)
"""


def test_a_build_that_does_not_end_when_it_is_told_to_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "started"

    class Impatient(subprocess.Popen[str]):
        """Interrupted while it waits for the build, and again while it waits for its end."""

        def communicate(self, *_: object, **__: object) -> tuple[str, str]:
            assert eventually(file.exists)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Impatient)
    with pytest.raises(KeyboardInterrupt):
        conditions._run_held([sys.executable, "-c", STUBBORN, str(file)])
    assert not alive(int(file.read_text()))


def test_a_build_ends_as_if_interrupted_when_nobody_holds_it(workspace: Workspace) -> None:
    """At any moment of it: before it can be interrupted in order, and after."""
    endings = set()
    for seconds in (None, 0.0, 0.2):
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code(), "recipe=multiply", "ui=plain"],
            cwd=workspace.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stderr is not None
        if seconds is not None:
            process.stderr.readline()  # it is at work
        process.stdin.close()
        told = process.stderr.read()
        endings.add(process.wait(60))
        assert "Traceback" not in told
    assert endings <= {130, -signal.SIGTERM}
    assert 130 in endings


def test_what_a_build_says_is_returned_whole() -> None:
    said = "x" * 300_000  # more than a pipe holds
    done = conditions._run_held([sys.executable, "-c", f"import sys; print({len(said)} * 'x'); sys.exit(7)"], text=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, f"{said}\n", "")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    def opened() -> set[str]:
        return {path.name for path in Path("/proc/self/fd").iterdir()}

    before = opened()
    conditions._run_held([sys.executable, "-c", ""])
    with pytest.raises(FileNotFoundError):
        conditions._run_held([str(tmp_path / "nothing")])
    assert opened() == before
