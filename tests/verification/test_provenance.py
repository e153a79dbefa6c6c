"""A provenance that tells of another build than the manifest is found, though somebody made all digests fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.plain import pretty
from tests.verification.conftest import sealed, wrong

Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda made: made["externalParameters"].update(recipe="other"), "recipe is 'other', the manifest 'multiply'"),
        (lambda made: made["externalParameters"].update(variant="int8"), "variant is 'int8', the manifest 'float32'"),
        (lambda made: made["externalParameters"].pop("variant"), "variant: expected a text, found None"),
        (
            lambda made: made["internalParameters"]["toolchain"].update(tensorflow="1.0"),
            "made with tensorflow 1.0, the manifest 2.",
        ),
        (lambda made: made["internalParameters"]["toolchain"].pop("numpy"), "made with numpy none, the manifest "),
        (lambda made: made["internalParameters"]["toolchain"].update(more="3"), "made with more 3, the manifest none"),
        (
            lambda made: made["internalParameters"]["actions"][0].update(key="0" * 64),
            "only the manifest has freeze with the key ",
        ),
        (lambda made: made["internalParameters"]["actions"].pop(0), "only the manifest has freeze with the key "),
        (lambda made: made["internalParameters"].update(actions=[5]), "actions: expected a list of mappings"),
        (
            lambda made: made["resolvedDependencies"][0]["digest"].update(sha256="0" * 64),
            "of the inputs: the manifest does not name ",
        ),
        (lambda made: made["resolvedDependencies"].pop(0), "of the inputs: only the manifest names "),
        (lambda made: made.update(resolvedDependencies={}), "resolvedDependencies: expected a list of mappings"),
        (lambda made: made.update(buildType="make"), "buildType: expected 'urn:mlkit-build:build:v1', found 'make'"),
        (lambda made: made.update(externalParameters=5), "externalParameters: expected a mapping, found int"),
    ],
)
def test_a_provenance_of_another_build_is_found(bundle: Path, change: Change, found: str) -> None:
    statement = json.loads((bundle / "provenance.json").read_bytes())
    change(statement["predicate"]["buildDefinition"])
    (bundle / "provenance.json").write_bytes(pretty(statement))
    sealed(bundle)
    assert list(wrong(bundle)) == ["provenance.json"]
    assert found in wrong(bundle)["provenance.json"]


def test_a_provenance_without_a_predicate_is_none(bundle: Path) -> None:
    statement = json.loads((bundle / "provenance.json").read_bytes())
    (bundle / "provenance.json").write_bytes(pretty({**statement, "predicate": 5}))
    sealed(bundle)
    assert wrong(bundle) == {"provenance.json": "predicate: expected a mapping, found int"}


def test_of_actions_it_may_know_more_than_the_manifest(bundle: Path) -> None:
    """What only measures time is in no manifest."""
    statement = json.loads((bundle / "provenance.json").read_bytes())
    statement["predicate"]["buildDefinition"]["internalParameters"]["actions"].append({"name": "latency", "key": "1" * 64})
    (bundle / "provenance.json").write_bytes(pretty(statement))
    sealed(bundle)
    assert wrong(bundle) == {}
