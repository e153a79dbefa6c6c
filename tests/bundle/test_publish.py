"""A bundle is always one complete version: whatever raises, whatever is killed, whatever stood in its place."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlkit_build.bundle.publish as publishing
from mlkit_build.bundle.manifest import SCHEMA
from mlkit_build.bundle.publish import CHECKSUMS, MANIFEST, PROVENANCE, check_place, is_published, publish
from mlkit_build.errors import ConfigError, StoreError
from mlkit_build.store import Digest

FILES = ("toy.tflite", "labels.txt")


def content(version: int, name: str) -> bytes:
    return f"{name} of version {version}\n".encode() * (version % 5 + 1)


def writer(version: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in (*FILES, MANIFEST, PROVENANCE):
            (folder / name).write_bytes(content(version, name))

    return write


def digests(version: int) -> dict[str, Digest]:
    return {name: Digest.of_bytes(content(version, name)) for name in FILES}


def holds(place: Path, version: int) -> bool:
    return is_published(place, content(version, MANIFEST), digests(version))


def verify(folder: Path) -> bytes:
    """Check every file against SHA256SUMS, as `sha256sum -c` does, and that there is no other file; return the manifest."""
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    stated = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != CHECKSUMS}
    assert found == stated
    return (folder / MANIFEST).read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "dist" / "toy" / "int8"


def neighbours(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


def test_a_bundle_appears_with_its_checksums_and_its_parents(place: Path) -> None:
    publish(place, writer(1))
    assert verify(place) == content(1, MANIFEST)
    assert holds(place, 1)
    assert neighbours(place) == ["int8"]


def test_the_checksums_satisfy_sha256sum(place: Path) -> None:
    publish(place, writer(1))
    run = subprocess.run(["sha256sum", "--strict", "-c", CHECKSUMS], cwd=place, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(": OK") == len(FILES) + 2


def test_a_bundle_replaces_the_one_before_as_a_whole(place: Path) -> None:
    publish(place, writer(1))
    (place / "left over.txt").write_text("from the user", encoding="utf-8")
    publish(place, writer(2))
    assert verify(place) == content(2, MANIFEST)
    assert neighbours(place) == ["int8"]


def test_files_have_the_permissions_that_the_user_asked_for(place: Path) -> None:
    before = os.umask(0o027)
    try:
        publish(place, writer(1))
    finally:
        os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o640}


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("there", [True, False], ids=["replacing", "first"])
def test_a_write_that_raises_changes_nothing(place: Path, error: BaseException, there: bool) -> None:
    if there:
        publish(place, writer(1))

    def write(folder: Path) -> None:
        (folder / MANIFEST).write_bytes(b"half")
        raise error

    with pytest.raises(StoreError if isinstance(error, OSError) else type(error)):
        publish(place, write)
    assert neighbours(place) == (["int8"] if there else [])
    if there:
        assert verify(place) == content(1, MANIFEST)


def test_a_full_disk_is_explained_with_what_to_do(place: Path) -> None:
    def write(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreError, match="No space left on device") as caught:
        publish(place, write)
    assert str(place) in caught.value.message
    assert "output_dir=" in caught.value.hint


def test_an_output_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "dist").write_text("a file", encoding="utf-8")
    with pytest.raises(StoreError, match=r"^output_dir: "):
        publish(tmp_path / "dist" / "toy" / "int8", writer(1))


@pytest.fixture(params=[True, False], ids=["exchange", "fallback"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With renameat2 where the system has it, and without it."""
    if not request.param:
        monkeypatch.setattr(publishing, "_exchange", lambda *_: False)
    return bool(request.param)


@pytest.mark.usefixtures("either_way")
def test_replacing_works_with_and_without_an_atomic_exchange(place: Path) -> None:
    for version in (1, 2, 3):
        publish(place, writer(version))
        assert verify(place) == content(version, MANIFEST)
        assert neighbours(place) == ["int8"]


