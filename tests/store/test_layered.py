"""The layered store: a cache that refuses costs one warning and never a build.

The tests may run as root, whom permission bits do not stop: the cache folder is made impossible, or the disk is made to refuse.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.store import BlobUnusableError, Digest, LayeredStore, Record, open_store
from mlkit_build.store.disk import DiskStore
from mlkit_build.store.layered import default_folder
from tests.store.test_disk import CONTENT, SCOPE, a_record, blob_file, damage, flipped, kept


class Warnings(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A cache folder that nobody can make: a file stands in its place."""
    folder = tmp_path / "cache"
    folder.write_text("not a folder", encoding="utf-8")
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own, to see what is left in it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def refuse_writes(monkeypatch: pytest.MonkeyPatch, under: Path, number: int) -> None:
    """Let the disk refuse new files under a folder, as a full or read-only one does."""
    real = tempfile.mkstemp

    def mkstemp(*arguments: Any, **options: Any) -> tuple[int, str]:
        if Path(options.get("dir") or "/").is_relative_to(under):
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)


def contents(store: LayeredStore, record: Record) -> dict[str, bytes]:
    return {name: store.blob(digest).read_bytes() for name, digest in record.outputs.items()}


def test_a_cache_that_works_is_used_in_silence(tmp_path: Path, temporary: Path, warnings: Warnings) -> None:
    record, files = a_record(tmp_path / "out")
    with open_store(tmp_path / "cache", warnings) as store:
        store.keep(record, files, SCOPE)
        assert list(temporary.iterdir()) == []
    assert DiskStore(tmp_path / "cache").find(record.key) == record
    assert warnings == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_warns_once_and_everything_is_kept_privately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: Warnings, number: int
) -> None:
    refuse_writes(monkeypatch, tmp_path / "cache", number)
    records = [a_record(tmp_path / f"out{samples}", params={"samples": samples}) for samples in range(3)]
    with open_store(tmp_path / "cache", warnings) as store:
        for record, files in records:
            store.keep(record, files, SCOPE)
        assert [store.find(record.key) for record, _ in records] == [record for record, _ in records]
        assert all(contents(store, record) == CONTENT for record, _ in records)
    assert len(warnings) == 1
    assert str(tmp_path / "cache") in warnings[0]
    assert os.strerror(number) in warnings[0]


def test_a_cache_that_fills_up_in_the_middle_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: Warnings
) -> None:
    first, second = a_record(tmp_path / "a", params={"samples": 1}), a_record(tmp_path / "b", {"x": b"1"}, params={"samples": 2})
    with open_store(tmp_path / "cache", warnings) as store:
        store.keep(*first, SCOPE)
        refuse_writes(monkeypatch, tmp_path / "cache", errno.ENOSPC)
        store.keep(*second, SCOPE)
        assert store.find(first[0].key) == first[0]
        assert store.find(second[0].key) == second[0]
    assert DiskStore(tmp_path / "cache").find(first[0].key) == first[0]
    assert len(warnings) == 1


def test_an_impossible_cache_folder_warns_once_whatever_is_asked_of_it(tmp_path: Path, blocked: Path, warnings: Warnings) -> None:
    record, files = a_record(tmp_path / "out")
    with open_store(blocked, warnings) as store:
        assert store.find(record.key) is None
        assert list(store.recent(SCOPE)) == []
        assert store.read_note("files", "ab", "note.json") is None
        store.write_note([1], "files", "ab", "note.json")
        with store.lock(record.key):
            store.keep(record, files, SCOPE)
        assert store.find(record.key) == record
        assert list(store.recent(SCOPE)) == [record]
        assert contents(store, record) == CONTENT
    assert len(warnings) == 1
    assert blocked.read_text(encoding="utf-8") == "not a folder"


def test_a_lock_that_cannot_be_had_does_not_stop_the_work(blocked: Path, warnings: Warnings) -> None:
    entered = False
    with open_store(blocked, warnings) as store, store.lock("0" * 64):
        entered = True
    assert entered
    assert len(warnings) == 1


def test_a_lock_that_another_holds_is_a_timeout_and_no_broken_cache(tmp_path: Path, warnings: Warnings) -> None:
    with (
        open_store(tmp_path / "cache", warnings) as store,
        DiskStore(tmp_path / "cache").lock("0" * 64),
        pytest.raises(TimeoutError),
        store.lock("0" * 64, timeout=0.05),
    ):
        pass
    assert warnings == []


