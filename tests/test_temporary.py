"""A temporary folder is its process's alone, and goes with it, however that ends."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlkit_build import temporary
from mlkit_build.errors import ConfigError, StoreError
from mlkit_build.temporary import folder_in, keep, named_or_temporary, temporary_folder

_DAY = 86400
_HOLDER = """
import sys
from mlkit_build.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "work").touch()
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_it_is_there_for_this_user_alone_and_goes_with_all_that_is_in_it(tmpdir: Path) -> None:
    with temporary_folder() as folder:
        assert folder.parent == tmpdir
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "deep" / "er").mkdir(parents=True)
    assert list(tmpdir.iterdir()) == []


def test_it_goes_when_an_error_ends_it(tmpdir: Path) -> None:
    with pytest.raises(KeyboardInterrupt), temporary_folder():
        raise KeyboardInterrupt
    assert list(tmpdir.iterdir()) == []


def test_one_that_is_to_be_kept_stays(tmpdir: Path) -> None:
    with temporary_folder() as folder:
        keep(folder)
    with temporary_folder():
        assert folder.is_dir()
    assert list(tmpdir.iterdir()) == [folder]


def test_a_named_folder_stays_and_an_unnamed_one_goes(tmpdir: Path, tmp_path: Path) -> None:
    with named_or_temporary(tmp_path / "a" / "kept", "check: --keep") as folder:
        assert folder == tmp_path / "a" / "kept"
    assert folder.is_dir()
    with named_or_temporary(None, "check: --keep") as folder:
        assert folder.parent == tmpdir
    assert not folder.exists()


def test_a_named_folder_must_be_new(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^check: --keep .*: expected a folder that is not there yet"):
        named_or_temporary(tmp_path, "check: --keep").__enter__()


def test_a_temporary_folder_that_cannot_be_written_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="none: No such file or directory") as caught, temporary_folder():
        pass
    assert "TMPDIR" in caught.value.hint


def _alone() -> list[str]:
    """Return the command that runs another as the first process of a PID namespace, as a container does; nothing without it."""
    command = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    try:
        able = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        able = False
    return command if able else []


@pytest.mark.skipif(sys.platform != "linux", reason="where folders have locks")
@pytest.mark.parametrize("contained", [False, True], ids=["beside", "in a container"])
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "alive"])
def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_has_stays(
    tmpdir: Path, killed: bool, contained: bool
) -> None:
    within = _alone() if contained else []
    if contained and not within:
        pytest.skip("this machine makes no PID namespaces")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [*within, sys.executable, "-c", _HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        held = Path(process.stdout.readline().decode().strip())
        assert list(tmpdir.iterdir()) == [held]
        if killed:
            process.kill()
            process.wait()
        _until(lambda: _swept(tmpdir, held) == killed)
        assert (held / "work").exists() is not killed
        if not killed:
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.wait(60) == 0
            assert list(tmpdir.iterdir()) == []


def _swept(tmpdir: Path, held: Path) -> bool:
    with temporary_folder() as folder:
        assert folder in tmpdir.iterdir()
    return not held.exists()


def _until(holds: object) -> None:
    assert callable(holds)
    for _ in range(100):
        if holds():
            return
        time.sleep(0.05)


def test_where_there_are_no_locks_only_what_is_older_than_a_day_is_swept(tmpdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "_locked", lambda _: None)
    with temporary_folder() as folder:
        with temporary_folder():
            assert folder.is_dir()
        past = time.time() - _DAY - 60
        os.utime(folder, (past, past))
        with temporary_folder() as second:
            assert list(tmpdir.iterdir()) == [second]


def test_what_is_not_a_folder_of_ours_is_left_alone_and_not_waited_for(tmpdir: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "work").mkdir(parents=True)
    os.mkfifo(tmpdir / f"mlkit-build-{'0' * 16}")
    (tmpdir / f"mlkit-build-{'1' * 16}").symlink_to(precious)
    (tmpdir / f"mlkit-build-{'2' * 16}").write_text("a file")
    (tmpdir / "mlkit-build-mine").mkdir()
    there = set(tmpdir.iterdir())
    with temporary_folder() as folder:
        assert set(tmpdir.iterdir()) == {*there, folder}
    assert (precious / "work").is_dir()


def test_folders_of_another_prefix_are_left_alone(tmp_path: Path) -> None:
    with folder_in(tmp_path, ".int8.") as first, folder_in(tmp_path, ".int8-other.") as second:
        assert {first, second} <= set(tmp_path.iterdir())
    for name in (first, second):
        name.mkdir()
    with folder_in(tmp_path, ".int8."):
        assert not first.exists()
        assert second.exists()


def test_one_that_is_kept_while_another_process_looks_stays(tmpdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = folder_in(tmpdir, "mlkit-build-")
    folder = owner.__enter__()
    locked = temporary._locked

    def kept_and_ended(path: Path) -> int | None:
        if path == folder and not (folder / ".mlkit-build-kept").exists():
            keep(folder)
            owner.__exit__(None, None, None)
        return locked(path)

    monkeypatch.setattr(temporary, "_locked", kept_and_ended)
    with temporary_folder():
        assert folder.is_dir()
    assert list(tmpdir.iterdir()) == [folder]


def test_what_only_looks_abandoned_is_not_opened(tmpdir: Path) -> None:
    """A pipe that nobody writes was waited for, for good."""
    pipe = tmpdir / f"mlkit-build-{'3' * 16}.unlocked"
    os.mkfifo(pipe)
    past = time.time() - 2 * _DAY
    os.utime(pipe, (past, past))
    with temporary_folder():
        assert pipe.is_fifo()


def test_another_users_folder_is_not_swept(tmpdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmpdir / f"mlkit-build-{'4' * 16}"
    theirs.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: theirs.stat().st_uid + 1)
        with temporary_folder():
            assert theirs.is_dir()
    with temporary_folder():
        assert not theirs.exists()


def test_folders_of_any_depth_are_removed(tmpdir: Path) -> None:
    """Python removes a folder within another by calling itself, and reached its limit in every later build."""
    with temporary_folder() as folder:
        before = os.open(folder, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("deep", dir_fd=before)
            below = os.open("deep", os.O_RDONLY, dir_fd=before)
            os.close(before)
            before = below
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=before))
        os.close(before)
    assert list(tmpdir.iterdir()) == []


def test_a_folder_that_nobody_may_list_is_written_to(tmpdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refused)
        with temporary_folder() as folder:
            assert folder.is_dir()
    assert list(tmpdir.iterdir()) == []


_READ_ONLY = """
from mlkit_build.temporary import temporary_folder
with temporary_folder() as folder:
    for path in (folder / "a" / "b", folder / "c"):
        path.mkdir(parents=True)
        (path / "file").touch()
    for path in (folder / "a" / "b", folder / "a", folder / "c"):
        path.chmod(0o500)
"""


def test_folders_that_were_made_read_only_are_removed(tmpdir: Path) -> None:
    command = [sys.executable, "-c", _READ_ONLY]
    if os.geteuid() == 0:  # who may do anything; but not without these capabilities
        without = "-dac_override,-dac_read_search,-fowner"
        command = ["setpriv", f"--bounding-set={without}", f"--inh-caps={without}", *command]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmpdir.iterdir()) == []