def test_somebodys_work_in_the_bundles_place_is_not_replaced(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(StoreError, match=r"expected a bundle or nothing there, found something without manifest\.json"):
        publish(place, writer(1))
    assert [path.read_text(encoding="utf-8") for path in place.iterdir()] == ["years of work"]
    assert neighbours(place) == ["int8"]


@pytest.mark.parametrize("text", ['{"name": "My app", "icons": []}', "", "not JSON"])
def test_a_manifest_of_something_else_is_no_sign_of_a_bundle(place: Path, text: str) -> None:
    place.mkdir(parents=True)
    (place / MANIFEST).write_text(text, encoding="utf-8")
    (place / "index.html").write_text("years of work", encoding="utf-8")
    for act in (lambda: publish(place, writer(1)), lambda: check_place(place)):
        with pytest.raises(StoreError, match=r"expected a bundle or nothing there, found a manifest\.json of something else"):
            act()
    assert (place / "index.html").read_text(encoding="utf-8") == "years of work"
    assert neighbours(place) == ["int8"]


@pytest.mark.parametrize("lost", [CHECKSUMS, MANIFEST])
def test_a_damaged_bundle_is_replaced(place: Path, lost: str) -> None:
    def write(folder: Path) -> None:
        writer(1)(folder)
        (folder / MANIFEST).write_text(f'{{"schema": "{SCHEMA}"}}', encoding="utf-8")

    publish(place, write)
    if lost == MANIFEST:
        (place / MANIFEST).write_bytes(b"damaged")
    else:
        (place / lost).unlink()
    publish(place, writer(2))
    assert holds(place, 2)


def test_a_file_in_the_bundles_place_is_not_replaced(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_text("a file", encoding="utf-8")
    with pytest.raises(StoreError, match="expected a bundle or nothing there"):
        publish(place, writer(1))
    assert place.read_text(encoding="utf-8") == "a file"


@pytest.mark.usefixtures("either_way")
def test_an_empty_folder_in_the_bundles_place_is_replaced(place: Path) -> None:
    place.mkdir(parents=True)
    publish(place, writer(1))
    assert holds(place, 1)


def test_a_symbolic_link_to_an_empty_folder_is_not_replaced(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="expected a bundle or nothing there"):
        publish(place, writer(1))
    assert place.is_symlink()
    assert neighbours(place) == ["int8"]


@pytest.mark.usefixtures("either_way")
def test_a_symbolic_link_to_a_bundle_is_replaced_and_that_bundle_is_not_touched(place: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "int8"
    publish(elsewhere, writer(2))
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    publish(place, writer(1))
    assert not place.is_symlink()
    assert holds(place, 1)
    assert holds(elsewhere, 2)
    assert neighbours(place) == ["int8"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["disk", "interrupt"])
@pytest.mark.parametrize("call", [0, 1, 2])
def test_a_fallback_that_fails_at_any_of_its_renames_puts_the_old_bundle_back(
    place: Path, monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException
) -> None:
    publish(place, writer(1))
    monkeypatch.setattr(publishing, "_exchange", lambda *_: False)
    calls, real = iter(range(100)), Path.rename

    def rename(self: Path, target: Path) -> Path:
        if next(calls) == call:
            raise error
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(StoreError if isinstance(error, OSError) else type(error)):
            publish(place, writer(2))
    assert verify(place) == content(1, MANIFEST)
    assert neighbours(place) == ["int8"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_the_exchange_swaps_two_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not publishing._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip(f"the file system of {tmp_path} cannot exchange")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()


def test_an_exchange_with_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert publishing._exchange(tmp_path / "a", tmp_path / "none") is False
    assert (tmp_path / "a").is_dir()


_WRITER = """
import sys
from pathlib import Path
from mlkit_build.bundle.publish import publish
from tests.bundle.test_publish import writer
place, version = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while True:
    version += 1
    publish(place, writer(version))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only an atomic exchange keeps this promise, and it is Linux's")
def test_a_reader_sees_one_complete_version_though_writers_are_killed_at_random_moments(place: Path) -> None:
    publish(place, writer(0))
    if not _can_exchange(place.parent):
        pytest.skip(f"the file system of {place} cannot exchange")
    root = str(Path(__file__).parents[2])
    moments = random.Random(20240229)
    seen: set[bytes] = set()
    for turn in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(place), str(1000 * turn)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        end = time.monotonic() + moments.uniform(0.0, 0.3)
        try:
            while time.monotonic() < end:
                seen.add(_read_snapshot(place))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        seen.add(verify(place))
    assert len(seen) > 6, "the writers never got anywhere: this test saw nothing"
    publish(place, writer(7))
    assert holds(place, 7)


_HOLDER = """
import sys, time
from pathlib import Path
from mlkit_build.bundle.publish import publish
from tests.bundle.test_publish import writer

def write(folder):
    writer(2)(folder)
    print(folder.name, flush=True)
    sys.stdin.readline()

publish(Path(sys.argv[1]), write)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="where folders have locks")
@pytest.mark.parametrize("killed", [True, False])
def test_what_a_killed_publisher_left_goes_with_the_next_and_what_a_living_one_has_stays(place: Path, killed: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", _HOLDER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        staged = process.stdout.readline().decode().strip()
        assert neighbours(place) == [staged]
        if killed:
            process.kill()
            process.wait()
        publish(place, writer(1))
        assert holds(place, 1)
        assert neighbours(place) == (["int8"] if killed else [staged, "int8"])
        if not killed:
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.wait(60) == 0
            assert holds(place, 2)
            assert neighbours(place) == ["int8"]


def _can_exchange(folder: Path) -> bool:
    first, second = (Path(tempfile.mkdtemp(dir=folder)) for _ in range(2))
    try:
        return publishing._exchange(first, second)
    finally:
        first.rmdir()
        second.rmdir()


def _read_snapshot(place: Path) -> bytes:
    """Verify the bundle as it is at one moment, through a folder descriptor that follows it wherever it is moved."""
    while True:
        folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY)  # never fails: there is always a bundle
        try:
            return verify(Path(f"/proc/self/fd/{folder}"))
        except FileNotFoundError:
            # It was replaced, and is being deleted: that is no bundle any more. One that is still in its place is whole.
            assert not os.path.samestat(os.fstat(folder), place.stat()), "a file of the published bundle is missing"
        except AssertionError:
            if os.path.samestat(os.fstat(folder), place.stat()):
                raise
        finally:
            os.close(folder)


@pytest.fixture
def bundle(place: Path) -> Path:
    publish(place, writer(1))
    return place


@pytest.mark.parametrize("name", [*FILES, MANIFEST, PROVENANCE, CHECKSUMS])
def test_a_bundle_with_any_byte_of_a_file_changed_is_not_the_published_one(bundle: Path, name: str) -> None:
    whole = (bundle / name).read_bytes()
    for offset in range(len(whole)):
        for other in {whole[offset] ^ 1, ord("\r"), ord("\n")} - {whole[offset]}:
            (bundle / name).write_bytes(whole[:offset] + bytes([other]) + whole[offset + 1 :])
            assert not holds(bundle, 1), (offset, other)
    (bundle / name).write_bytes(whole)
    assert holds(bundle, 1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*FILES, MANIFEST, PROVENANCE, CHECKSUMS]), data=st.binary(max_size=40))
def test_a_bundle_with_a_file_of_other_bytes_is_not_the_published_one(bundle: Path, name: str, data: bytes) -> None:
    whole = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data)
    assert holds(bundle, 1) is (data == whole)
    (bundle / name).write_bytes(whole)


