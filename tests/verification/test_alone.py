"""An AAR is verified without its bundle: strict about every entry, and hostile ones are refused."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.formats import aar
from mlkit_build.formats.packing_list import PACKING_LIST
from mlkit_build.formats.zipping import write_zip
from mlkit_build.plain import to_plain
from mlkit_build.recipe import FrozenGraph, Package, Recipe
from mlkit_build.verification import Beside, verify
from mlkit_build.verification.places import open_place

MODEL = "assets/multiply/multiply.tflite"


@pytest.fixture
def archive(published: Path, tmp_path: Path) -> Path:
    """The AAR of `recipe=multiply`."""
    return made(published, tmp_path / "made")


def made(published: Path, folder: Path, version: str = "1.0.0", labels: str | None = None) -> Path:
    recipe = Recipe(name="multiply", version=version, source=FrozenGraph(path="x"), package=Package(formats=("aar",)))
    inputs = {"model.tflite": published / "multiply.tflite"}
    if labels is not None:
        folder.mkdir()
        (folder / "labels.txt").write_text(labels)
        inputs["labels.txt"] = folder / "labels.txt"
    aar.write(to_plain(aar.plan(recipe).params), inputs, folder)
    return next(folder.rglob("*.aar"))


def entries(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def edited(archive: Path, edit: Callable[[dict[str, bytes]], Any]) -> Path:
    """Write the archive again, with other entries."""
    contents = entries(archive)
    edit(contents)
    write_zip(archive, contents.items())
    return archive


def stated(archive: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """Write it again, with another statement."""
    statement = json.loads(entries(archive)[PACKING_LIST])
    edit(statement)
    return edited(archive, lambda contents: contents.update({PACKING_LIST: json.dumps(statement).encode()}))


def wrong(archive: Path, beside: Beside | None = None) -> dict[str, str]:
    with open_place(str(archive)) as place:
        return {item.file: item.found for item in verify(place, beside=beside).wrong}


def listing(archive: Path, published: Path, sha256: str | None = None) -> Beside:
    """Return the bundle's manifest, as it would list the archive."""
    manifest = json.loads((published / "manifest.json").read_bytes())
    data = archive.read_bytes()
    entry = {"path": f"aar/{archive.name}", "sha256": sha256 or hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    manifest["outputs"].append(entry)
    return Beside("/bundle/manifest.json", json.dumps(manifest).encode())


def test_an_archive_as_it_was_made_is_verified(archive: Path, published: Path) -> None:
    assert wrong(archive) == {}
    assert wrong(archive, listing(archive, published)) == {}


def test_every_entry_changed_removed_or_added_is_named(archive: Path) -> None:
    whole = archive.read_bytes()
    for name, data in entries(archive).items():
        if name != PACKING_LIST:
            edited(archive, lambda contents, name=name, data=data: contents.update({name: data[:-1] + b"?"}))  # type: ignore[misc]
            assert list(wrong(archive)) == [name]
            archive.write_bytes(whole)
            edited(archive, lambda contents, name=name: contents.pop(name))  # type: ignore[misc]
            assert wrong(archive) == {name: f"missing; {PACKING_LIST} lists it"}
            archive.write_bytes(whole)
    edited(archive, lambda contents: contents.update({"assets/new": b""}))
    assert wrong(archive) == {"assets/new": f"is no part of the archive: {PACKING_LIST} does not name it"}


def test_a_byte_of_any_entry_is_noticed(archive: Path) -> None:
    """Where it lies in the file: a stored entry's bytes follow its header."""
    whole = archive.read_bytes()
    for name, data in entries(archive).items():
        if data:
            place = whole.index(data) + len(data) // 2
            archive.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert name in wrong(archive)


def test_every_byte_around_the_entries_counts(archive: Path) -> None:
    """Headers and directory; a byte that makes it another kind of file is a mistake of the user's."""
    whole = archive.read_bytes()
    contents: set[int] = set()
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            start = entry.header_offset + 30 + len(entry.filename)
            contents.update(range(start, start + entry.file_size))
    around = [place for place in range(len(whole)) if place not in contents]
    assert len(around) > 500
    for place in around[::7]:
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = wrong(archive)
        except ConfigError:
            continue
        assert found, place


def test_what_is_before_between_or_behind_the_entries_is_refused(archive: Path) -> None:
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        packed = [(name, opened.read(name)) for name in opened.namelist()]
        directory = opened.start_dir
    archive.write_bytes(whole + b"more")
    assert f"it differs from byte {len(whole)}, which is behind all contents" in wrong(archive)[archive.name]
    with zipfile.ZipFile(archive, "w") as again:  # with today's time
        for name, data in packed:
            again.writestr(name, data)
    assert "was not packed so by mlkit-build" in wrong(archive)[archive.name]
    gap = bytearray(whole[:directory] + b"between" + whole[directory:])
    place = len(gap) - 6  # of the directory's offset, at the end: APPNOTE.TXT 4.3.16
    gap[place : place + 4] = (directory + 7).to_bytes(4, "little")
    archive.write_bytes(gap)
    assert f"byte {directory}, which is behind all contents" in wrong(archive)[archive.name]


def test_statement_and_archive_made_up_together_are_caught_by_the_manifest(archive: Path, published: Path) -> None:
    before = listing(archive, published)
    other = b"\x1c\0\0\0TFL3 another model"
    sha256 = hashlib.sha256(other).hexdigest()
    edited(archive, lambda contents: contents.update({"classes.jar": other}))
    stated(archive, lambda statement: statement["files"][-1].update(sha256=sha256, size_bytes=len(other)))
    assert wrong(archive) == {}
    found = wrong(archive, before)
    assert list(found) == [archive.name]
    assert "as /bundle/manifest.json says of aar/" in found[archive.name]
    assert found[archive.name].endswith("the model in it is that of the bundle")
    without = Beside("/bundle/manifest.json", (published / "manifest.json").read_bytes())
    assert "lists no such archive: multiply 1.0.0, float32 was built without" in wrong(archive, without)[archive.name]


def test_a_manifest_that_the_user_named_must_be_one_and_a_strangers_above_may_be_anything(archive: Path) -> None:
    data = b'{"name": "a web page"}'
    assert "expected the schema" in wrong(archive, Beside("/m.json", data))["/m.json"]
    assert wrong(archive, Beside("/m.json", data, is_asked=False)) == {}
    assert list(wrong(archive, Beside("/m.json", b'{"schema": "mlkit-build/manifest/v1"', is_asked=False))) == ["/m.json"]


def test_the_model_has_to_be_what_the_archive_says(published: Path, tmp_path: Path) -> None:
    other = made(published, tmp_path / "version", version="2.0.0")
    assert wrong(other) == {MODEL: "its metadata say that its version is '1.0.0', the archive '2.0.0'"}
    garbage = made(published, tmp_path / "garbage")
    data = b"\x1c\0\0\0TFL3"

    def spoil(statement: dict[str, Any]) -> None:
        entry = next(entry for entry in statement["files"] if entry["path"] == MODEL)
        entry.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))

    edited(garbage, lambda contents: contents.update({MODEL: data}))
    assert "cannot be read as a model" in wrong(stated(garbage, spoil))[MODEL]


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda statement: statement.update(schema="mlkit-build/packing-list/v2"), "expected the schema"),
        (lambda statement: statement.pop("variant"), "variant: missing"),
        (lambda statement: statement.update(more=1), "more: unknown field"),
        (lambda statement: statement.update(name=7), "name: expected a text"),
        (lambda statement: statement.update(model="assets/none.tflite"), "model: expected one of its files"),
        (lambda statement: statement["files"][0].update(path="../AndroidManifest.xml"), "files[0]: expected a file within"),
        (lambda statement: statement["files"][0].update(path="/etc/passwd"), "files[0]: expected a file within"),
        (lambda statement: statement["files"][0].update(sha256="0"), "expected a sha256"),
        (lambda statement: statement["files"].append(statement["files"][0]), "is named twice"),
        (lambda statement: statement["files"][0].update(size_bytes=7), "has 7 bytes, found "),
        (lambda statement: statement.update(files={}), "files: expected a list"),
    ],
)
def test_a_statement_that_cannot_be_is_blamed(archive: Path, edit: Callable[[dict[str, Any]], Any], found: str) -> None:
    assert found in wrong(stated(archive, edit))[PACKING_LIST]


