"""The disk store: entries appear whole or not at all, and whatever is wrong with one makes it a miss."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlkit_build.plain import canonical
from mlkit_build.store import BlobUnusableError, Digest, DiskStore, Record
from mlkit_build.store.disk import HISTORY_LENGTH, read_record

SCOPE = "toy/freeze"
DOCUMENT: dict[str, Any] = {"schema": 1, "action": "freeze", "params": {"samples": 100, "seed": 0}}
CONTENT = {"frozen_graph.pb": b"\x00graph\xff" * 9, "signature.json": b"{}"}


def a_record(folder: Path, contents: dict[str, bytes] | None = None, **document: Any) -> tuple[Record, dict[str, Path]]:
    """Write output files to `folder`; return the record that describes them, and the files."""
    contents = CONTENT if contents is None else contents
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name for name in contents}
    for name, data in contents.items():
        files[name].write_bytes(data)
    whole = {**DOCUMENT, **document}
    outputs = {name: Digest.of_bytes(data) for name, data in contents.items()}
    return Record(Digest.of_bytes(canonical(whole)).sha256, whole, outputs, 1.25), files


def kept(tmp_path: Path, contents: dict[str, bytes] | None = None, **document: Any) -> tuple[DiskStore, Record]:
    """Return a store that keeps one record."""
    store = DiskStore(tmp_path / "cache")
    record, files = a_record(tmp_path / "out", contents, **document)
    store.keep(record, files, SCOPE)
    return store, record


def entries(store: DiskStore, part: str) -> list[Path]:
    return [path for path in (store.root / part).rglob("*") if path.is_file()]


def record_file(store: DiskStore, record: Record) -> Path:
    return store.root / "ac" / record.key[:2] / f"{record.key}.json"


def blob_file(store: DiskStore, digest: Digest) -> Path:
    return store.root / "cas" / digest.sha256[:2] / digest.sha256


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    assert store.find(record.key) == record


def test_every_blob_comes_back_byte_for_byte(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    assert {name: store.blob(digest).read_bytes() for name, digest in record.outputs.items()} == CONTENT


def test_another_key_is_a_miss(tmp_path: Path) -> None:
    store, _ = kept(tmp_path)
    assert store.find("0" * 64) is None


def test_an_empty_store_has_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "cache")
    assert store.find("0" * 64) is None
    assert list(store.recent(SCOPE)) == []
    assert store.size() == (0, 0, 0)
    assert not (tmp_path / "cache").exists()


def test_blobs_are_read_only_and_no_links_to_the_files_they_were_made_of(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    for name, digest in record.outputs.items():
        stat = store.blob(digest).stat()
        assert stat.st_mode & 0o777 == 0o444
        assert stat.st_nlink == 1
        assert not store.blob(digest).samefile(tmp_path / "out" / name)


def test_keeping_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    store, _ = kept(tmp_path)
    assert entries(store, "tmp") == []


def test_a_record_cut_short_at_any_byte_is_a_miss(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    file = record_file(store, record)
    whole = file.read_bytes()
    end = len(whole.rstrip())  # without the last newline it is still the whole record
    for length in range(end):
        file.write_bytes(whole[:length])
        assert store.find(record.key) is None, length
        assert list(store.recent(SCOPE)) == [], length
    file.write_bytes(whole)
    assert store.find(record.key) == record


def test_a_record_with_a_changed_byte_is_a_miss_or_says_the_same_of_key_and_document(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    file = record_file(store, record)
    whole = file.read_bytes()
    misses = 0
    for offset in range(len(whole)):
        file.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        found = store.find(record.key)
        misses += found is None
        if found is not None:
            assert canonical(found.document) == canonical(record.document), offset
            assert set(found.outputs.values()) == set(record.outputs.values()), offset
    assert misses > len(whole) // 2


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_in_place_of_a_record_are_a_miss(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(data)
    assert read_record(file, "0" * 64) is None


numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3) | st.just(10**400)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=numbers, seconds=numbers)
def test_a_record_with_odd_numbers_is_never_an_exception(tmp_path: Path, size: Any, seconds: Any) -> None:
    key = Digest.of_bytes(canonical(DOCUMENT)).sha256
    value = {"schema": 1, "key": key, "document": DOCUMENT, "outputs": {"a": ["0" * 64, size]}, "seconds": seconds}
    file = tmp_path / "record.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    found = read_record(file, key)
    assert found is None or found.outputs["a"].sha256 == "0" * 64


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "mappings"])
def test_a_record_nested_beyond_reason_is_a_miss(tmp_path: Path, text: str) -> None:
    store, record = kept(tmp_path)
    record_file(store, record).write_text(text, encoding="utf-8")
    assert store.find(record.key) is None


@pytest.mark.parametrize("sha256", ["../../../etc/passwd", "", "0" * 63, "G" * 64, None, 7])
def test_a_record_whose_blob_name_is_no_sha256_is_a_miss(tmp_path: Path, sha256: Any) -> None:
    store, record = kept(tmp_path)
    file = record_file(store, record)
    value = json.loads(file.read_bytes())
    value["outputs"]["signature.json"][0] = sha256
    file.write_text(json.dumps(value), encoding="utf-8")
    assert store.find(record.key) is None


def test_a_record_of_another_key_under_this_name_is_a_miss(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    other, files = a_record(tmp_path / "other", params={"samples": 200})
    store.keep(other, files, SCOPE)
    record_file(store, other).replace(record_file(store, record))
    assert store.find(record.key) is None


def test_a_record_of_another_schema_is_a_miss(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    file = record_file(store, record)
    file.write_text(file.read_text(encoding="utf-8").replace('"schema": 1,\n  "key"', '"schema": 2,\n  "key"'), encoding="utf-8")
    assert store.find(record.key) is None


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_record_whose_blob_is_missing_is_a_miss(tmp_path: Path, name: str) -> None:
    store, record = kept(tmp_path)
    blob_file(store, record.outputs[name]).unlink()
    assert store.find(record.key) is None


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_record_whose_blob_has_another_size_is_a_miss(tmp_path: Path, name: str) -> None:
    store, record = kept(tmp_path)
    damage(blob_file(store, record.outputs[name]), CONTENT[name] + b"!")
    assert store.find(record.key) is None


def damage(blob: Path, data: bytes) -> None:
    blob.chmod(0o644)
    blob.write_bytes(data)


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 0x80]) + data[1:]


def test_a_blob_of_the_same_size_with_other_bytes_is_refused(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    digest = record.outputs["frozen_graph.pb"]
    damage(blob_file(store, digest), flipped(CONTENT["frozen_graph.pb"]))
    with pytest.raises(BlobUnusableError, match=f"blob {digest.sha256[:12]} is damaged"):
        store.blob(digest)


def test_a_damaged_blob_is_set_aside_so_that_its_record_becomes_a_miss(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    digest, bad = record.outputs["frozen_graph.pb"], flipped(CONTENT["frozen_graph.pb"])
    damage(blob_file(store, digest), bad)
    assert store.find(record.key) == record, "looking up reads no blob"
    with pytest.raises(BlobUnusableError):
        store.blob(digest)
    assert store.find(record.key) is None
    assert (store.root / "tmp" / f"damaged-{digest.sha256}").read_bytes() == bad


def test_keeping_again_mends_a_damaged_blob(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    digest = record.outputs["frozen_graph.pb"]
    damage(blob_file(store, digest), flipped(CONTENT["frozen_graph.pb"]))
    with pytest.raises(BlobUnusableError):
        store.blob(digest)
    store.keep(*a_record(tmp_path / "out"), SCOPE)
    assert store.blob(digest).read_bytes() == CONTENT["frozen_graph.pb"]


def test_a_damaged_blob_on_a_read_only_disk_is_refused_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, record = kept(tmp_path)
    digest = record.outputs["frozen_graph.pb"]
    damage(blob_file(store, digest), flipped(CONTENT["frozen_graph.pb"]))
    for operation in ("replace", "unlink", "mkdir"):
        monkeypatch.setattr(Path, operation, refusing(errno.EROFS))
    with pytest.raises(BlobUnusableError, match="is damaged"):
        store.blob(digest)


def test_a_blob_that_another_build_mended_meanwhile_is_not_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, record = kept(tmp_path)
    digest, good = record.outputs["frozen_graph.pb"], CONTENT["frozen_graph.pb"]
    damage(blob_file(store, digest), flipped(good))
    real = Path.replace

    def mended_first(self: Path, target: Path) -> Path:
        if self == blob_file(store, digest):
            damage(self, good)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", mended_first)
    assert store.blob(digest).read_bytes() == good
    assert store.find(record.key) == record


def test_a_missing_blob_says_so(tmp_path: Path) -> None:
    with pytest.raises(BlobUnusableError, match="blob 000000000000 is missing"):
        DiskStore(tmp_path).blob(Digest("0" * 64, 1))


def refusing(number: int) -> Callable[..., Any]:
    """Return a stand-in for a disk operation that fails with `number`."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