@pytest.mark.parametrize("name", [*FILES, MANIFEST, PROVENANCE, CHECKSUMS])
def test_a_bundle_without_one_of_its_files_is_not_the_published_one(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert not holds(bundle, 1)


def test_a_bundle_with_one_more_file_is_not_the_published_one(bundle: Path) -> None:
    (bundle / "notes.txt").touch()
    assert not holds(bundle, 1)


def test_a_bundle_with_a_folder_for_a_file_is_not_the_published_one(bundle: Path) -> None:
    (bundle / FILES[0]).unlink()
    (bundle / FILES[0]).mkdir()
    assert not holds(bundle, 1)


@pytest.mark.parametrize("make", [None, Path.touch, Path.mkdir], ids=["nothing", "a file", "an empty folder"])
def test_what_is_no_bundle_is_not_the_published_one(tmp_path: Path, make: Callable[[Path], Any] | None) -> None:
    if make:
        make(tmp_path / "int8")
    assert not holds(tmp_path / "int8", 1)


def test_another_version_is_not_the_published_one(bundle: Path) -> None:
    assert not holds(bundle, 2)
    assert not is_published(bundle, content(1, MANIFEST), digests(2))
    assert not is_published(bundle, content(2, MANIFEST), digests(1))


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: path.symlink_to("nowhere")])
def test_an_output_folder_that_is_no_folder_is_refused_before_anything_is_built(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "dist")
    with pytest.raises(ConfigError, match=r"^output_dir: .*/dist: expected a folder, found a (file|link to nothing)"):
        check_place(tmp_path / "dist" / "mnist" / "int8")
    check_place(tmp_path / "other" / "mnist" / "int8")


@pytest.mark.parametrize("name", [MANIFEST, CHECKSUMS])
def test_a_pipe_in_a_bundle_is_no_bundle_and_is_not_waited_for(place: Path, name: str) -> None:
    publish(place, writer(1))
    assert holds(place, 1)
    (place / name).unlink()
    os.mkfifo(place / name)
    assert not holds(place, 1)
