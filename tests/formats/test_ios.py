"""The Swift package: what an independent grammar of Swift makes of it, whatever the recipe holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.recipe import Ios
from tests.formats import made
from tests.formats.made import HOSTILE, MODEL, a_recipe, assert_parses, files, found, written


def test_the_package_has_its_manifest_its_accessor_and_its_resources(tmp_path: Path) -> None:
    folder = written("ios", a_recipe("7-segment"), tmp_path)
    assert sorted(files(folder)) == [
        "M7SegmentModel/Package.swift",
        "M7SegmentModel/Sources/M7SegmentModel/M7SegmentModel.swift",
        "M7SegmentModel/Sources/M7SegmentModel/Resources/7-segment.tflite",
        "M7SegmentModel/Sources/M7SegmentModel/Resources/labels.txt",
    ]
    assert (folder / "M7SegmentModel/Sources/M7SegmentModel/Resources/7-segment.tflite").read_bytes() == MODEL
    manifest = (folder / "M7SegmentModel/Package.swift").read_text()
    assert manifest.startswith("// swift-tools-version:5.5\n"), "Swift reads the version from the first line"
    told = [node.text.decode() for node in found(assert_parses("swift", manifest), "line_string_literal")]
    assert '"Resources/7-segment.tflite"' in told
    assert '"Resources/labels.txt"' in told


def test_the_accessor_says_what_the_model_is(tmp_path: Path) -> None:
    accessor = (written("ios", a_recipe(), tmp_path) / "MnistModel/Sources/MnistModel/MnistModel.swift").read_text()
    assert_parses("swift", accessor)
    for line in (
        "public enum MnistModel {",
        'public static let version = "1.2.3"',
        "public static let inputHeight = 28",
        "public static let inputChannels = 3",
        'Tensor(name: "scores", shape: [1, 3], type: "float32"),',
        'public static var url: URL { resource("mnist", "tflite") }',
    ):
        assert line in accessor


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_change_no_code(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = written("ios", a_recipe(description="plain"), tmp_path / "plain")
    spec = dataclasses.replace(made.SIGNATURE.inputs[0], name=text)
    monkeypatch.setattr(made, "SIGNATURE", dataclasses.replace(made.SIGNATURE, inputs=(spec,)))
    hostile = written("ios", a_recipe(description=text, version=text), tmp_path / "hostile", [text.replace("\n", " ")])
    place = "MnistModel/Sources/MnistModel/MnistModel.swift"
    trees = [assert_parses("swift", (folder / place).read_text(encoding="utf-8")) for folder in (plain, hostile)]
    first, second = ([node.type for node in outside_strings(root)] for root in trees)
    assert first == second
    assert [len(found(root, "interpolated_expression")) for root in trees] == [2, 2]  # those of the template's own message


def outside_strings(root: Any) -> list[Any]:
    """Return the nodes of a tree but those within literals of text."""
    below = [] if root.type == "line_string_literal" else root.children
    return [root, *(node for child in below for node in outside_strings(child))]


def test_a_podspec_has_what_cocoapods_demands(tmp_path: Path) -> None:
    ios = Ios(podspec=True, homepage="https://example.com/mnist")
    folder = written("ios", a_recipe(ios=ios, description=HOSTILE[1]), tmp_path) / "MnistModel"
    spec = json.loads((folder / "MnistModel.podspec.json").read_bytes())
    # The attributes that the guide to the podspec syntax marks as required.
    assert {"name", "version", "authors", "license", "homepage", "source", "summary"} <= set(spec)
    assert (spec["name"], spec["version"], spec["summary"]) == ("MnistModel", "1.2.3", HOSTILE[1])
    assert (folder / spec["source_files"]).is_file()
    ((pattern,),) = spec["resource_bundles"].values()
    assert sorted(path.name for path in folder.glob(pattern)) == ["labels.txt", "mnist.tflite"]
