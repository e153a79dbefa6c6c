"""Digests of the user's files: never stale, and an unchanged file is not read again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlkit_build.store import Digest, DiskStore, FileDigests
from mlkit_build.store.files import GRAIN_NS

LONG_AGO = 1_600_000_000 * 10**9


class Reads(list[Path]):
    """The files that were read."""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Count every file whose content is hashed."""
    seen, real = Reads(), Digest.of_file

    def of_file(path: Path) -> Digest:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(Digest, "of_file", of_file)
    return seen


@pytest.fixture
def notes(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "weights.npz", b"weights", LONG_AGO)


def written(path: Path, data: bytes, modified_ns: int) -> Path:
    path.write_bytes(data)
    os.utime(path, ns=(modified_ns, modified_ns))
    return path


def test_the_digest_is_that_of_the_bytes(notes: DiskStore, file: Path) -> None:
    assert FileDigests(notes).digest(file) == Digest.of_bytes(b"weights")


def test_an_unchanged_file_is_not_read_again_by_the_next_build(notes: DiskStore, file: Path, reads: Reads) -> None:
    digests = [FileDigests(notes).digest(file) for _ in range(3)]
    assert digests == [Digest.of_bytes(b"weights")] * 3
    assert reads == [file]


def test_a_file_is_read_once_in_a_build_even_when_nothing_can_be_remembered(file: Path, reads: Reads) -> None:
    class Forgetful:
        def read_note(self, *parts: str) -> object:
            return None

        def write_note(self, value: object, *parts: str) -> None:
            pass

    digests = FileDigests(Forgetful())
    assert digests.digest(file) == digests.digest(file)
    assert reads == [file]


def test_a_changed_file_is_read_again(notes: DiskStore, file: Path, reads: Reads) -> None:
    FileDigests(notes).digest(file)
    written(file, b"WEIGHTS", LONG_AGO + 1)  # same size, and modified a nanosecond later
    assert FileDigests(notes).digest(file) == Digest.of_bytes(b"WEIGHTS")
    assert reads == [file, file]


def test_a_file_of_another_size_is_read_again_though_its_time_is_the_same(notes: DiskStore, file: Path) -> None:
    FileDigests(notes).digest(file)
    written(file, b"more weights", LONG_AGO)
    assert FileDigests(notes).digest(file) == Digest.of_bytes(b"more weights")


def test_a_file_put_in_the_place_of_another_is_read_though_time_and_size_are_the_same(
    notes: DiskStore, file: Path, tmp_path: Path
) -> None:
    FileDigests(notes).digest(file)
    written(tmp_path / "new", b"WEIGHTS", LONG_AGO).replace(file)
    assert FileDigests(notes).digest(file) == Digest.of_bytes(b"WEIGHTS")


def test_a_touched_file_has_the_same_digest(notes: DiskStore, file: Path) -> None:
    before = FileDigests(notes).digest(file)
    os.utime(file, ns=(LONG_AGO + GRAIN_NS, LONG_AGO + GRAIN_NS))
    assert FileDigests(notes).digest(file) == before


@pytest.mark.parametrize("age_ns", [0, GRAIN_NS // 2, GRAIN_NS, -GRAIN_NS * 100])
def test_a_file_modified_just_before_it_was_read_is_not_believed(
    notes: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_ns: int
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: LONG_AGO + age_ns)
    file = written(tmp_path / "weights.npz", b"weights", LONG_AGO)
    FileDigests(notes).digest(file)
    written(file, b"WEIGHTS", LONG_AGO)  # within the same tick of a coarse clock
    assert FileDigests(notes).digest(file) == Digest.of_bytes(b"WEIGHTS")


def test_a_file_older_than_the_grain_is_believed(
    notes: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: Reads
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: LONG_AGO + GRAIN_NS + 1)
    file = written(tmp_path / "weights.npz", b"weights", LONG_AGO)
    FileDigests(notes).digest(file)
    FileDigests(notes).digest(file)
    assert reads == [file]


def test_reading_for_longer_than_the_grain_makes_a_new_file_no_older(
    notes: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [LONG_AGO]
    real = Digest.of_file

    def slow(path: Path) -> Digest:
        digest = real(path)
        now[0] += 10 * GRAIN_NS
        written(path, b"WEIGHTS", LONG_AGO)  # while it is read, and still within the clock's grain
        return digest

    file = written(tmp_path / "weights.npz", b"weights", LONG_AGO)
    monkeypatch.setattr(time, "time_ns", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(Digest, "of_file", slow)
        FileDigests(notes).digest(file)
    assert FileDigests(notes).digest(file) == Digest.of_bytes(b"WEIGHTS")


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    notes: DiskStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Digest.of_file

    def racing(path: Path) -> Digest:
        digest = real(path)
        written(path, b"WEIGHTS", LONG_AGO + 1)
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(Digest, "of_file", racing)
        FileDigests(notes).digest(file)
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    assert FileDigests(notes).digest(file) == Digest.of_bytes(b"WEIGHTS")


def test_one_build_sees_one_content_of_a_file(notes: DiskStore, file: Path) -> None:
    digests = FileDigests(notes)
    before = digests.digest(file)
    written(file, b"WEIGHTS", LONG_AGO + 1)
    assert digests.digest(file) == before
    assert digests.changed([file]) == file, "asking again must not hide the change"


def test_changed_names_the_file_that_was_rewritten(notes: DiskStore, file: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "labels.txt", b"a\nb\n", LONG_AGO)
    digests = FileDigests(notes)
    for path in (other, file):
        digests.digest(path)
    assert digests.changed([other, file]) is None
    written(file, b"WEIGHTS", LONG_AGO + 1)
    assert digests.changed([other, file]) == file


def test_changed_names_a_file_that_is_gone(notes: DiskStore, file: Path) -> None:
    digests = FileDigests(notes)
    digests.digest(file)
    file.unlink()
    assert digests.changed([file]) == file


def test_a_touch_is_no_change(notes: DiskStore, file: Path) -> None:
    digests = FileDigests(notes)
    digests.digest(file)
    os.utime(file)
    assert digests.changed([file]) is None


def test_a_file_is_known_by_relative_path_too(notes: DiskStore, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    digests = FileDigests(notes)
    digests.digest(Path(file.name))
    assert digests.changed([file]) is None


def test_a_symbolic_link_that_points_elsewhere_now_is_read_again(notes: DiskStore, file: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest.npz"
    link.symlink_to(file)
    FileDigests(notes).digest(link)
    link.unlink()
    link.symlink_to(written(tmp_path / "second.npz", b"WEIGHTS", LONG_AGO))
    assert FileDigests(notes).digest(link) == Digest.of_bytes(b"WEIGHTS")


def test_a_missing_file_is_an_os_error(notes: DiskStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileDigests(notes).digest(tmp_path / "none")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60) | st.sampled_from([b"[]", b"null", b'["x", 7, 1, 1]', b'["x", 7, 1, 1, "ab", 3]']))
def test_damaged_notes_cost_a_read_and_nothing_else(tmp_path: Path, data: bytes) -> None:
    notes = DiskStore(tmp_path / "cache")
    file = written(tmp_path / "weights.npz", b"weights", LONG_AGO)
    FileDigests(notes).digest(file)
    (note,) = (notes.root / "files").rglob("*.json")
    note.write_bytes(data)
    assert FileDigests(notes).digest(file) == Digest.of_bytes(b"weights")
    note.unlink()
