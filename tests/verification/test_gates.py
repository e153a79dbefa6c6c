from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlkit_build.bundle.publish import MANIFEST
from tests.verification.conftest import Edit, edited, wrong


def gate(manifest: dict[str, Any], **fields: Any) -> None:
    """Change what the manifest says of the one gate of `recipe=multiply`: `max_abs_error` of at most 1e-6."""
    assert [(verdict["metric"], verdict["limit"]) for verdict in manifest["gates"]] == [("max_abs_error", "max")]
    manifest["gates"][0].update(fields)


def limit(manifest: dict[str, Any], **fields: Any) -> None:
    manifest["recipe"]["validation"]["gates"]["max_abs_error"].update(fields)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda m: gate(m, passed=False), "gates: max_abs_error.max did not hold: 0 for 1e-06"),
        (lambda m: m["metrics"]["max_abs_error"].update(value=0.5), "gates: max_abs_error.max is on 0, measured was 0.5"),
        (lambda m: gate(m, value=0.5), "gates: max_abs_error.max did not hold: 0.5 for 1e-06, and no such bundle is published"),
        (lambda m: gate(m, threshold=0.5), "gates: max_abs_error.max is 0.5, in its recipe 1e-06"),
        (lambda m: limit(m, max=None), "gates: max_abs_error.max is 1e-06, in its recipe None"),
        (lambda m: limit(m, min=-1.0), "gates: its recipe has max_abs_error.min, which was not judged"),
        (lambda m: m["gates"].clear(), "gates: its recipe has max_abs_error.max, which was not judged"),
        (lambda m: gate(m, limit="most"), "gates: its recipe has max_abs_error.max, which was not judged"),
        (lambda m: m["recipe"]["validation"]["gates"].clear(), "gates: max_abs_error.max is not in its recipe"),
        (lambda m: m["metrics"].pop("max_abs_error"), "gates: max_abs_error.max is on what the metrics do not have"),
        (lambda m: m["recipe"].pop("validation"), "recipe.validation: missing"),
        (lambda m: limit(m, max="much"), "recipe.gates.max_abs_error.max: expected a number, found 'much'"),
    ],
)
def test_gates_that_contradict_metrics_or_recipe_are_found(bundle: Path, edit: Edit, words: str) -> None:
    edited(bundle, edit)
    assert words in wrong(bundle)[MANIFEST]


def test_a_gate_on_a_time_is_not_looked_for(bundle: Path) -> None:
    edited(bundle, lambda m: m["recipe"]["validation"]["gates"].update(latency_ms={"max": 5.0}))
    assert wrong(bundle) == {}


def test_a_drop_that_chance_explains_may_be_larger_than_its_limit(bundle: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["recipe"]["validation"]["gates"]["top1"] = {"max_drop": 0.01, "significance": 0.05}
        manifest["metrics"]["top1"] = {"value": 0.95, "reference": 0.97, "drop": 0.02}
        verdict = {"metric": "top1", "limit": "max_drop", "threshold": 0.01, "value": 0.02, "passed": True}
        manifest["gates"].append({**verdict, "significance": 0.05})

    edited(bundle, edit)
    assert wrong(bundle).keys() == {"sbom.cdx.json"}  # which knows of no top1
    edited(bundle, lambda manifest: manifest["metrics"]["top1"].update(drop=0.03))
    assert wrong(bundle)[MANIFEST] == "gates: top1.max_drop is on 0.02, measured was 0.03"
