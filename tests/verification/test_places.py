from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.verification.places import bundles_below, is_safe
from tests.verification.conftest import verified, wrong


def archived(bundle: Path, kind: str) -> Path:
    return Path(shutil.make_archive(str(bundle.parent / "archived"), kind, bundle.parent, bundle.name))


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_verified_like_the_folder_in_it(bundle: Path, kind: str) -> None:
    found = verified(archived(bundle, kind))
    assert not found.wrong
    assert found.sha256 == verified(bundle).sha256


def test_an_archive_without_a_folder_in_it_too(bundle: Path, tmp_path: Path) -> None:
    assert not wrong(shutil.make_archive(str(tmp_path / "flat"), "zip", bundle))


def test_a_changed_model_in_an_archive_is_named(bundle: Path) -> None:
    (bundle / "multiply.tflite").write_bytes(b"another")
    assert "its sha256 is" in wrong(archived(bundle, "zip"))["multiply.tflite"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_cut_anywhere_are_refused_or_found_wrong(bundle: Path, tmp_path: Path, kind: str) -> None:
    data = archived(bundle, kind).read_bytes()
    for length in range(0, len(data) - 10240, max(1, len(data) // 25)):  # a tar archive ends with up to 20 empty blocks
        (tmp_path / "cut").write_bytes(data[:length])
        try:
            found = verified(tmp_path / "cut").wrong
        except (ConfigError, SourceError):
            continue
        assert found, length


@pytest.mark.parametrize("name", ["../outside.txt", "/absolute.txt", "a\\b.txt", "x/../../y", "c:z"])
def test_names_that_lead_out_of_an_archive_are_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in bundle.iterdir():
            archive.write(file, file.name)
        archive.writestr(name, "evil")
    assert "leads out of the bundle" in wrong(path)[repr(zipfile.ZipFile(path).namelist()[-1])]
    assert not (tmp_path.parent / "outside.txt").exists()


def test_a_name_twice_in_an_archive_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in bundle.iterdir():
            archive.write(file, file.name)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("manifest.json", "{}")
    assert "there twice" in wrong(path)["manifest.json"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_an_archive_are_refused(bundle: Path, tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(bundle, "bundle")
        entry = tarfile.TarInfo("bundle/odd")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    assert "a link or a device" in wrong(path)["bundle/odd"]


def test_a_link_in_a_zip_archive_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in bundle.iterdir():
            archive.write(file, file.name)
        entry = zipfile.ZipInfo("linked")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    assert "a symbolic link" in wrong(path)["linked"]


def test_a_folder_behind_a_url_is_verified(published: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(published), "/bundles/multiply", recursive=True)
    try:
        assert not wrong("memory://bundles/multiply")
        memory.pipe("/bundles/multiply/multiply.tflite", b"another")
        assert "its sha256 is" in wrong("memory://bundles/multiply")["multiply.tflite"]
    finally:
        memory.rm("/bundles", recursive=True)


def test_an_archive_behind_a_url_is_verified(bundle: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bundle.zip", archived(bundle, "zip").read_bytes())
    try:
        assert not wrong("memory://bundle.zip")
    finally:
        memory.rm("/bundle.zip")


def test_a_file_url_is_the_folder_itself(published: Path) -> None:
    assert not wrong(f"file://{published}")


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("nothing-here", "found nothing"),
        ("memory://nothing/here", "it is not there"),
        ("odd://x", "unknown protocol"),
        ("zip://a::b.zip", "looked into"),
    ],
)
def test_what_is_no_bundle_is_a_users_mistake(stated: str, words: str) -> None:
    with pytest.raises((ConfigError, SourceError), match=words):
        wrong(stated)


def test_a_file_of_another_kind_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"TFL3 and more")
    with pytest.raises(ConfigError, match="a file of another kind"):
        wrong(tmp_path / "model.tflite")


def test_a_zip_whose_entry_is_damaged_names_the_file(bundle: Path, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(bundle.iterdir()):
            archive.write(file, file.name)
    data = bytearray(packed.getvalue())
    data[data.index(b"<!doctype html") + 40] ^= 1
    (tmp_path / "damaged.zip").write_bytes(data)
    assert "Bad CRC-32" in wrong(tmp_path / "damaged.zip")["report.html"]


@pytest.mark.parametrize(
    ("name", "safe"), [("a", True), ("a/b.txt", True), ("..", False), ("a//b", False), ("", False), ("a/", False), ("./a", False)]
)
def test_which_names_stay_inside(name: str, safe: bool) -> None:
    assert is_safe(name) is safe


def test_the_bundles_that_are_told_are_few_and_near(tmp_path: Path) -> None:
    for name in ("b/float32", "a/int8", "a/float32", "c/d/e/f/too_deep", ".hidden/int8", "no_bundle"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").touch()
        if name != "no_bundle":
            (tmp_path / name / "SHA256SUMS").touch()
    assert bundles_below(tmp_path) == [tmp_path / "a/float32", tmp_path / "a/int8", tmp_path / "b/float32"]
    assert bundles_below(tmp_path / "c") == [tmp_path / "c/d/e/f/too_deep"]
    shutil.rmtree(tmp_path / "b")
    assert bundles_below(tmp_path) == [tmp_path / "a/float32", tmp_path / "a/int8"]
    assert bundles_below(tmp_path / "nowhere") == []
