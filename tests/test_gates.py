"""A gate that fails packages nothing: exit code 3, the numbers are shown, and the bundle there before is untouched."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError, ExitCode, GateError
from mlkit_build.gates import judge
from mlkit_build.metrics import Measurement, PairedTest
from mlkit_build.recipe import Gate
from tests.conftest import Workspace
from tests.promises.conftest import Command, command, snapshot  # noqa: F401 - a fixture
from tests.report.test_page import Reader

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
    assert caught.value.message.endswith("to the output that metrics read, which has no class scores [1, C]")


@given(value=FINITE, low=FINITE, high=FINITE)
def test_min_and_max_hold_exactly_inside_the_interval(value: float, low: float, high: float) -> None:
    verdicts = judge({"v": Gate(min=low, max=high)}, {"v": Measurement(value)})
    assert all(verdict.passed for verdict in verdicts) == (low <= value <= high)


@pytest.mark.parametrize(
    ("name", "gate", "found", "said"),
    [
        ("top1", Gate(min=0.99), Measurement(0.5), "top1: 0.5, expected at least 0.99"),
        (
            "top1",
            Gate(max_drop=0.01),
            Measurement(0.776, 0.96),
            "top1: 0.776 is a drop of 0.184 from TensorFlow's 0.96, expected at most 0.01",
        ),
        (
            "top1",
            Gate(max_drop=0.01),
            Measurement(0.978, 0.976),
            "top1: 0.978 is a gain of 0.002 on TensorFlow's 0.976, expected a drop of at most 0.01",
        ),
        (
            "top1",
            Gate(max_drop=-0.01),
            Measurement(0.978, 0.976),
            "top1: 0.978 is a gain of 0.002 on TensorFlow's 0.976, expected a gain of at least 0.01",
        ),
        (
            "mae",
            Gate(max_drop=0.1),
            Measurement(0.5, 0.25, lower_is_better=True),
            "mae: 0.5 is a rise of 0.25 from TensorFlow's 0.25, expected at most 0.1",
        ),
        (
            "sqnr_db",
            Gate(min=30),
            Measurement(23.9795, output="value"),
            "sqnr_db: 23.9795 (of output 'value'), expected at least 30",
        ),
        (
            "log_loss",
            Gate(max_regression=0.01),
            Measurement(0.705105, lower_is_better=True),
            "log_loss: 0.705105 is a regression of 0.533649 from the baseline's 0.171456, expected at most 0.01",
        ),
        (
            "size_bytes",
            Gate(max_regression=0),
            Measurement(1_234_567, lower_is_better=True),
            "size_bytes: 1234567, as the baseline's, expected a regression of at most 0",
        ),
    ],
)
def test_a_verdict_reads_as_a_sentence_about_the_value(name: str, gate: Gate, found: Measurement, said: str) -> None:
    (verdict,) = judge({name: gate}, {name: found}, {"log_loss": 0.171456, "size_bytes": 1_234_567})
    assert verdict.told(found) == said


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
    assert workspace.ran(report) == {"package", "readme", "latency"}


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
    assert warm_workspace.ran(report) == {
        "suspect"
    }  # nothing is measured again; TensorFlow fails, too, so a reason is looked for


def test_a_drop_that_may_be_chance_passes_where_the_gate_asks_for_significance() -> None:
    found = {"top1": Measurement.share(900, 1000, 905, lost=18)}
    gates = {"top1": Gate(max_drop=0.001), "other": Gate(max_drop=0.001, significance=0.05)}
    plain, tested = judge(gates, {"top1": found["top1"], "other": found["top1"]})
    assert (plain.passed, tested.passed) == (False, True)
    certain = judge({"top1": Gate(max_drop=0.001, significance=0.05)}, {"top1": Measurement.share(875, 1000, 905, lost=31)})
    assert not certain[0].passed
    assert certain[0].evidence == "3.00 points worse, 32 samples changed, p = 7.9e-09"  # (2 * (1 + 32) - 32) / 2**32


def test_a_change_that_chance_cannot_explain_is_not_told_to_have_the_probability_0() -> None:
    found = Measurement.share(0, 50_000, 50_000, lost=50_000)
    assert found.paired is not None
    assert found.paired.p_value == 0
    (verdict,) = judge({"top1": Gate(max_drop=0.001, significance=0.05)}, {"top1": found})
    assert verdict.evidence == "100.00 points worse, 50,000 samples changed, p < 1e-16"


def test_a_significant_drop_within_the_limit_passes() -> None:
    found = Measurement.share(9970, 10_000, 10_000, lost=30)
    assert found.paired is not None
    assert found.paired.p_value < 1e-6
    assert judge({"top1": Gate(max_drop=0.003, significance=0.05)}, {"top1": found})[0].passed


def test_a_regression_is_measured_against_the_baseline_and_may_be_a_rise() -> None:
    gates = {"top1": Gate(max_regression=0.01), "size_bytes": Gate(max_regression=100.0), "mae": Gate(max_regression=0.1)}
    metrics = {
        "top1": Measurement(0.9),
        "size_bytes": Measurement(1200, lower_is_better=True),
        "mae": Measurement(0.2, lower_is_better=True),
    }
    verdicts = judge(gates, metrics, {"top1": 0.905, "size_bytes": 1000, "mae": 0.5})
    assert [(verdict.value, verdict.passed) for verdict in verdicts] == [(0.005, True), (200, False), (-0.3, True)]
    assert [verdict.told(metrics[verdict.metric]) for verdict in verdicts] == [
        "top1: 0.9 is a regression of 0.005 from the baseline's 0.905, expected at most 0.01",
        "size_bytes: 1200 is a regression of 200 from the baseline's 1000, expected at most 100",
        "mae: 0.2 is a gain of 0.3 on the baseline's 0.5, expected a regression of at most 0.1",
    ]


def test_a_baseline_that_lacks_the_value_is_named_with_what_it_has() -> None:
    with pytest.raises(ConfigError, match=r"gates\.top1\.max_regression: the baseline did not measure it; it has size_bytes"):
        judge({"top1": Gate(max_regression=0.01)}, {"top1": Measurement(0.9)}, {"size_bytes": 1000})


@pytest.mark.parametrize(
    ("samples", "gate", "warned"),
    [
        (100, Gate(max_drop=0.003), "about 17,000 samples would do"),
        (20_000, Gate(max_drop=0.003), ""),
        (100, Gate(min=0.88), "chance alone moves the value by"),
        (100, Gate(min=0.5), ""),
        (100, Gate(max_drop=0.0), ""),
        (100, Gate(max_regression=0.01), "the gate allows 1.00 points"),
    ],
)
def test_a_dataset_too_small_for_its_gate_is_told(samples: int, gate: Gate, warned: str) -> None:
    found = {"top1": Measurement.share(samples * 9 // 10, samples, samples * 9 // 10, lost=samples // 100)}
    (verdict,) = judge({"top1": gate}, found, {"top1": 0.9})
    assert (warned in verdict.warning) if warned else verdict.warning == ""
    assert verdict.passed


@given(st.integers(50, 5000), st.integers(0, 40), st.integers(0, 40), st.floats(0.001, 0.2))
def test_as_many_samples_as_the_warning_asks_for_are_enough(samples: int, lost: int, gained: int, limit: float) -> None:
    right = samples - gained
    found = Measurement.share(right - lost + gained, samples, right, lost)
    (verdict,) = judge({"top1": Gate(max_drop=limit)}, {"top1": found})
    asked = re.search(r"about ([\d,]+) samples", verdict.warning)
    if asked:  # give or take what whole samples round
        factor = int(asked[1].replace(",", "")) / samples
        counts = [round(factor * count) for count in (lost, gained, samples)]
        more = Measurement(found.value, found.reference, paired=PairedTest.of(*counts))
        assert "would do" not in judge({"top1": Gate(max_drop=limit * 1.15)}, {"top1": more})[0].warning


METRIC = """
class Wrong:
    def __init__(self): self.wrong = self.count = 0
    def update(self, outputs, reference, labels):
        self.wrong += int((outputs.argmax(1) != labels).sum()); self.count += len(labels)
    def result(self): return {"wrong": self.wrong / self.count}
