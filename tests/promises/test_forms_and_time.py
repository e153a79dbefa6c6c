"""Forms beside each other, arena and latency: in a whole build, its bundle and its exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Workspace
from tests.promises.conftest import Command

pytestmark = pytest.mark.usefixtures("warm_workspace")  # the builds here are the same ones over and over


def bundle(workspace: Workspace, file: str) -> Any:
    return json.loads((workspace.folder / "dist/multiply/float32" / file).read_bytes())


def test_a_bundle_says_that_all_forms_are_the_same_and_times_are_in_the_provenance_alone(workspace: Workspace) -> None:
    workspace.copy("multiply")
    report = workspace.build("recipe=multiply")
    assert report.exit_code == 0, report.error
    manifest, provenance = bundle(workspace, "manifest.json"), bundle(workspace, "provenance.json")
    assert [(hop["before"], hop["after"]) for hop in manifest["hops"]["hops"]] == [
        ("source", "frozen graph"),
        ("frozen graph", "float.tflite"),
    ]
    assert all(hop["skipped"] == "" and hop["outputs"] for hop in manifest["hops"]["hops"])
    assert manifest["metrics"]["arena_bytes"]["value"] > 0
    assert "median_ms" not in json.dumps(manifest)
    (byproduct,) = provenance["predicate"]["runDetails"]["byproducts"]
    assert byproduct["name"] == "latency.json"
    assert byproduct["annotations"]["median_ms"] > 0
    page = (workspace.folder / "dist/multiply/float32/report.html").read_text()
    assert "On the way to the app" in page
    assert "the same (max error 0)" in page


@pytest.mark.parametrize(
    ("gates", "told"),
    [
        ({"latency_ms": {"max": 1e-9}}, "latency_ms: "),
        ({"arena_bytes": {"max": 1}}, "arena_bytes: "),
    ],
)
def test_gates_on_time_and_memory_decide(workspace: Workspace, gates: dict[str, Any], told: str) -> None:
    workspace.copy("multiply")
    workspace.edit("multiply", {"validation.gates": gates})
    report = workspace.build("recipe=multiply")
    assert report.exit_code == 3
    assert told in str(report.error)
    assert any(not verdict.passed for verdict in report.gates)
    assert not (workspace.folder / "dist/multiply").exists()


def test_a_gate_on_time_that_holds_is_shown_and_not_in_the_manifest(workspace: Workspace, command: Command) -> None:
    workspace.copy("multiply")
    workspace.edit("multiply", {"validation.gates": {"latency_ms": {"max": 1e9}}})
    code, out, _ = command("recipe=multiply", "ui=plain")
    assert code == 0
    assert "[at most 1e+09 ms ok]" in out
    assert bundle(workspace, "manifest.json")["gates"] == []


def test_what_is_switched_off_does_not_run(workspace: Workspace) -> None:
    workspace.copy("multiply")
    report = workspace.build("recipe=multiply", "validation.hops=0", "validation.latency.runs=0")
    assert report.exit_code == 0, report.error
    assert not {"origin", "hops", "latency"} & workspace.ran(report)
    assert bundle(workspace, "manifest.json")["hops"] is None
    assert "byproducts" not in bundle(workspace, "provenance.json")["predicate"]["runDetails"]


def test_more_samples_than_there_are_change_nothing(workspace: Workspace) -> None:
    workspace.copy("multiply")
    assert workspace.build("recipe=multiply", "dataset.samples=4", "validation.hops=4").exit_code == 0
    report = workspace.build("recipe=multiply", "dataset.samples=4", "validation.hops=400")
    assert report.exit_code == 0, report.error
    assert not {"origin", "hops"} & workspace.ran(report)
    report = workspace.build("recipe=multiply", "dataset.samples=4", "validation.hops=3")
    assert {"origin", "hops"} <= workspace.ran(report)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation.hops": -1}, "validation.hops: expected at least 0 samples, found -1"),
        ({"validation.latency": {"threads": 0}}, "validation.latency.threads: expected at least 1, found 0"),
        ({"validation.latency": {"threads": 1000}}, "validation.latency.threads: expected at most 64, found 1000"),
        ({"validation.latency": {"delegate": "gpu"}}, "validation.latency.delegate: expected one of xnnpack, none, found 'gpu'"),
        (
            {"validation.latency": {"runs": 0}, "validation.gates": {"latency_ms": {"max": 1}}},
            "validation.gates.latency_ms: validation.latency.runs is 0, so nothing measures it",
        ),
        ({"validation.gates": {"latency_ms": {"max_drop": 1}}}, "validation.gates.latency_ms.max_drop: "),
        (
            {"validation.baseline": "b.json", "validation.gates": {"latency_ms": {"max_regression": 1}}},
            "validation.gates.latency_ms.max_regression: times are in no manifest",
        ),
    ],
)
def test_values_out_of_their_limits_are_named(
    workspace: Workspace, command: Command, changes: dict[str, Any], message: str
) -> None:
    workspace.copy("multiply")
    workspace.edit("multiply", changes)
    code, _, err = command("recipe=multiply", "ui=plain")
    assert code == 2
    assert message in err


def test_where_tensorflow_is_as_bad_the_recipe_is_suspected(warm_workspace: Workspace) -> None:
    warm_workspace.copy("mnist")
    warm_workspace.edit("mnist", {"validation.gates": {"top1": {"min": 0.9999}}})
    report = warm_workspace.build("recipe=mnist")
    assert report.exit_code == 3
    assert report.error is not None
    assert report.error.hint.startswith(
        "nothing was packaged and the previous bundle, if any, is untouched; TensorFlow's model is as bad"
    )


def test_where_tensorflow_is_as_bad_the_recipe_is_suspected_of_a_great_error_too(warm_workspace: Workspace) -> None:
    warm_workspace.copy("mnist")
    changes = {"validation.metrics": ["log_loss"], "validation.gates": {"log_loss": {"max": 0.0001}}}
    warm_workspace.edit("mnist", changes)
    report = warm_workspace.build("recipe=mnist")
    assert report.exit_code == 3
    assert "TensorFlow's model is as bad" in report.error.hint


def test_a_limit_on_what_nobody_measured_is_a_failure_of_validation(workspace: Workspace) -> None:
    folder = workspace.copy("multiply")
    code = "class Count:\n    def update(self, outputs, reference, labels): pass\n    def result(self): return 1.0\n"
    (folder / "metric.py").write_text(f"{code}def build(): return Count()\n")
    metrics = [{"python": {"function": "metric.py:build"}}]
    workspace.edit("multiply", {"validation.metrics": metrics, "validation.gates": {"build": {"max_drop": 0.1}}})
    report = workspace.build("recipe=multiply")
    assert report.exit_code == 2, report.error
    assert report.stage == "validate"
