"""Each rule of ML Kit's contract, broken alone. The sentences are those of the Task Library (FACTS: tflite-support 0.4.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.mlkit.contract import RULES, Subject, check_labels, check_signature
from mlkit_build.recipe import ML_KIT_TARGETS
from mlkit_build.signature import FrozenSignature, TensorSpec

IMAGE = TensorSpec("image", "x:0", (1, 8, 8, 3), "float32")
SCORES = TensorSpec("scores", "y:0", (1, 4), "float32")
GOOD = Subject(FrozenSignature((IMAGE,), (SCORES,)), "float32", ("image",))


def with_input(**changes: Any) -> Subject:
    return replace(GOOD, signature=FrozenSignature((replace(IMAGE, **changes),), (SCORES,)))


def with_output(**changes: Any) -> Subject:
    return replace(GOOD, signature=FrozenSignature((IMAGE,), (replace(SCORES, **changes),)))


BROKEN = {
    "single-input": [replace(GOOD, signature=FrozenSignature((IMAGE, replace(IMAGE, name="second")), (SCORES,)))],
    "input-rank": [with_input(shape=(1, 8, 8)), with_input(shape=(1, 192))],
    "input-shape": [with_input(shape=(1, 8, 8, 1)), with_input(shape=(2, 8, 8, 3)), with_input(shape=(1, 3, 8, 8))],
    "input-type": [replace(GOOD, io="int8"), with_input(dtype="int32"), with_input(dtype="int8"), with_input(dtype="float16")],
    "normalization": [replace(GOOD, normalized=())],
    "output-shape": [
        with_output(shape=(1, 10, 4)),
        with_output(shape=(4,)),
        with_output(shape=(2, 4)),
        with_output(shape=(1, 2, 1, 4)),
    ],
    "output-type": [with_output(dtype="int64"), with_output(dtype="int8")],
}

SENTENCES = {
    "single-input": "Models are assumed to have a single input.",
    "input-rank": "Only 4D tensors in BHWD layout are supported.",
    "input-shape": "The input tensor should have dimensions 1 x height x width x 3.",
    "input-type": "Requested one of these types: kTfLiteUint8/kTfLiteFloat32",
    "normalization": "it requires specifying NormalizationOptions metadata to preprocess input images.",
    "output-shape": "Unexpected number of dimensions for output index 0",
    "output-type": "quantized output(s), expected",
}


@pytest.mark.parametrize("task", ML_KIT_TARGETS)
def test_a_classifier_of_rgb_images_keeps_the_contract(task: str) -> None:
    assert check_signature(task, GOOD) == tuple(rule.id for rule in RULES)


@pytest.mark.parametrize(
    "subject",
    [
        replace(GOOD, io="uint8"),
        with_input(dtype="uint8"),
        replace(with_input(dtype="uint8"), normalized=()),
        with_output(shape=(1, 1, 1, 4)),
        with_output(dtype="uint8"),
    ],
)
def test_what_the_task_library_also_takes_is_let_through(subject: Subject) -> None:
    assert check_signature("image_labeling", subject)


def test_every_rule_is_tried() -> None:
    assert [rule.id for rule in RULES] == list(BROKEN) == list(SENTENCES)


@pytest.mark.parametrize(("rule", "subject"), [(rule, subject) for rule, subjects in BROKEN.items() for subject in subjects])
def test_a_broken_rule_says_what_the_app_would_say_and_what_to_change(rule: str, subject: Subject) -> None:
    with pytest.raises(ConfigError) as caught:
        check_signature("image_labeling", subject)
    assert SENTENCES[rule] in caught.value.message
    assert caught.value.hint == next(found.fix for found in RULES if found.id == rule)


def test_a_custom_target_has_no_rules() -> None:
    assert check_signature("custom", BROKEN["input-rank"][0]) == ()


def test_as_many_labels_as_classes_are_demanded() -> None:
    check_labels(("a", "b", "c", "d"), "labels.txt", GOOD.signature, None)
    with pytest.raises(ConfigError, match="expected 4 labels, one for each class of the output 'scores', found 3") as caught:
        check_labels(("a", "b", "c"), "labels.txt", GOOD.signature, None)
    assert "Got 4 class(es) for output index 0, expected 3 according to the label map." in caught.value.message


def test_labels_count_the_classes_of_the_output_that_the_recipe_names() -> None:
    signature = FrozenSignature((IMAGE,), (SCORES, TensorSpec("fine", "z:0", (1, 2), "float32")))
    check_labels(("a", "b"), "labels.txt", signature, "fine")
    with pytest.raises(ConfigError, match="expected 2 labels"):
        check_labels(("a", "b", "c", "d"), "labels.txt", signature, "fine")
