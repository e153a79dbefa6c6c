"""Entries appear whole or not at all, are checked where they are used, and a cache that refuses them fails nothing."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.errors import StoreError
from mlkit_build.fetch.entries import Entries, write_file
from mlkit_build.store import Digest, DiskStore, folders
from tests.fetch.conftest import Warnings, files

KEY = "ab" * 32
CONTENT = {"ckpt/model.index": b"index", "ckpt/model.data": b"data", "other/large.bin": b"large"}


def fill(folder: Path) -> Mapping[str, Digest]:
    index = {}
    for name, data in CONTENT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        index[name] = write_file(folder / name, [data[:2], data[2:]])
    return index


def never(*_: Any) -> Any:
    raise AssertionError("it is there already")


@pytest.fixture
def open_entries(cache: Path, warnings: Warnings) -> Iterator[Callable[[], Entries]]:
    """Return what opens the cache anew, as the next build would."""
    with ExitStack() as stack:
        yield lambda: Entries(DiskStore(cache), stack, warnings)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own, to see what is left in it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content is hashed."""
    seen: list[str] = []
    real = Digest.of_file

    def of_file(path: Path) -> Digest:
        seen.append(path.name)
        return real(path)

    monkeypatch.setattr(Digest, "of_file", of_file)
    return seen


def refuse(monkeypatch: pytest.MonkeyPatch, under: Path, number: int) -> None:
    """Let the disk refuse new folders and files under a folder, as a full or read-only one does; root knows no permissions."""
    for operation in ("mkdir", "open"):
        real = getattr(Path, operation)

        def refusing(self: Path, *arguments: Any, real: Any = real, **options: Any) -> Any:
            writes = real.__name__ == "mkdir" or "x" in str(arguments)
            if writes and self.is_relative_to(under) and not (real.__name__ == "mkdir" and self.is_dir()):
                raise OSError(number, os.strerror(number))
            return real(self, *arguments, **options)

        monkeypatch.setattr(Path, operation, refusing)
    monkeypatch.setattr(os, "open", refusing_locks(os.open, under, number))


def refusing_locks(real: Any, under: Path, number: int) -> Any:
    def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT and Path(os.fsdecode(path)).is_relative_to(under):
            raise OSError(number, os.strerror(number))
        return int(real(path, flags, *arguments, **options))

    return opened


def edit(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_what_was_made_is_found_by_the_next_build(open_entries: Callable[[], Entries], cache: Path, warnings: Warnings) -> None:
    assert open_entries().find(KEY) is None
    made = open_entries().make(KEY, fill, never)
    found = open_entries().find(KEY)
    assert found == made
    assert {name: (made.folder / name).read_bytes() for name in made.index} == CONTENT
    assert open_entries().make(KEY, never, never) == made
    assert not [name for name in files(cache) if "/tmp/" in name]
    assert warnings == []


def test_an_unchanged_entry_is_not_read_again_however_new_it_is(open_entries: Callable[[], Entries], reads: list[str]) -> None:
    open_entries().make(KEY, fill, never)
    assert sorted(reads) == ["large.bin", "model.data", "model.index"]
    assert open_entries().find(KEY)
    assert len(reads) == 3


@pytest.mark.parametrize("date", ["new", "kept"])
def test_a_file_that_was_edited_is_noticed_and_made_again(
    open_entries: Callable[[], Entries], warnings: Warnings, date: str
) -> None:
    path = open_entries().make(KEY, fill, never).folder / "ckpt/model.data"
    before = path.stat()
    edit(path, b"DATA")
    if date == "kept":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert open_entries().find(KEY) is None
    assert (open_entries().make(KEY, fill, never).folder / "ckpt/model.data").read_bytes() == b"data"
    assert len(warnings) == 1
    assert "is damaged; doing it again" in warnings[0]
    assert open_entries().find(KEY)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "files/ckpt/model.data").unlink(),
        lambda entry: (entry / "files/ckpt/more").write_bytes(b""),
        lambda entry: (entry / "files/ckpt/more").symlink_to("/etc/passwd"),
        lambda entry: (entry / "index.json").unlink(),
        lambda entry: edit(entry / "index.json", b'{"ckpt/model.data": 7}'),
        lambda entry: edit(entry / "index.json", b"[" * 100_000),
        lambda entry: edit(entry / "index.json", b'{"../../x": ["ab", 1]}'),
        lambda entry: shutil.rmtree(entry / "files"),
    ],
)
def test_an_entry_that_is_not_what_its_index_says_is_made_again(
    open_entries: Callable[[], Entries], cache: Path, damage: Callable[[Path], object]
) -> None:
    made = open_entries().make(KEY, fill, never)
    damage(made.folder.parent)
    assert open_entries().find(KEY) is None
    assert open_entries().make(KEY, fill, never) == made
    assert open_entries().find(KEY) == made
    assert list((cache / "v1" / "tmp").iterdir()) == []


