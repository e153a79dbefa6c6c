"""The page for who builds the app: what was measured, what not to do, and lines that an independent grammar takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import Workspace
from tests.formats.made import HOSTILE, assert_parses

READER = MarkdownIt("commonmark").enable(["table"])
EVERYTHING = "package.formats=[aar,aipack,ios]"


def page(workspace: Workspace, *overrides: str) -> str:
    report = workspace.build(*overrides)
    assert report.exit_code == 0, report.error
    assert report.bundle is not None
    return (report.bundle / "README.md").read_text(encoding="utf-8")


def code(text: str, language: str) -> list[str]:
    return [token.content for token in READER.parse(text) if token.type == "fence" and token.info == language]


def assert_lines_parse(text: str) -> None:
    for language in ("kotlin", "swift"):
        blocks = code(text, language)
        assert blocks
        for block in blocks:
            assert_parses(language, block)


def headings(tokens: list[Token]) -> list[str]:
    return [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]


@pytest.mark.parametrize(
    ("target", "formats"),
    [
        ("image_labeling", "package.formats=[bundle]"),
        ("image_labeling", EVERYTHING),
        ("object_detection", "package.formats=[aipack]"),
    ],
)
def test_the_lines_for_ml_kit_name_this_model(warm_workspace: Workspace, target: str, formats: str) -> None:
    text = page(warm_workspace, "recipe=mnist", f"target={target}", formats)
    assert_lines_parse(text)
    options, library, pod = {
        "image_labeling": ("CustomImageLabelerOptions", "image-labeling-custom", "ImageLabelingCustom"),
        "object_detection": ("CustomObjectDetectorOptions", "object-detection-custom", "ObjectDetectionCustom"),
    }[target]
    kotlin, swift = "\n".join(code(text, "kotlin")), "\n".join(code(text, "swift"))
    assert '.setAssetFilePath("mnist/mnist.tflite")' in kotlin
    assert f"{options}.Builder(localModel)" in kotlin
    assert f'implementation("com.google.mlkit:{library}:' in kotlin
    assert 'noCompress += "tflite"' in kotlin
    assert f"{options}(localModel: LocalModel(path: path))" in swift
    assert f"pod 'GoogleMLKit/{pod}'" in code(text, "ruby")[0]
    assert ('implementation("mlkit.models:mnist-int8:1.0.0")' in kotlin) is ("aar" in formats)
    assert ('assetPacks += listOf(":mnist")' in text) is ("aipack" in formats)
    assert ("let path = MnistModel.url.path" in swift) is ("ios" in formats)


def test_what_was_measured_is_on_the_page(warm_workspace: Workspace) -> None:
    text = page(warm_workspace, "recipe=mnist")
    for told in (
        "on 10,000 samples",
        "| top-1 accuracy | 99.12% | 98.92% to 99.29% | 99.12% |",
        "It knows 10 classes and no others",
        "It sees 28 x 28 RGB pixels",
        "| classes | 10, ",
        "(pixel - 0) / 255 of pixels in 0..255",
        "| `scores` | output | 1 x 10 | float32 | scores in 0..1: softmax of what the trained model returns |",
        "| variant | `int8`, with float32 inputs and outputs |",
    ):
        assert told in text
    raw = page(warm_workspace, "recipe=mnist", "quantization.io=uint8")
    assert "| `image` | input | 1 x 28 x 28 x 3 | uint8 | pixels in 0..255 |" in raw
    assert "| variant | `int8_uint8`: int8, with uint8 inputs and outputs |" in raw


def test_the_threshold_of_the_file_is_in_the_lines_too(warm_workspace: Workspace) -> None:
    text = page(warm_workspace, "recipe=mnist", "metadata.score_threshold=0.25")
    assert ".setConfidenceThreshold(0.25f)" in "\n".join(code(text, "kotlin"))
    assert "options.confidenceThreshold = NSNumber(value: 0.25)" in "\n".join(code(text, "swift"))
    assert "returns those of 0.25 or more" in text
    assert_lines_parse(text)


def test_what_was_not_measured_is_said(workspace: Workspace) -> None:
    text = page(workspace, "recipe=add_one", "dataset=null", "validation={}")
    assert "How good it is: not measured" in headings(READER.parse(text))
    assert "Nothing was measured: do not ship it" in text
    assert "top-1" not in text
    assert re.search(r"\| `y` \| output \|.*\| as in training \|", text)
    assert "| variant | `float32`, with float32 inputs and outputs |" in text


@pytest.mark.parametrize("formats", ["package.formats=[]", EVERYTHING])
def test_the_lines_for_litert_name_its_inputs_and_outputs(workspace: Workspace, formats: str) -> None:
    text = page(workspace, "recipe=add_one", formats)
    assert_lines_parse(text)
    kotlin = "\n".join(code(text, "kotlin"))
    assert '"x" to ByteBuffer.allocateDirect(4)' in kotlin
    assert 'runSignature(inputs, outputs, "serving_default")' in kotlin
    assert "Interpreter(modelPath: path)" in code(text, "swift")[0]


@pytest.fixture(scope="module")
def hostile_texts() -> str:
    """Return them in one text, without what OmegaConf would read as an interpolation."""
    return " ".join(text.replace("${", "$ {") for text in HOSTILE if len(text) < 1000)


def test_hostile_texts_and_labels_stay_texts(warm_workspace: Workspace, hostile_texts: str) -> None:
    folder = warm_workspace.copy("mnist")
    labels = [
        re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", " ", text).strip() for text in HOSTILE
    ]  # controls are refused in labels
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    warm_workspace.edit("mnist", {"author": hostile_texts, "license": hostile_texts, "description": HOSTILE[1]})
    text = page(warm_workspace, "recipe=mnist", EVERYTHING)
    assert_lines_parse(text)
    tokens = READER.parse(text)
    assert len(text) < 20_000, "64 kB of a label are cut"
    assert headings(tokens) == [
        "mnist 1.0.0",
        "How good it is",
        "Where it must not be used",
        "Inputs and outputs",
        "Android",
        "iOS",
        "Classes",
    ]
    inline = [child for token in tokens if token.type == "inline" for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "text_special", "code_inline", "softbreak"}
    assert {token.type for token in tokens} & {"html_block", "code_block"} == set()
    rows = text.partition("## Classes")[2].strip().splitlines()
    assert len(rows) == 2 + len(labels)


def test_a_name_of_an_input_may_hold_anything(workspace: Workspace) -> None:
    workspace.copy("add_one", "mine")
    name = 'in "put" $x | `y` \\ \n<b>'
    workspace.edit("mine", {"signature": {"inputs": {name: {"tensor": "x:0"}}, "outputs": {"y": {"tensor": "y:0"}}}})
    text = page(workspace, "recipe=mine", "dataset=null", "validation={}")
    assert_lines_parse(text)
    assert r'"in \"put\" \$x | `y` \\ \u000a<b>" to ByteBuffer' in text
    assert {token.type for token in READER.parse(text)} & {"html_block", "code_block"} == set()


def test_the_page_states_no_place_and_no_time(warm_workspace: Workspace, tmp_path: Path) -> None:
    text = page(warm_workspace, "recipe=mnist", EVERYTHING)
    assert str(tmp_path) not in text
    assert not re.search(r"\d\d:\d\d|20\d\d-\d\d-\d\d", text)