def build(): return Wrong()
"""


def test_a_recipes_own_metric_is_gated_and_a_change_of_its_code_is_noticed(warm_workspace: Workspace) -> None:
    folder = warm_workspace.copy("mnist")
    (folder / "metric.py").write_text(METRIC)
    own = {"python": {"function": "metric.py:build", "lower_is_better": ["wrong"]}}
    changes = {"validation.metrics": ["top1", own], "validation.gates.wrong": {"max": 0.02}}
    warm_workspace.edit("mnist", changes)
    report = warm_workspace.build("recipe=mnist")
    assert report.exit_code == 0, report.error
    assert report.metrics is not None
    assert report.metrics["wrong"].value == pytest.approx(1 - report.metrics["top1"].value)
    assert warm_workspace.ran(report) == {"evaluate", "package", "readme"}
    assert warm_workspace.ran(warm_workspace.build("recipe=mnist")) == set()
    (folder / "metric.py").write_text(METRIC.replace("/ self.count", "/ self.count + 1"))
    report = warm_workspace.build("recipe=mnist")
    assert report.exit_code == 3
    assert "evaluate" in warm_workspace.ran(report)
    warm_workspace.edit("mnist", {"validation.gates.wrong": None, "validation.gates.wrongs": {"max": 0.02}})
    report = warm_workspace.build("recipe=mnist")
    assert report.exit_code == 3
    assert report.error is not None
    assert report.error.message.startswith("validation.gates.wrongs: not measured")


def test_what_is_no_number_is_in_the_bundle_and_on_its_page_by_the_names_of_the_labels(warm_workspace: Workspace) -> None:
    warm_workspace.copy("mnist")
    metrics = [
        "top1",
        {"top_k": {"k": 3}},
        "per_class",
        "confusion_matrix",
        "roc_auc",
        "log_loss",
        {"calibration_error": {"bins": 5}},
    ]
    warm_workspace.edit("mnist", {"validation.metrics": metrics, "validation.gates.top3": {"min": 0.99, "max_drop": 0.01}})
    report = warm_workspace.build("recipe=mnist")
    assert report.exit_code == 0, report.error
    assert report.bundle is not None
    tables = json.loads((report.bundle / "tables.json").read_bytes())
    assert list(tables) == ["per_class", "confusion_matrix", "roc_curve", "reliability"]
    assert sum(count for _, _, count in tables["confusion_matrix"]["rows"]) == 10_000
    manifest = json.loads((report.bundle / "manifest.json").read_bytes())
    assert "tables.json" in [entry["path"] for entry in manifest["outputs"]]
    assert manifest["metrics"]["top1"]["interval"][0] < manifest["metrics"]["top1"]["value"]
    assert manifest["metrics"]["top1"]["paired"]["samples"] == 10_000
    page = (report.bundle / "report.html").read_text(encoding="utf-8")
    for text in (
        "Confusion matrix",
        "ROC curve",
        "<polyline",
        '<text x="50" y="106.5">0.5</text>',
        "Reliability",
        "95% interval",
        "samples changed, p = ",
    ):
        assert text in page
    assert Reader(page).open == []
    again = warm_workspace.build("recipe=mnist", "cache.enabled=false", "output_dir=again")
    assert again.bundle is not None
    for name in ("tables.json", "report.html", "manifest.json"):
        assert (again.bundle / name).read_bytes() == (report.bundle / name).read_bytes()


def test_a_baseline_is_compared_with_and_is_one_of_the_inputs(workspace: Workspace) -> None:
    folder = workspace.copy("add_one")
    first = workspace.build("recipe=add_one")
    assert first.bundle is not None
    shutil.copyfile(first.bundle / "manifest.json", folder / "baseline.json")
    gates = {"size_bytes": {"max_regression": 0}, "max_abs_error": {"max_regression": 0}}
    workspace.edit("add_one", {"validation.gates": gates, "validation.baseline": "baseline.json"})
    report = workspace.build("recipe=add_one")
    assert report.exit_code == 0, report.error
    assert [(verdict.limit, verdict.value) for verdict in report.gates] == [("max_regression", 0), ("max_regression", 0)]
    assert report.bundle is not None
    manifest = json.loads((report.bundle / "manifest.json").read_bytes())
    sizes = {name: manifest["metrics"][name]["value"] for name in ("size_bytes", "arena_bytes")}
    assert all(type(value) is int for value in sizes.values()), sizes
    assert [type(gate["threshold"]) for gate in manifest["gates"]] == [int, float]
    assert "baseline.json" in [entry["path"] for entry in manifest["inputs"]]
    assert workspace.build("recipe=add_one").status == "unchanged"
    smaller = json.loads((folder / "baseline.json").read_bytes())
    smaller["metrics"]["size_bytes"]["value"] -= 1
    (folder / "baseline.json").write_text(json.dumps(smaller))
    report = workspace.build("recipe=add_one")
    assert report.exit_code == 3
    size = report.size_bytes
    assert f"size_bytes: {size} is a regression of 1 from the baseline's {size - 1}, expected at most 0" in str(report.error)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("no json", "expected a manifest.json, found something else"),
        ('{"schema": "other"}', "expected the schema mlkit-build/manifest/v1, found 'other'"),
        ('{"schema": "mlkit-build/manifest/v9", "name": "add_one", "metrics": {}}', "found 'mlkit-build/manifest/v9'"),
        ("[]", "expected the schema mlkit-build/manifest/v1, found []"),
        (
            '{"schema": "mlkit-build/manifest/v1", "name": "mnist"}',
            "expected a bundle of the recipe 'add_one', found one of 'mnist'",
        ),
        ('{"schema": "mlkit-build/manifest/v1", "name": "add_one", "metrics": 3}', "damaged: no measured values in it"),
    ],
)
def test_a_baseline_that_is_none_is_refused_before_anything_runs(workspace: Workspace, content: str, expected: str) -> None:
    folder = workspace.copy("add_one")
    (folder / "baseline.json").write_text(content)
    workspace.edit("add_one", {"validation.baseline": "baseline.json"})
    report = workspace.build("recipe=add_one")
    assert report.exit_code == 2
    assert report.error is not None
    assert report.error.message.startswith(f"validation.baseline: {folder / 'baseline.json'}: ")
    assert expected in report.error.message
    assert report.actions == ()


def test_a_baseline_that_was_measured_before_the_samples_changed_is_warned_of(
    workspace: Workspace,
    command: Command,  # noqa: F811
) -> None:
    folder = workspace.copy("add_one")
    workspace.edit("add_one", {"validation.gates": {"size_bytes": {"max_regression": 0}}, "validation.baseline": "baseline.json"})
    first = workspace.build("recipe=add_one", "validation={}")
    assert first.bundle is not None
    shutil.copyfile(first.bundle / "manifest.json", folder / "baseline.json")
    told = "was measured on other samples, data/samples.npz has changed since; max_regression may mislead"
    assert "other samples" not in command("recipe=add_one", "ui=plain")[2]
    np.savez(folder / "data" / "samples.npz", x=np.array([1, 2], np.float32))
    code, _, err = command("recipe=add_one", "ui=plain")
    assert code == 0
    assert told in err


def test_a_build_is_not_compared_with_the_bundle_that_it_replaces(workspace: Workspace) -> None:
    workspace.copy("add_one")
    first = workspace.build("recipe=add_one")
    assert first.bundle is not None
    workspace.edit("add_one", {"validation.baseline": str(first.bundle.absolute() / "manifest.json")})
    report = workspace.build("recipe=add_one")
    assert report.exit_code == 2
    assert "which this build replaces" in str(report.error)
    assert "copy it" in str(report.error)


def test_a_small_dataset_is_warned_of_on_the_terminal_and_on_the_page(
    warm_workspace: Workspace,
    command: Command,  # noqa: F811
) -> None:
    warm_workspace.copy("mnist")
    warm_workspace.edit("mnist", {"dataset.samples": 300, "validation.gates.top1": {"max_drop": 0.002}})
    code, out, err = command("recipe=mnist", "ui=plain")
    assert code == 0, err
    assert re.search(r"warning: mnist/int8: validation\.gates\.top1\.max_drop: the dataset of 300 samples is too small", err)
    assert "95% interval" in out
    page = (warm_workspace.folder / "dist/mnist/int8/report.html").read_text(encoding="utf-8")
    assert "the dataset of 300 samples is too small" in page