def test_a_statement_that_is_no_document_is_blamed(archive: Path) -> None:
    for data in (b"", b"[]", b"[" * 100_000, b'{"schema": 1, "schema": 2}', b"\xff"):
        edited(archive, lambda contents, data=data: contents.update({PACKING_LIST: data}))  # type: ignore[misc]
        assert PACKING_LIST in wrong(archive)


def test_names_that_lead_out_of_the_archive_and_links_are_refused(archive: Path) -> None:
    whole = archive.read_bytes()
    edited(archive, lambda contents: contents.update({"../../evil": b""}))
    assert wrong(archive) == {"'../../evil'": "a name that leads out of the bundle: nothing of the kind is in a bundle"}
    archive.write_bytes(whole)
    with zipfile.ZipFile(archive, "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr("R.txt", b"")
    assert "there twice" in wrong(archive)["R.txt"]
    archive.write_bytes(whole)
    with zipfile.ZipFile(archive, "a") as opened:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        opened.writestr(link, "/etc/passwd")
    assert "a symbolic link" in wrong(archive)["link"]


def test_an_archive_that_says_nothing_of_itself_is_not_taken(archive: Path) -> None:
    edited(archive, lambda contents: contents.pop(PACKING_LIST))
    with pytest.raises(ConfigError, match=f"expected an AAR that says what is in it, found no {PACKING_LIST}"):
        wrong(archive)