def failing_at(call: int, real: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """Return `real` that raises `error` at its `call`-th call."""
    calls = iter(range(1_000_000))

    def run(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise error
        return real(*arguments, **options)

    return run


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full", "interrupt"]
)
@pytest.mark.parametrize("call", range(3))
@pytest.mark.parametrize("operation", ["fsync", "fchmod"])
def test_a_failure_before_the_record_is_whole_leaves_no_record_and_no_partial_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, call: int, error: BaseException
) -> None:
    store = DiskStore(tmp_path / "cache")
    record, files = a_record(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(os, operation, failing_at(call, getattr(os, operation), error))
        with pytest.raises(type(error)):
            store.keep(record, files, SCOPE)
    assert store.find(record.key) is None
    assert entries(store, "ac") == []
    assert entries(store, "tmp") == []
    for blob in entries(store, "cas"):
        assert Digest.of_file(blob).sha256 == blob.name
    store.keep(record, files, SCOPE)
    assert store.find(record.key) == record


@pytest.mark.parametrize("call", range(3))
def test_a_rename_that_fails_leaves_no_record_and_no_partial_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    store = DiskStore(tmp_path / "cache")
    record, files = a_record(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing_at(call, Path.replace, OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            store.keep(record, files, SCOPE)
    assert store.find(record.key) is None
    assert entries(store, "tmp") == []


def _keep_many(root: str, rounds: int) -> None:
    folder = Path(root) / f"out-{os.getpid()}"
    for _ in range(rounds):
        record, files = a_record(folder)
        DiskStore(Path(root) / "cache").keep(record, files, SCOPE)


def test_processes_that_keep_the_same_key_at_once_leave_one_whole_record(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_keep_many, args=(str(tmp_path), 15)) for _ in range(3)]
    record, _ = a_record(tmp_path / "out")
    store = DiskStore(tmp_path / "cache")
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        found = store.find(record.key)
        if found is not None or seen:
            seen += 1
            assert found == record, "once there, it is always there and whole"
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert store.find(record.key) == record
    assert store.size()[:2] == (1, len(CONTENT))
    assert entries(store, "tmp") == []


def test_threads_that_keep_different_keys_at_once_lose_none(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "cache")
    made = [a_record(tmp_path / f"out{number}", params={"samples": number}) for number in range(6)]
    threads = [threading.Thread(target=store.keep, args=(*pair, f"{SCOPE}{index}")) for index, pair in enumerate(made)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.find(record.key) for record, _ in made] == [record for record, _ in made]


def test_recent_records_come_newest_first(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "cache")
    for samples in (1, 2, 3, 1):
        store.keep(*a_record(tmp_path / "out", params={"samples": samples}), SCOPE)
    assert [record.document["params"]["samples"] for record in store.recent(SCOPE)] == [1, 3, 2]


def test_history_is_kept_apart_by_scope(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    assert list(store.recent("other/freeze")) == []
    assert list(store.recent(SCOPE)) == [record]


def test_history_forgets_the_oldest(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "cache")
    for samples in range(HISTORY_LENGTH + 2):
        store.keep(*a_record(tmp_path / "out", params={"samples": samples}), SCOPE)
    found = [record.document["params"]["samples"] for record in store.recent(SCOPE)]
    assert found == list(range(HISTORY_LENGTH + 1, 1, -1))


def test_history_survives_the_loss_of_the_blobs(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    blob_file(store, record.outputs["signature.json"]).unlink()
    assert list(store.recent(SCOPE)) == [record]


@pytest.mark.parametrize("content", [b"", b"{}", b'["../../etc/passwd", 3]', b"[" * 100_000, b"\xff"])
def test_a_damaged_history_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    store, record = kept(tmp_path)
    (file,) = entries(store, "history")
    file.write_bytes(content)
    assert list(store.recent(SCOPE)) == []
    store.keep(*a_record(tmp_path / "out"), SCOPE)
    assert list(store.recent(SCOPE)) == [record]


def test_size_counts_equal_content_once(tmp_path: Path) -> None:
    store, _ = kept(tmp_path, {"a": b"same", "b": b"same", "c": b"other!"})
    assert store.size() == (1, 2, 10)


def test_clear_deletes_every_entry_and_the_store_goes_on(tmp_path: Path) -> None:
    store, record = kept(tmp_path)
    store.write_note([1], "files", "ab", "note.json")
    store.clear()
    assert [path for path in store.root.rglob("*") if path.is_file()] == []
    assert store.find(record.key) is None
    assert list(store.recent(SCOPE)) == []
    store.keep(*a_record(tmp_path / "out"), SCOPE)
    assert store.find(record.key) == record


def test_clear_deletes_nothing_beside_the_entries(tmp_path: Path) -> None:
    store, _ = kept(tmp_path)
    beside = tmp_path / "cache" / "thesis.txt"
    beside.write_text("years of work", encoding="utf-8")
    store.clear()
    assert beside.read_text(encoding="utf-8") == "years of work"


def test_a_lock_keeps_a_second_holder_out_until_it_is_released(tmp_path: Path) -> None:
    first, second = DiskStore(tmp_path), DiskStore(tmp_path)
    with first.lock("0" * 64), pytest.raises(TimeoutError), second.lock("0" * 64, timeout=0.05):
        pass
    with second.lock("0" * 64, timeout=0.05):
        pass


def test_locks_of_different_keys_do_not_meet(tmp_path: Path) -> None:
    held = []
    with DiskStore(tmp_path).lock("0" * 64), DiskStore(tmp_path).lock("1" * 64, timeout=0.05):
        held.append("both")
    assert held == ["both"]


def test_a_note_comes_back_and_a_damaged_one_does_not(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.write_note({"a": [1, None]}, "files", "ab", "note.json")
    assert store.read_note("files", "ab", "note.json") == {"a": [1, None]}
    (store.root / "files" / "ab" / "note.json").write_bytes(b'{"a": [1,')
    assert store.read_note("files", "ab", "note.json") is None


def test_a_pipe_in_place_of_a_record_a_note_or_a_blob_is_a_miss_at_once(tmp_path: Path) -> None:
    store, record = kept(tmp_path, {"empty": b""})  # a pipe has no bytes either
    store.write_note([1], "files", "a.json")
    blob = blob_file(store, record.outputs["empty"])
    for path in (blob, record_file(store, record), store.root / "files" / "a.json"):
        path.unlink()
        os.mkfifo(path)
        assert store.find(record.key) is None
    assert read_record(record_file(store, record), record.key) is None
    assert store.read_note("files", "a.json") is None
    with pytest.raises(BlobUnusableError):
        store.blob(record.outputs["empty"])
    again, files = a_record(tmp_path / "again", {"empty": b""})
    store.keep(again, files, SCOPE)
    assert store.find(record.key) == record
