"""A bundle in one file: every file of it, with checksums that hold where it is unpacked, and the same bytes anywhere."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from mlkit_build.bundle.archives import Archive
from mlkit_build.bundle.publish import MANIFEST, is_published, publish
from mlkit_build.store import Digest

FILES = {
    "toy.tflite": b"model" * 100,
    "aar/a/b.pom": b"<project/>",
    "labels.txt": "\U0001f984\n".encode(),
    "ios/Sources/x.swift": b"",
}
KINDS = ("zip", "tar")


def fill(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def archived(kind: str, folder: Path, names: list[str]) -> bytes:
    buffer = io.BytesIO()
    Archive(kind, "toy-int8").write(folder, names, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_unpacks_to_the_files_and_its_checksums_hold(tmp_path: Path, kind: str) -> None:
    data = archived(kind, fill(tmp_path / "bundle"), [*FILES])
    (tmp_path / f"x.{kind}").write_bytes(data)
    shutil.unpack_archive(tmp_path / f"x.{kind}", tmp_path / "out", **({"filter": "data"} if kind == "tar" else {}))
    root = tmp_path / "out" / "toy-int8"
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == {*FILES, "SHA256SUMS"}
    assert all((root / name).read_bytes() == content for name, content in FILES.items())
    run = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(": OK") == len(FILES)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_made_elsewhere_by_somebody_else_is_the_same(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = archived(kind, fill(tmp_path / "a"), [*FILES])
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    before = os.umask(0o077)
    try:
        folder = fill(tmp_path / "b" / "deeper")
        for path in folder.rglob("*"):
            os.utime(path, (1_900_000_000, 1_900_000_000))
        (folder / "toy.tflite").chmod(0o755)
        if os.getuid() == 0:
            os.chown(folder / "labels.txt", 1234, 4321)
        second = archived(kind, folder, [*reversed(FILES)])
    finally:
        os.umask(before)
        monkeypatch.undo()
        time.tzset()
    assert first == second


def test_entries_have_one_time_one_owner_one_mode_and_an_order(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(archived("tar", folder, [*FILES]))) as tar:
        told = {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode) for entry in tar.getmembers()}
        names = tar.getnames()
    assert told == {(315532800, 0, 0, "", "", 0o644)}
    with zipfile.ZipFile(io.BytesIO(archived("zip", folder, [*FILES]))) as archive:
        assert archive.namelist() == names == sorted(names)
        told = {(entry.date_time, entry.external_attr >> 16, entry.create_system) for entry in archive.infolist()}
    assert told == {((1980, 1, 1, 0, 0, 0), 0o100644, 3)}


@pytest.fixture(params=KINDS)
def published(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Archive, dict[str, Digest]]:
    """A published bundle with an archive."""
    archive = Archive(request.param, "toy-int8")

    def write(folder: Path) -> None:
        fill(folder)
        (folder / MANIFEST).write_bytes(b"manifest")
        (folder / "provenance.json").write_bytes(b"varies")
        with (folder / archive.name).open("wb") as file:
            archive.write(folder, [*FILES, MANIFEST], file)

    publish(tmp_path / "toy" / "int8", write)
    return tmp_path / "toy" / "int8", archive, {name: Digest.of_bytes(data) for name, data in FILES.items()}


def test_a_bundle_with_its_archive_is_the_published_one(published: tuple[Path, Archive, dict[str, Digest]]) -> None:
    place, archive, digests = published
    assert is_published(place, b"manifest", digests, [archive])
    assert not is_published(place, b"manifest", digests, []), "an archive that nobody asked for is one file too many"
    run = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=place, capture_output=True, text=True)
    assert run.returncode == 0
    assert f"{archive.name}: OK" in run.stdout


def test_an_archive_of_other_bytes_is_noticed_though_its_checksum_fits(
    published: tuple[Path, Archive, dict[str, Digest]],
) -> None:
    place, archive, digests = published
    whole = (place / archive.name).read_bytes()
    sums = (place / "SHA256SUMS").read_text()
    for offset in range(0, len(whole), 97):
        damaged = whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :]
        (place / archive.name).write_bytes(damaged)
        fitted = sums.replace(Digest.of_bytes(whole).sha256, Digest.of_bytes(damaged).sha256)
        (place / "SHA256SUMS").write_text(fitted)
        assert not is_published(place, b"manifest", digests, [archive]), offset


@pytest.mark.parametrize("change", [lambda path: (path / "aar/empty").mkdir(), lambda path: (path / "ios/Sources/new").touch()])
def test_more_in_a_folder_of_the_bundle_is_noticed(published: tuple[Path, Archive, dict[str, Digest]], change: object) -> None:
    place, archive, digests = published
    change(place)  # type: ignore[operator]
    assert not is_published(place, b"manifest", digests, [archive])