def test_only_what_lies_beside_the_place_is_checked(open_entries: Callable[[], Entries]) -> None:
    made = open_entries().make(KEY, fill, never)
    edit(made.folder / "other/large.bin", b"LARGE")
    assert open_entries().find(KEY, "ckpt/model") == made
    assert open_entries().find(KEY, "other/large.bin") is None
    assert open_entries().find(KEY) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("of the work")])
def test_an_interruption_leaves_nothing(open_entries: Callable[[], Entries], cache: Path, error: BaseException) -> None:
    def interrupted(folder: Path) -> Mapping[str, Digest]:
        fill(folder)
        raise error

    with pytest.raises(type(error)):
        open_entries().make(KEY, interrupted, never)
    assert open_entries().find(KEY) is None
    assert files(cache) == []


@pytest.mark.parametrize("operation", ["fsync", "fchmod", "utime", "rename"])
@pytest.mark.parametrize("call", range(4))
def test_a_disk_that_fails_in_the_middle_leaves_nothing_that_is_taken_for_whole(
    open_entries: Callable[[], Entries],
    cache: Path,
    warnings: Warnings,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    call: int,
) -> None:
    calls = iter(range(1000))
    real = getattr(os, operation)

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, failing)
        made = open_entries().make(KEY, fill, never)
    assert {name: (made.folder / name).read_bytes() for name in made.index} == CONTENT
    if next(calls) > call and not made.folder.is_relative_to(cache):
        assert len(warnings) == 1
        assert files(cache) == []
    assert open_entries().make(KEY, fill, never).folder.is_relative_to(cache)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_cache_that_refuses_warns_once_and_things_are_kept_for_this_run(
    cache: Path, temporary: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    cache.mkdir()
    refuse(monkeypatch, cache, number)
    with ExitStack() as stack:
        entries = Entries(DiskStore(cache), stack, warnings)
        first, second = entries.make(KEY, fill, never), entries.make("cd" * 32, fill, never)
        assert entries.find(KEY) == first
        assert entries.make(KEY, fill, never).index == first.index
        assert (second.folder / "ckpt/model.data").read_bytes() == b"data"
    assert list(temporary.iterdir()) == []
    assert len(warnings) == 1
    assert str(cache) in warnings[0]
    assert os.strerror(number) in warnings[0]


def test_a_read_only_cache_is_read(
    open_entries: Callable[[], Entries], cache: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = open_entries().make(KEY, fill, never)
    shutil.rmtree(cache / "v1" / "files")
    refuse(monkeypatch, cache, errno.EROFS)
    assert open_entries().find(KEY) == made
    assert warnings == []


def test_an_impossible_cache_folder_fails_nothing(cache: Path, warnings: Warnings) -> None:
    cache.write_text("not a folder", encoding="utf-8")
    with ExitStack() as stack:
        entries = Entries(DiskStore(cache), stack, warnings)
        assert entries.find(KEY) is None
        assert entries.make(KEY, fill, never).index.keys() == CONTENT.keys()
    assert len(warnings) == 1


def test_a_machine_without_any_room_says_so(
    open_entries: Callable[[], Entries], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, temporary.parent, errno.ENOSPC)
    with pytest.raises(StoreError, match=r"temporary folder .*No space left") as caught:
        open_entries().make(KEY, fill, never)
    assert "TMPDIR" in caught.value.hint


def test_without_a_cache_nothing_is_left(temporary: Path, warnings: Warnings) -> None:
    with ExitStack() as stack:
        entries = Entries(None, stack, warnings)
        made = entries.make(KEY, fill, never)
        assert entries.find(KEY) == made
    assert list(temporary.iterdir()) == []
    assert warnings == []


def test_what_killed_builds_left_is_swept_up(open_entries: Callable[[], Entries], cache: Path) -> None:
    folder = cache / "v1" / "tmp"
    same, old, running = (folder / f"fetch-{key}-1" for key in (KEY, "cd" * 32, "ef" * 32))
    for path in (same, old, running):
        (path / "files").mkdir(parents=True)
        (path / "files" / "model.pb").write_bytes(b"part")
    long_ago = time.time() - folders.ABANDONED_SECONDS - 1
    os.utime(old, (long_ago, long_ago))
    (folder / "tmpx").write_bytes(b"somebody else's")
    open_entries().make(KEY, fill, never)
    assert sorted(path.name for path in folder.iterdir()) == [running.name, "tmpx"]


def test_a_lock_that_cannot_be_had_costs_nothing_but_work(
    open_entries: Callable[[], Entries], monkeypatch: pytest.MonkeyPatch, warnings: Warnings
) -> None:
    def no_lock(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(DiskStore, "lock", no_lock)

    def overtaken(folder: Path) -> Mapping[str, Digest]:
        open_entries().make(KEY, fill, never)
        return fill(folder)

    made = open_entries().make(KEY, overtaken, never)
    assert open_entries().find(KEY) == made
    assert warnings == []
