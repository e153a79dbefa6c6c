"""A gate that fails packages nothing: exit code 3, the numbers are shown, and the bundle there before is untouched."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.errors import ExitCode, GateError
from mlkit_build.gates import Verdict, judge
from mlkit_build.metrics import Measurement
from mlkit_build.recipe import Gate
from tests.conftest import Workspace
from tests.promises.conftest import Command, command, snapshot  # noqa: F401 - a fixture

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def test_a_value_on_the_limit_passes() -> None:
    verdicts = judge(
        {"top1": Gate(min=0.9, max=0.9, max_drop=0.05)},
        {"top1": Measurement(0.9, 0.95)},
    )
    assert [(verdict.limit, verdict.passed) for verdict in verdicts] == [("min", True), ("max", True), ("max_drop", True)]


def test_a_drop_is_measured_against_tensorflow_and_a_gain_always_passes() -> None:
    gates = {"top1": Gate(max_drop=0.01)}
    assert not judge(gates, {"top1": Measurement(0.90, 0.92)})[0].passed
    assert judge(gates, {"top1": Measurement(0.90, 0.92)})[0].value == 0.02
    assert judge(gates, {"top1": Measurement(0.92, 0.90)})[0].passed


def test_every_limit_is_judged_though_the_first_one_fails() -> None:
    verdicts = judge(
        {"top1": Gate(min=0.99, max_drop=0.01), "size_bytes": Gate(max=10.0)},
        {"top1": Measurement(0.5, 0.5), "size_bytes": Measurement(5)},
    )
    assert [(verdict.metric, verdict.limit, verdict.passed) for verdict in verdicts] == [
        ("top1", "min", False),
        ("top1", "max_drop", True),
        ("size_bytes", "max", True),
    ]


def test_a_value_that_was_not_measured_fails_its_gate_by_name() -> None:
    with pytest.raises(GateError, match=r"validation\.gates\.top1_agreement: not measured") as caught:
        judge({"top1_agreement": Gate(min=0.5)}, {"cosine": Measurement(1.0)})
    assert caught.value.exit_code == ExitCode.GATE
    assert caught.value.hint == "measured: cosine"


@given(value=FINITE, low=FINITE, high=FINITE)
def test_min_and_max_hold_exactly_inside_the_interval(value: float, low: float, high: float) -> None:
    verdicts = judge({"v": Gate(min=low, max=high)}, {"v": Measurement(value)})
    assert all(verdict.passed for verdict in verdicts) == (low <= value <= high)


def test_a_verdict_reads_as_a_sentence() -> None:
    assert str(Verdict("top1", "min", 0.99, 0.5, False)) == "top1: 0.5, expected at least 0.99"
    assert str(Verdict("top1", "max_drop", 0.01, 0.02, False)) == "top1: 0.02, expected a drop of at most 0.01"


def test_a_failed_gate_exits_with_3_shows_the_numbers_and_leaves_the_bundle(
    workspace: Workspace,
    command: Command,  # noqa: F811
) -> None:
    workspace.copy("add_one")
    assert command("recipe=add_one", "ui=quiet")[0] == 0
    before = snapshot(workspace.folder / "dist")
    workspace.edit("add_one", {"version": "2.0.0", "validation.gates.size_bytes": {"max": 10}})
    code, out, err = command("recipe=add_one", "ui=plain")
    assert code == 3
    assert "add_one/float32: gate failed, nothing packaged" in out
    assert "[at most 10 B FAILED]" in out
    assert "max absolute error 0 [at most 1e-06 ok]" in out
    assert "error: gate failed: size_bytes: " in err
    assert "previous bundle, if any, is untouched" in err
    assert before
    assert snapshot(workspace.folder / "dist") == before


def test_a_failed_gate_packages_nothing_where_nothing_was(workspace: Workspace) -> None:
    workspace.copy("add_one")
    workspace.edit("add_one", {"validation.gates.size_bytes": {"max": 10}})
    report = workspace.build("recipe=add_one")
    assert (report.status, report.exit_code, report.bundle) == ("gate_failed", 3, None)
    assert "package" not in {result.action.name for result in report.actions}
    assert not (workspace.folder / "dist").exists()


def test_a_gate_that_is_loosened_packages_what_was_measured_already(workspace: Workspace) -> None:
    workspace.copy("add_one")
    workspace.edit("add_one", {"validation.gates.size_bytes": {"max": 10}})
    assert workspace.build("recipe=add_one").exit_code == 3
    workspace.edit("add_one", {"validation.gates.size_bytes": {"max": 10000}})
    report = workspace.build("recipe=add_one")
    assert report.exit_code == 0
    assert workspace.ran(report) == {"package"}


def test_a_failed_gate_in_json_has_its_metrics_and_verdicts(
    workspace: Workspace,
    command: Command,  # noqa: F811
) -> None:
    workspace.copy("add_one")
    workspace.edit("add_one", {"validation.gates": {"cosine": {"max": 0.5}}})
    code, out, _ = command("recipe=add_one", "ui=json")
    found = json.loads(out)
    assert code == found["exit_code"] == 3
    assert found["status"] == "gate_failed"
    assert found["bundle"] is None
    verdict = {"metric": "cosine", "limit": "max", "threshold": 0.5, "value": 1.0, "passed": False}
    assert found["gates"] == [{**verdict, "significance": None, "evidence": "", "warning": ""}]
    assert found["metrics"]["cosine"]["value"] == 1.0
    assert found["error"]["kind"] == "GateError"


def test_a_gate_on_real_accuracy_decides_by_it(warm_workspace: Workspace) -> None:
    warm_workspace.copy("mnist")
    warm_workspace.edit("mnist", {"validation.gates.top1": {"min": 0.9999}})
    report = warm_workspace.build("recipe=mnist")
    assert report.exit_code == 3
    assert report.error is not None
    assert "top1: 0.99" in report.error.message
    assert warm_workspace.ran(report) == set()