def test_an_error_of_the_work_under_a_lock_is_not_taken_for_the_caches(tmp_path: Path, warnings: Warnings) -> None:
    with (
        open_store(tmp_path / "cache", warnings) as store,
        pytest.raises(OSError, match="of the work"),
        store.lock("0" * 64),
    ):
        raise OSError(errno.ENOSPC, "of the work")
    assert warnings == []


def test_without_a_cache_everything_is_private_and_forgotten_at_the_end(
    tmp_path: Path, temporary: Path, warnings: Warnings
) -> None:
    record, files = a_record(tmp_path / "out")
    with open_store(None, warnings) as store:
        store.keep(record, files, SCOPE)
        assert store.find(record.key) == record
        assert contents(store, record) == CONTENT
    assert list(temporary.iterdir()) == []
    assert warnings == []


def test_threads_share_one_private_store_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path, warnings: Warnings
) -> None:
    refuse_writes(monkeypatch, tmp_path / "cache", errno.EROFS)
    real, together = tempfile.TemporaryDirectory, threading.Barrier(4)

    def slow(*arguments: Any, **options: Any) -> Any:
        folder = real(*arguments, **options)
        threading.Event().wait(0.05)
        return folder

    monkeypatch.setattr(tempfile, "TemporaryDirectory", slow)
    made = [a_record(tmp_path / f"out{number}", params={"samples": number}) for number in range(4)]
    with open_store(tmp_path / "cache", warnings) as store:

        def keep(record: Record, files: dict[str, Path]) -> None:
            together.wait()
            store.keep(record, files, SCOPE)

        threads = [threading.Thread(target=keep, args=pair) for pair in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.find(record.key) for record, _ in made] == [record for record, _ in made]
    assert len(warnings) == 1
    assert list(temporary.iterdir()) == []


def test_a_damaged_blob_of_a_read_only_cache_is_replaced_privately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: Warnings
) -> None:
    cache, record = kept(tmp_path)
    digest = record.outputs["frozen_graph.pb"]
    damage(blob_file(cache, digest), flipped(CONTENT["frozen_graph.pb"]))
    with open_store(tmp_path / "cache", warnings) as store:
        refuse_writes(monkeypatch, tmp_path / "cache", errno.EROFS)
        with monkeypatch.context() as patch:
            for operation in ("replace", "unlink"):
                patch.setattr(Path, operation, _read_only)
            with pytest.raises(BlobUnusableError, match="is damaged"):
                store.blob(digest)
        store.keep(*a_record(tmp_path / "out"), SCOPE)
        assert store.blob(digest).read_bytes() == CONTENT["frozen_graph.pb"]


def _read_only(*_: Any, **__: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_blob_that_nobody_has_is_missing(tmp_path: Path, warnings: Warnings) -> None:
    with open_store(tmp_path / "cache", warnings) as store, pytest.raises(BlobUnusableError, match="is missing"):
        store.blob(Digest("0" * 64, 1))


def test_a_disk_where_nothing_can_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: Warnings) -> None:
    refuse_writes(monkeypatch, Path("/"), errno.ENOSPC)
    with open_store(tmp_path / "cache", warnings) as store, pytest.raises(OSError, match="No space left"):
        store.keep(*a_record(tmp_path / "out"), SCOPE)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("MLKIT_BUILD_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="XDG folders are Linux's rule")
def test_the_cache_is_where_the_platform_keeps_caches(environment: Path) -> None:
    assert default_folder() == environment / "xdg" / "mlkit-build"


def test_the_environment_variable_names_another_cache(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLKIT_BUILD_CACHE", "~/elsewhere")
    assert default_folder() == environment / "elsewhere"


def test_a_store_of_its_own_stack_forgets_nothing_before_the_stack_ends(tmp_path: Path, warnings: Warnings) -> None:
    with ExitStack() as stack:
        store = LayeredStore(None, stack, warnings)
        record, files = a_record(tmp_path / "out")
        store.keep(record, files, SCOPE)
        path = store.blob(record.outputs["signature.json"])
        assert path.exists()
    assert not path.exists()
