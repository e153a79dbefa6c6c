"""Lint finds the one rule that a file breaks, in the words of the Task Library; `tests/mlkit/test_oracle.py` asks that itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.mlkit.contract import ERROR, RULES, check_file, lint
from mlkit_build.recipe import ML_KIT_TARGETS
from tests.mlkit.contract.cases import BROKEN, CASES, CRASHES, GOOD, KEPT, LOADS, REFUSES


def test_every_rule_is_broken_by_a_file_of_its_own() -> None:
    assert {case.rule for case in BROKEN.values()} == {rule.id for rule in RULES}
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("name", CASES)
def test_exactly_what_is_broken_is_found(name: str) -> None:
    case = CASES[name]
    expected = {case.rule, *case.more} - {""}
    assert {found.rule.id for found in lint(case.make(), "image_labeling")} == expected


@pytest.mark.parametrize("name", BROKEN)
def test_a_finding_says_everything(name: str) -> None:
    for found in lint(BROKEN[name].make(), "object_detection"):
        assert found.found
        assert found.fix
        assert found.rule.why
        assert found.rule.source
        assert "%" not in found.says


def test_every_sentence_of_a_rule_is_said_of_some_file() -> None:
    """A sentence that no file brings forth would be believed and never asked of the Task Library."""
    said = {(found.rule.id, found.says) for case in BROKEN.values() for found in lint(case.make(), "image_labeling")}
    for rule in RULES:
        for sentence in rule.says:
            begin, end = sentence.split("%")[0], sentence.split("%")[-1][1:] if "%" in sentence else ""
            assert any(id_ == rule.id and text.startswith(begin) and text.endswith(end) for id_, text in said), sentence


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.stricter], ids=lambda rule: rule.id)
def test_where_lint_is_stricter_than_the_task_library_it_says_so(rule: object) -> None:
    assert any(case.oracle in (LOADS, CRASHES, "") for case in BROKEN.values() if RULES[RULES.index(rule)].id == case.rule)


def test_an_error_that_the_task_library_loads_is_said_to_be_stricter() -> None:
    severity = {rule.id: rule.severity for rule in RULES}
    stricter = {rule.id for rule in RULES if rule.stricter}
    for case in BROKEN.values():
        if case.oracle == LOADS and severity[case.rule] == ERROR:
            assert case.rule in stricter
        if case.oracle in (REFUSES, CRASHES):
            assert severity[case.rule] == ERROR


def test_a_custom_target_has_the_rules_of_any_interpreter() -> None:
    everywhere = {rule.id for rule in RULES if rule.everywhere}
    found = {name: {each.rule.id for each in lint(case.make(), "custom")} for name, case in BROKEN.items()}
    assert found["cut off"] == {"flatbuffer"}
    assert found["no such code"] == {"model-structure"}
    assert found["a version that nobody has"] == {"operator-version"}
    assert found["a later version"] == found["no metadata"] == found["channels first"] == set()
    assert set().union(*found.values()) <= everywhere


def test_the_runtime_decides_which_versions_are_too_late() -> None:
    late = BROKEN["a later version"].make()
    for runtime, expected in (("2.14", True), ("2.15", False), ("", False)):
        ids = {found.rule.id for found in lint(late, "image_labeling", runtime)}
        assert ("operator-version" in ids) is expected
    assert "operator-version" in {found.rule.id for found in lint(late, "custom", "2.14")}


def test_a_file_that_is_built_must_keep_every_rule_of_its_target() -> None:
    for task in (*ML_KIT_TARGETS, "custom"):
        assert check_file(GOOD.build(), task) == ()
    (warning,) = check_file(BROKEN["logits"].make(), "image_labeling")
    assert warning.startswith("expected scores that an operator keeps within 0..1, found scores made by ABS")
    assert check_file(BROKEN["logits"].make(), "custom") == ()
    assert check_file(BROKEN["twice"].make(), "image_labeling") == ()  # told when the labels were read
    with pytest.raises(ConfigError) as caught:
        check_file(BROKEN["a label short"].make(), "image_labeling")
    assert "Got 12 class(es) for output index 0, expected 11 according to the label map. [label-count]" in caught.value.message


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("bird_classifier", set()),
        ("mobilenet_v1_0.25_224_1_metadata_1", {"label-repeated"}),  # ImageNet has two cranes and two maillots
        ("mobilenet_v1_0.25_224_1_default_1", {"normalization", "labels"}),
    ],
)
def test_models_by_others(shared_model: Callable[[str], Path], name: str, ids: set[str]) -> None:
    found = lint(shared_model(f"tflite/{name}.tflite").read_bytes(), "image_labeling")
    assert {each.rule.id for each in found} == ids
    said = [each.says for each in found if each.rule.severity == ERROR]
    assert said == [
        "Input tensor has type kTfLiteFloat32: it requires specifying NormalizationOptions metadata to preprocess input images."
    ] * ("normalization" in ids)


def test_kept_rules_are_told_by_silence() -> None:
    assert all(lint(case.make(), task) == () for case in KEPT.values() for task in ML_KIT_TARGETS)
