"""A folder's identity is the names in it and their contents: not its place, and nothing that hides."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mlkit_build.store import Digest, DiskStore, FileDigests, Tree

LONG_AGO = 1_600_000_000 * 10**9


@pytest.fixture
def notes(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        write(root / name, name.encode())
    return root


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def digest(notes: DiskStore, root: Path, *names: str) -> str:
    return FileDigests(notes).digest(Tree(root, names or None)).sha256


def test_the_place_does_not_matter(folder: Path, notes: DiskStore, tmp_path: Path) -> None:
    before = digest(notes, folder)
    shutil.copytree(folder, tmp_path / "elsewhere" / "other")
    assert digest(notes, tmp_path / "elsewhere" / "other") == before


def test_names_contents_and_empty_folders_matter(folder: Path, notes: DiskStore) -> None:
    seen = [digest(notes, folder)]
    write(folder / "cat" / "1.png", b"changed")
    seen.append(digest(notes, folder))
    (folder / "cat" / "1.png").rename(folder / "cat" / "3.png")
    seen.append(digest(notes, folder))
    (folder / "bird").mkdir()
    seen.append(digest(notes, folder))
    (folder / "dog" / "1.png").unlink()
    seen.append(digest(notes, folder))
    assert len(set(seen)) == 5


def test_only_the_stated_names_matter(folder: Path, notes: DiskStore) -> None:
    before = digest(notes, folder, "cat/1.png")
    write(folder / "cat" / "2.png", b"changed")
    assert digest(notes, folder, "cat/1.png") == before
    assert digest(notes, folder, "cat/2.png") != before


def test_hidden_files_are_no_part_of_it(folder: Path, notes: DiskStore) -> None:
    before = digest(notes, folder)
    write(folder / ".DS_Store", b"x")
    write(folder / ".ipynb_checkpoints" / "1.png", b"x")
    write(folder / "__MACOSX" / "cat" / "1.png", b"x")
    assert digest(notes, folder) == before


def of_images(notes: DiskStore, root: Path, *besides: str) -> str:
    return FileDigests(notes).digest(Tree(root, endings=(".png",), besides=lambda: besides)).sha256


def test_only_files_that_end_as_stated_matter_and_folders_do(folder: Path, notes: DiskStore) -> None:
    before = of_images(notes, folder)
    assert before == digest(notes, folder)  # as it was when every file counted: locks and manifests hold such digests
    write(folder / "Thumbs.db", b"x")
    write(folder / "cat" / "notes.txt", b"x")
    assert of_images(notes, folder) == before != digest(notes, folder)
    write(folder / "cat" / "3.PNG", b"x")
    (folder / "bird").mkdir()
    assert Tree(folder, endings=(".png",)).listed() == [
        "bird/",
        "cat/",
        "cat/1.png",
        "cat/2.png",
        "cat/3.PNG",
        "dog/",
        "dog/1.png",
    ]


@pytest.mark.parametrize("spelled", ["cat/first", "./cat//first", "CAT/First"])
def test_what_is_named_besides_matters_however_it_is_spelled(folder: Path, notes: DiskStore, spelled: str) -> None:
    write(folder / "cat" / "first", b"a sample")
    before = of_images(notes, folder, spelled)
    write(folder / "cat" / "second", b"x")
    assert of_images(notes, folder, spelled) == before
    write(folder / "cat" / "first", b"another sample")
    assert of_images(notes, folder, spelled) != before


def test_nobody_is_asked_for_other_names_where_there_are_no_other_files(folder: Path) -> None:
    def besides() -> list[str]:
        raise AssertionError("a table would be read at every start")

    assert Tree(folder, endings=(".png",), besides=besides).listed() == Tree(folder).listed()


def test_an_unchanged_folder_is_not_read_again(folder: Path, notes: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before, read = digest(notes, folder), []
    real = Digest.of_file
    monkeypatch.setattr(Digest, "of_file", lambda path: read.append(path.name) or real(path))
    assert digest(notes, folder) == before
    assert read == []
    write(folder / "dog" / "1.png", b"dog/2.png")
    assert digest(notes, folder) != before
    assert read == ["1.png"]


def test_what_changed_meanwhile_is_named(folder: Path, notes: DiskStore) -> None:
    files, tree = FileDigests(notes), Tree(folder)
    files.digest(tree)
    assert files.changed([tree]) is None
    write(folder / "cat" / "2.png", b"cat/2.png")  # the same bytes
    assert files.changed([tree]) is None
    write(folder / "cat" / "2.png", b"other")
    assert files.changed([tree]) == folder / "cat" / "2.png"
    write(folder / "cat" / "2.png", b"cat/2.png")
    write(folder / "cat" / "9.png", b"new")
    assert files.changed([tree]) == folder / "cat" / "9.png"


@pytest.mark.parametrize("kind", ["broken", "loop", "pipe"])
def test_what_cannot_be_read_is_refused_by_name(folder: Path, notes: DiskStore, kind: str) -> None:
    odd = folder / "cat" / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to(folder if kind == "loop" else folder / "nowhere")
    with pytest.raises(OSError, match="odd"):
        digest(notes, folder)


def test_the_digest_of_every_file_is_known_and_nothing_is_read_for_it(
    folder: Path, notes: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest(notes, folder)
    read: list[Path] = []
    monkeypatch.setattr(Digest, "of_file", read.append)
    found = FileDigests(notes).digests_of(Tree(folder))
    names = ("cat/1.png", "cat/2.png", "dog/1.png")
    assert found == {name: Digest.of_bytes(name.encode()).sha256 for name in names}
    assert not read
