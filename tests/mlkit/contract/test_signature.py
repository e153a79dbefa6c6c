"""Each rule that a signature shows, broken alone. The sentences are those of the Task Library, tflite-support 0.4.4."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from mlkit_build.adapters import parse
from mlkit_build.errors import ConfigError
from mlkit_build.mlkit.contract import RULES, Subject, check_labels, check_signature, signed
from mlkit_build.recipe import ML_KIT_TARGETS
from mlkit_build.signature import FrozenSignature, TensorSpec

IMAGE = TensorSpec("image", "x:0", (1, 8, 8, 3), "float32")
SCORES = TensorSpec("scores", "y:0", (1, 4), "float32")
EARLY = [rule for rule in RULES if rule.early]


def subject(
    image: TensorSpec = IMAGE,
    *more: TensorSpec,
    scores: tuple[TensorSpec, ...] = (SCORES,),
    io: str = "float32",
    normalized: tuple[str, ...] = ("image",),
) -> Subject:
    return signed(FrozenSignature((image, *more), scores), io, normalized)


def with_input(**changes: Any) -> Subject:
    return subject(replace(IMAGE, **changes))


def with_output(**changes: Any) -> Subject:
    return subject(scores=(replace(SCORES, **changes),))


BROKEN = {
    "single-input": [subject(IMAGE, replace(IMAGE, name="second"))],
    "input-rank": [with_input(shape=(1, 8, 8)), with_input(shape=(1, 192))],
    "input-type": [subject(io="int8"), with_input(dtype="int32"), with_input(dtype="int8"), with_input(dtype="float16")],
    "input-shape": [with_input(shape=(1, 8, 8, 1)), with_input(shape=(2, 8, 8, 3)), with_input(shape=(1, 3, 8, 8))],
    "normalization": [subject(normalized=()), subject(normalized=(), io="uint8")],
    "input-size": [with_input(shape=(1, 0, 8, 3)), with_input(shape=(1, 8, 0, 3))],
    "output-shape": [with_output(shape=(1, 10, 4)), with_output(shape=(4,)), with_output(shape=(1, 2, 1, 4))],
    "output-batch": [with_output(shape=(2, 4))],
    "output-type": [
        with_output(dtype="int64"),
        with_output(dtype="int8"),
        subject(scores=(SCORES, replace(SCORES, name="b", dtype="uint8"))),
    ],
}

SENTENCES = {
    "single-input": "Models are assumed to have a single input.",
    "input-rank": "Only 4D tensors in BHWD layout are supported.",
    "input-type": "Requested one of these types: kTfLiteUint8/kTfLiteFloat32, got ",
    "input-shape": "The input tensor should have dimensions 1 x height x width x 3. Got ",
    "normalization": "it requires specifying NormalizationOptions metadata to preprocess input images.",
    "input-size": " should be positive.",
    "output-shape": " for output index 0: got ",
    "output-batch": "The output array is expected to have a batch size of 1. Got 2 for output index 0.",
    "output-type": "got INT64.|got INT8.|Got 1 quantized output(s), expected 2",
}
FIXES = [
    (with_input(shape=(1, 8, 8, 1)), "for a model of grey images add `adapters: [rgb_to_grayscale]`"),
    (with_input(shape=(1, 3, 8, 8)), "for a model with channels first add `adapters: [{nchw_to_nhwc: {inputs: [image]}}]`"),
    (with_input(shape=(2, 8, 8, 3)), "state one image in signature.inputs.image.shape: [1, 8, 8, 3]"),
    (with_input(dtype="int32"), "add `adapters: [{cast_input: {dtype: uint8}}]`"),
    (with_output(shape=(1, 1, 4)), "add `adapters: [{squeeze_output: {axes: [1]}}]`"),
    (with_output(shape=(1, 1, 1, 1, 4)), "add `adapters: [{squeeze_output: {axes: [1, 2, 3]}}]`"),
    (with_output(shape=(4,)), "add `adapters: [{reshape_output: {shape: [1, 4]}}]`"),
    (with_output(dtype="int64"), "for the output of an ArgMax add `adapters: [argmax_to_logits, softmax]`"),
]


@pytest.mark.parametrize("task", ML_KIT_TARGETS)
def test_a_classifier_of_rgb_images_keeps_the_contract(task: str) -> None:
    assert check_signature(task, subject()) == tuple(rule.id for rule in EARLY)


@pytest.mark.parametrize(
    "found",
    [
        subject(io="uint8"),
        with_input(dtype="uint8"),
        subject(replace(IMAGE, dtype="uint8"), normalized=()),
        with_output(shape=(1, 1, 1, 4)),
        with_output(dtype="uint8"),
    ],
)
def test_what_the_task_library_also_takes_is_let_through(found: Subject) -> None:
    assert check_signature("image_labeling", found)


def test_every_rule_is_tried() -> None:
    assert [rule.id for rule in EARLY] == list(BROKEN) == list(SENTENCES)


@pytest.mark.parametrize(("rule", "found"), [(rule, found) for rule, subjects in BROKEN.items() for found in subjects])
def test_a_broken_rule_says_what_the_app_would_say(rule: str, found: Subject) -> None:
    with pytest.raises(ConfigError) as caught:
        check_signature("image_labeling", found)
    assert any(sentence in caught.value.message for sentence in SENTENCES[rule].split("|"))
    assert caught.value.hint


@pytest.mark.parametrize(("found", "fix"), FIXES)
def test_what_an_adapter_mends_is_told_in_the_form_to_paste(found: Subject, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_signature("image_labeling", found)
    assert caught.value.hint == fix


@pytest.mark.parametrize("fix", [fix for _, fix in FIXES if "adapters" in fix])
def test_what_is_to_be_pasted_are_adapters_with_their_options(fix: str) -> None:
    pasted = yaml.safe_load(fix.partition("`")[2].rstrip("`"))["adapters"]
    for entry in pasted:
        name, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
        assert parse(
            name, {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}, "adapters"
        )


def test_a_custom_target_has_no_rules() -> None:
    assert check_signature("custom", BROKEN["input-rank"][0]) == ()


def test_as_many_labels_as_classes_are_demanded() -> None:
    check_labels(("a", "b", "c", "d"), "labels.txt", FrozenSignature((IMAGE,), (SCORES,)), None)
    with pytest.raises(ConfigError, match="expected 4 labels, one for each class of the output 'scores', found 3") as caught:
        check_labels(("a", "b", "c"), "labels.txt", FrozenSignature((IMAGE,), (SCORES,)), None)
    assert "Got 4 class(es) for output index 0, expected 3 according to the label map." in caught.value.message


def test_labels_count_the_classes_of_the_output_that_the_recipe_names() -> None:
    signature = FrozenSignature((IMAGE,), (SCORES, TensorSpec("fine", "z:0", (1, 2), "float32")))
    check_labels(("a", "b"), "labels.txt", signature, "fine")
    with pytest.raises(ConfigError, match="expected 2 labels"):
        check_labels(("a", "b", "c", "d"), "labels.txt", signature, "fine")
