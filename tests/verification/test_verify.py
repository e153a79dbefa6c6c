from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.verification.places import Folder
from mlkit_build.verification.verify import verify
from tests.verification.conftest import edited, sealed, verified, wrong

LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
"""Flip every byte of a bundle instead of some."""
DOCUMENTS = ("manifest.json", "provenance.json", "SHA256SUMS")


def names(bundle: Path) -> list[str]:
    return sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*"))


def test_a_bundle_as_it_was_built_is_what_it_says(published: Path) -> None:
    found = verified(published)
    assert not found.wrong
    assert found.files == len(names(published))
    assert found.size_bytes == sum(path.stat().st_size for path in published.iterdir())
    assert found.stated is not None
    assert (found.stated.name, found.stated.variant) == ("multiply", "float32")


def test_its_manifest_names_it_too(published: Path) -> None:
    assert not wrong(published / "manifest.json")


def test_every_flipped_byte_is_found_and_its_file_is_named(bundle: Path) -> None:
    """A byte of a document that is flipped within a digest makes it contradict the others, which then agree on the file."""
    for name in names(bundle):
        data = (bundle / name).read_bytes()
        chosen = range(len(data)) if LONG else random.Random(0).sample(range(len(data)), min(len(data), 60))
        for position in chosen:
            flipped = bytearray(data)
            flipped[position] ^= 1 << (position % 8)
            (bundle / name).write_bytes(flipped)
            found = wrong(bundle)
            # Only the checksums speak of the provenance: where the two contradict each other, the message names both.
            assert name in found or any(name in text for text in found.values()), (name, position, found)
        (bundle / name).write_bytes(data)
    assert not wrong(bundle)


def test_every_file_that_is_removed_is_named(bundle: Path) -> None:
    for name in names(bundle):
        data = (bundle / name).read_bytes()
        (bundle / name).unlink()
        assert "missing" in wrong(bundle)[name]
        (bundle / name).write_bytes(data)


@pytest.mark.parametrize("name", ["extra.txt", ".hidden", "assets/more.tflite", "mnist.tflite (1)"])
def test_every_file_that_is_added_is_named(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_bytes(b"")
    assert wrong(bundle) == {name: "is no part of the bundle: neither manifest.json nor provenance.json names it"}


def test_a_file_that_the_checksums_name_too_is_still_no_part(bundle: Path) -> None:
    (bundle / "extra.txt").write_bytes(b"extra")
    sealed(bundle)
    assert "is no part of the bundle" in wrong(bundle)["extra.txt"]


def test_an_exchanged_model_with_new_checksums_is_told_by_the_manifest_and_the_provenance(bundle: Path) -> None:
    (bundle / "multiply.tflite").write_bytes(b"another model")
    sealed(bundle)
    assert "says that the sha256 of multiply.tflite is" in wrong(bundle)["manifest.json"]


def test_a_size_that_is_not_the_files_is_found(bundle: Path) -> None:
    edited(bundle, lambda manifest: manifest["outputs"][0].update(size_bytes=7))
    assert "has 7 bytes, found" in wrong(bundle)["manifest.json"]


@pytest.mark.parametrize("link", ["file", "folder", "dangling"])
def test_links_are_refused_and_not_followed(bundle: Path, tmp_path: Path, link: str) -> None:
    target = {"file": tmp_path / "outside.txt", "folder": tmp_path / "outside", "dangling": tmp_path / "nothing"}[link]
    if link == "file":
        target.write_text("outside")
    elif link == "folder":
        target.mkdir()
    (bundle / "linked").symlink_to(target)
    assert "a symbolic link" in wrong(bundle)["linked"]


def test_a_pipe_is_refused_and_not_waited_for(bundle: Path) -> None:
    os.mkfifo(bundle / "pipe")
    assert "neither a file nor a folder" in wrong(bundle)["pipe"]


def test_an_empty_folder_is_no_part_of_a_bundle(bundle: Path) -> None:
    (bundle / "empty").mkdir()
    assert "an empty folder" in wrong(bundle)["empty/"]


def test_a_file_that_changes_meanwhile_is_named(bundle: Path) -> None:
    class Busy(Folder):
        def open(self, name: str) -> Any:
            if name == "report.html":
                (self.path / "multiply.tflite").write_bytes(b"exchanged after it was hashed")
            return super().open(name)

    found = verify(Busy(bundle)).wrong
    assert [(item.file, item.found) for item in found] == [("multiply.tflite", "changed while it was verified")]


def test_a_file_that_cannot_be_read_is_named(bundle: Path) -> None:
    class Broken(Folder):
        def open(self, name: str) -> Any:
            if name == "report.html":
                raise OSError(5, "Input/output error")
            return super().open(name)

    assert {item.file: item.found for item in verify(Broken(bundle)).wrong} == {
        "report.html": "cannot be read: Input/output error"
    }


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda m: m.update(schema="mlkit-build/manifest/v9"), "'mlkit-build/manifest/v9'"),
        (lambda m: m.pop("schema"), "found None"),
        (lambda m: m.pop("toolchain"), "toolchain: missing"),
        (lambda m: m.update(name="other"), "'other', that of its recipe 'multiply'"),
        (lambda m: m["outputs"][0].update(path="../outside"), "'../outside'"),
        (lambda m: m["outputs"][0].update(path="/etc/passwd"), "'/etc/passwd'"),
        (lambda m: m["outputs"][0].update(path="a\\b"), "'a\\\\b'"),
        (lambda m: m["outputs"][0].update(path="C:evil"), "'C:evil'"),
        (lambda m: m["outputs"][0].update(sha256="0" * 63), "64 lower-case hex digits"),
        (lambda m: m["outputs"][0].update(size_bytes=-1), "has -1 bytes"),
        (lambda m: m["outputs"][0].update(size_bytes="7"), "expected an integer"),
        (lambda m: m["outputs"].append(m["outputs"][0]), "named twice"),
        (lambda m: m.update(outputs={}), "expected a list"),
        (lambda m: m["inputs"][0].update(path="/secret"), "'/secret'"),
        (lambda m: m["inputs"][0].update(path="../..//secret"), "'/secret'"),
    ],
)
def test_a_manifest_edited_by_hand_is_refused_with_a_reason(bundle: Path, edit: Any, words: str) -> None:
    edited(bundle, edit)
    assert words in wrong(bundle)["manifest.json"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"schema": "mlkit-build/manifest/v1", "schema": "mlkit-build/manifest/v1"}', "'schema' is there twice"),
        (b'{"schema": NaN}', "found NaN"),
        (b"\xff\xfe{}", "expected JSON"),
        (b"", "expected JSON"),
        (b"[]", "found 'list'"),
        (b" " * (65 << 20), "at most 64 MB"),
        (b'{"schema": ' + b"9" * 10_000 + b"}", "expected a number, found 9999"),
    ],
)
def test_what_is_no_manifest_is_refused_with_a_reason(bundle: Path, data: bytes, words: str) -> None:
    (bundle / "manifest.json").write_bytes(data)
    sealed(bundle)
    assert words in wrong(bundle)["manifest.json"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_cut_anywhere_are_refused(bundle: Path, document: str) -> None:
    data = (bundle / document).read_bytes()
    for length in random.Random(1).sample(range(len(data)), 40):
        (bundle / document).write_bytes(data[:length])
        assert document in wrong(bundle)


def test_a_folder_without_any_document_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(ConfigError, match=r"found a folder without manifest\.json"):
        verified(tmp_path)
