"""Bundles and models are read from wherever they lie, and no file makes the comparison crash or speak without end."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.comparison import compare, read
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.report.comparison import as_json, page, text
from tests.verification.conftest import edited

LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
"""Spoil thousands of bytes, not some."""


def told(first: Path, second: Path) -> str:
    return text(compare(read(str(first)), read(str(second))))


def test_a_bundle_is_identical_to_its_copies_wherever_they_lie(bundle: Path, published: Path) -> None:
    packed = shutil.make_archive(str(bundle.parent / "packed"), "zip", bundle)
    rolled = shutil.make_archive(str(bundle.parent / "rolled"), "gztar", bundle.parent, bundle.name)
    (bundle / "provenance.json").unlink()
    for other in (bundle, bundle / "manifest.json", Path(packed), Path(rolled)):
        assert compare(read(str(published)), read(str(other))).identical, other


def test_a_bundle_and_a_model_are_compared_as_models(bundle: Path) -> None:
    found = compare(read(str(bundle)), read(str(bundle / "multiply.tflite")))
    assert found.identical
    assert found.aspects["metrics"].note == found.aspects["recipe"].note == "no bundle: B"
    assert not found.aspects["tensors"].note


def test_what_the_manifests_say_differently_is_told_where_it_belongs(bundle: Path, published: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["toolchain"]["tensorflow"] = "2.99.0"
        manifest["metrics"]["arena_bytes"]["value"] += 1000
        manifest["recipe"]["description"] = "another"
        manifest["inputs"][0]["sha256"] = "0" * 64
        manifest["actions"][0]["key"] = "f" * 64

    edited(bundle, edit)
    before = json.loads((published / "manifest.json").read_bytes())
    aspects = compare(read(str(published)), read(str(bundle))).aspects
    lines = {name: list(map(str, aspect.changes)) for name, aspect in aspects.items() if aspect.count}
    assert lines.pop("files")[0].startswith("manifest.json: ")
    assert lines["toolchain"] == [f"tensorflow: {before['toolchain']['tensorflow']} -> 2.99.0"]
    assert lines["metrics"][0].startswith("arena: ")
    assert lines["metrics"][0].endswith("(+1.0 kB)")
    assert lines["inputs"] == [f"{before['inputs'][0]['path']}: {before['inputs'][0]['sha256'][:8]} -> 00000000"]
    assert lines["actions"] == [f"{before['actions'][0]['name']}: {before['actions'][0]['key'][:8]} -> ffffffff"]
    assert lines["recipe"][0].endswith(" -> another")
    assert set(lines) == {"toolchain", "metrics", "recipe", "inputs", "actions"}


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", [], [1], {"top1": 3}, {"top1": {"value": "high"}}, {"a": {"value": 1e308}}],
)
@pytest.mark.parametrize("part", ["metrics", "gates", "recipe"])
def test_manifests_may_say_anything_in_any_part(bundle: Path, published: Path, part: str, value: Any) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest[part] = {**value, "name": "multiply", "version": manifest["version"]} if part == "recipe" and value else value

    manifest = json.loads((bundle / "manifest.json").read_bytes())
    try:
        edit(manifest)
    except TypeError:  # no mapping to extend
        manifest[part] = value
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    try:
        found = compare(read(str(published)), read(str(bundle)))
    except SourceError:
        assert part == "recipe"
    else:
        assert "manifest.json" in found.first.note or "manifest.json" in text(found)
        assert json.loads(as_json(found))["identical"] is False
        assert page(found)


def test_numbers_and_letters_that_json_or_terminals_do_not_have_are_spelt(bundle: Path, published: Path) -> None:
    data = (bundle / "manifest.json").read_text()
    spoiled = data.replace('"description": "', '"description": "\\ud83d\\ude00\\u001b[2J', 1).replace(
        '"recipe": {', '"recipe": {"x": "\\u202e",'
    )
    (bundle / "manifest.json").write_text(spoiled)
    found = compare(read(str(published)), read(str(bundle)))
    for printed in (text(found), as_json(found), page(found)):
        assert "\x1b" not in printed
        assert printed.encode("utf-8")
    assert "\\u202e" in text(found)


@pytest.mark.parametrize(
    ("spelling", "words"), [("1e999", "found 1e999"), ('"\\ud800"', "half a character"), ("9" * 400, "found 9999")]
)
def test_numbers_and_letters_that_nothing_can_spell_are_refused(bundle: Path, published: Path, spelling: str, words: str) -> None:
    data = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(data.replace('"recipe": {', f'"recipe": {{"x": {spelling},'))
    with pytest.raises(SourceError, match=words):
        told(published, bundle)


def test_a_manifest_that_is_nested_too_deeply_is_refused(bundle: Path, published: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        for _ in range(150):
            manifest["metrics"] = {"a": manifest["metrics"]}

    edited(bundle, edit)
    with pytest.raises(SourceError, match="nested too deeply"):
        told(published, bundle)


def test_a_model_that_is_not_the_manifests_is_noted(bundle: Path, published: Path) -> None:
    data = (bundle / "multiply.tflite").read_bytes()
    (bundle / "multiply.tflite").write_bytes(data + b"\0")
    assert "not what its manifest says: multiply.tflite; see `mlkit-build verify`" in told(published, bundle)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda folder: (folder / "multiply.tflite").write_bytes(b"abcdTFL3"),
            "multiply.tflite: The model is not a valid Flatbuffer",
        ),
        (lambda folder: (folder / "manifest.json").write_text('{"a": 1, "a": 2}'), "manifest.json: "),
        (lambda folder: (folder / "linked").symlink_to("/etc/passwd"), "linked: a symbolic link"),
        (lambda folder: (folder / "manifest.json").unlink(), "found no manifest.json"),
    ],
)
def test_what_is_no_bundle_is_refused_with_its_name(bundle: Path, published: Path, spoil: Any, words: str) -> None:
    spoil(bundle)
    with pytest.raises((ConfigError, SourceError), match=words) as raised:
        told(published, bundle)
    assert str(bundle) in raised.value.message


def test_a_model_with_any_byte_changed_or_cut_off_is_compared_or_refused(bundle: Path, published: Path) -> None:
    data = (bundle / "multiply.tflite").read_bytes()
    good, spoiled, chance = read(str(published)), bundle.parent / "spoiled.tflite", random.Random(0)
    refused = 0
    for _ in range(5000 if LONG else 150):
        changed = bytearray(data)
        for _ in range(chance.choice([1, 1, 4])):
            changed[chance.randrange(len(data))] = chance.randrange(256)
        spoiled.write_bytes(changed[: chance.choice([len(data), len(data), chance.randrange(len(data))])])
        try:
            found = compare(good, read(str(spoiled)))
        except SourceError:  # exit code 2
            refused += 1
        else:
            assert found.identical or text(found)
            assert len(as_json(found)) < 1 << 20
            assert page(found).encode("utf-8")
    assert refused > 20
