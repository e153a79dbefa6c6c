"""Archives by anyone, read as they lie: bounded in time, strict about what is no file, and damaged ones are found so."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import IO

import pytest

from mlkit_build.errors import StoreError
from tests.verification.conftest import wrong


def zipped(bundle: Path, *more: tuple[zipfile.ZipInfo | str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = bundle.parent / "made.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(bundle.iterdir()):
            archive.write(file, file.name)
        for name, data in more:
            archive.writestr(name, data)
    return path


def tarred(bundle: Path, *more: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    path = bundle.parent / "made.tar"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for file in sorted(bundle.iterdir()):
            archive.add(file, file.name)
        for entry, data in more:
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def folder(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry


@pytest.mark.parametrize("name", ["../../evil/", "/abs/", "hidden/"])
def test_folders_that_lead_out_or_hold_nothing_are_refused(bundle: Path, name: str) -> None:
    for path in (zipped(bundle, (name, b""), compression=zipfile.ZIP_STORED), tarred(bundle, (folder(name), b""))):
        (found,) = wrong(path).values()
        assert "leads out of the bundle" in found or "an empty folder" in found


def test_a_folder_with_bytes_is_refused(bundle: Path) -> None:
    assert "a folder with bytes of its own" in wrong(zipped(bundle, ("hidden/", b"payload")))["hidden/"]


@pytest.mark.parametrize("name", ["Labels.TXT", "MANIFEST.json", "report.html."])
def test_two_names_for_one_file_elsewhere_are_refused(bundle: Path, name: str) -> None:
    (bundle / "labels.txt").write_text("0\n")
    for path in (zipped(bundle, (name, b"")), tarred(bundle, (tarfile.TarInfo(name), b""))):
        assert "the same file as" in wrong(path)[name]


def test_a_compression_that_has_no_bounds_is_refused(bundle: Path) -> None:
    found = wrong(zipped(bundle, compression=zipfile.ZIP_BZIP2))
    assert "an uncommon compression" in next(iter(found.values()))


def test_holes_are_not_read(bundle: Path) -> None:
    """Terabytes of them fit into half a kilobyte: https://www.gnu.org/software/tar/manual/html_node/PAX-1.html."""
    for size, found in ((8 << 40, "unpacked, it is more than 268435456 bytes"), (4096, "a file with holes")):
        entry = tarfile.TarInfo("GNUSparseFile.0/big")
        entry.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "big",
            "GNU.sparse.realsize": str(size),
        }
        assert found in wrong(tarred(bundle, (entry, b"1\n0\n0\n".ljust(512, b"\0"))))["big"]


def test_what_its_own_size_does_not_explain_is_not_unpacked(bundle: Path) -> None:
    name = "zeros"
    with (bundle / name).open("wb") as file:
        file.truncate(300 << 20)  # more than an archive of 1 MB may hold
    assert "unpacked, it is more than" in wrong(zipped(bundle))[name]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_packed_archive_is_verified_and_every_damage_is_found(bundle: Path, mode: str) -> None:
    path = tarred(bundle, mode=mode)
    assert wrong(path) == {}
    data = path.read_bytes()
    step = len(data) // 16
    for place in range(step, len(data) - 10240 if mode == "w" else len(data) - 1, step):  # a plain one ends with zeros
        path.write_bytes(data[:place])
        assert wrong(path)
        if mode != "w":  # a byte of a plain one may be what its reader has no use for, as the owner's name is
            path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF, data[place + 1] ^ 0xFF]) + data[place + 2 :])
            assert wrong(path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_which_no_list_can_be_read_is_not_what_it_says_it_is(bundle: Path, kind: str) -> None:
    if kind == "zip":
        data = zipped(bundle).read_bytes()
        whole = data[: len(data) // 2]
    else:
        data = bytearray(tarred(bundle).read_bytes())
        data[148:156] = b"9" * 8  # where a header has its checksum
        whole = bytes(data)
    (bundle.parent / "cut").write_bytes(whole)
    assert "cannot be read: damaged" in wrong(bundle.parent / "cut")["."]


def test_a_header_in_the_middle_that_is_damaged_is_not_the_end(bundle: Path) -> None:
    path = tarred(bundle)
    with tarfile.open(path) as archive:
        place = archive.getmembers()[3].offset
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert "damaged: bad checksum" in wrong(path)["."]


def test_nothing_follows_the_end_of_an_archive(bundle: Path) -> None:
    path = tarred(bundle)
    with path.open("ab") as file:
        file.write(bytes(10240))
    assert wrong(path) == {}
    with path.open("ab") as file:
        file.write(b"more")
    assert "something follows the end" in wrong(path)["."]


def test_a_disk_that_is_full_is_no_fault_of_the_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> IO[bytes]:
        return open("/dev/full", "r+b")  # noqa: PTH123 - the caller closes it; a file on a disk without room

    path = zipped(bundle)
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.TemporaryFile", full)
        with pytest.raises(StoreError, match="No space left on device") as refused:
            wrong(path)
    assert "set TMPDIR" in refused.value.hint
    monkeypatch.setattr("tempfile.tempdir", str(bundle.parent / "gone"))
    with pytest.raises(StoreError, match="gone: the model cannot be unpacked there to look into it: No such file"):
        wrong(path)


def test_folders_within_each_other_have_an_end(bundle: Path) -> None:
    (bundle / "/".join("x" * 150)).mkdir(parents=True)
    (found,) = wrong(bundle).values()
    assert "one of more than 100 folders within each other" in found
