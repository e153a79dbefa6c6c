"""What people read: values with units, a headline for every outcome, a row for every job."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError, ExitCode, GateError, StageError
from mlkit_build.gates import Verdict
from mlkit_build.job import JobReport
from mlkit_build.metrics import ALWAYS, METRICS, Measurement, values_of
from mlkit_build.recipe import UI_MODES
from mlkit_build.report import summary
from mlkit_build.report.screens import Json, Plain, Quiet, Rich, screen
from mlkit_build.runtimes.verdicts import RuntimeVerdict
from mlkit_build.sweep.outcome import Outcome, compared
from mlkit_build.tflite import FLEX
from mlkit_build.timing import Timing

STATUSES = {
    "built": ExitCode.OK,
    "unchanged": ExitCode.OK,
    "gate_failed": ExitCode.GATE,
    "failed": ExitCode.STAGE_FAILED,
    "config_error": ExitCode.CONFIG,
}

METRICS_OF_A_JOB = {"size_bytes": Measurement(72400.0), "top1": Measurement(0.9947, 0.9949)}
VERDICTS = (Verdict("top1", "min", 0.999, 0.9947, False), Verdict("top1", "max_drop", 0.003, 0.0002, True))


def report(status: str = "built") -> JobReport:
    error = None if STATUSES[status] == 0 else ConfigError("labels: file [x]: wrong", "mend [it]")
    return JobReport(
        "mnist", "int8", status, STATUSES[status], Path("dist/mnist/int8"), 72400, METRICS_OF_A_JOB, VERDICTS, error=error
    )


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (72400, "72.4 kB"),
        (1_000_000, "1.0 MB"),
        (2**31, "2.1 GB"),
        (10**13, "10000.0 GB"),
    ],
)
def test_sizes_are_in_units_of_1000(size_bytes: int, text: str) -> None:
    assert summary.size(size_bytes) == text


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_greater_size_never_reads_as_a_smaller_one(one: int, other: int) -> None:
    units = ["B", "kB", "MB", "GB"]

    def rank(size_bytes: int) -> tuple[int, float]:
        amount, unit = summary.size(size_bytes).split()
        return units.index(unit), float(amount)

    assert (rank(one) <= rank(other)) or one >= other


@pytest.mark.parametrize("name", ["size_bytes", *values_of((*ALWAYS, *METRICS))])
def test_every_measured_value_has_a_title(name: str) -> None:
    assert summary.title(name) != name


def test_accuracies_are_percentages_and_their_drops_are_points() -> None:
    text = summary.metric_text("top1", METRICS_OF_A_JOB["top1"], VERDICTS)
    assert text == "99.47% (TensorFlow 99.49%, drop 0.02 points) [at least 99.90% FAILED, drop at most 0.30 points ok]"


def test_the_worst_of_several_outputs_is_named() -> None:
    assert summary.metric_text("sqnr_db", Measurement(23.9795, output="value")) == "24.0 dB (of output 'value')"


def test_a_change_for_the_better_reads_as_one_and_an_error_rises() -> None:
    assert summary.comparison_text("top1", Measurement(0.96, 0.95)) == "TensorFlow 95.00%, gain 1.00 points"
    assert summary.comparison_text("mae", Measurement(0.5, 0.25, lower_is_better=True)) == "TensorFlow 0.25, rise 0.25"
    assert [
        summary.verdict_text(Verdict("top1", "max_regression", 0.01, worse, worse <= 0.01)) for worse in (0.02, 0.0, -0.02)
    ] == [
        "regression at most 1.00 points FAILED: 2.00 points worse than the baseline",
        "regression at most 1.00 points ok: as good as the baseline",
        "regression at most 1.00 points ok: 2.00 points better than the baseline",
    ]


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_headline_that_names_the_job(status: str) -> None:
    assert summary.headline(report(status)).startswith("mnist/int8: ")


def test_what_breaks_no_gate_of_the_recipe_is_called_refused() -> None:
    def of(message: str) -> JobReport:
        return replace(report("gate_failed"), error=GateError(message, ""))

    assert summary.result(of("gate failed: size_bytes 72.4 kB [at most 10 B]")) == "gate failed"
    assert summary.result(of("validation.gates.top5: not measured")) == "gate failed"
    assert summary.result(of("package.min_runtime: the model must run in the runtime 2.14, but ...")) == "refused"
    assert "gate" not in summary.headline(of("package.min_runtime: the model must run in the runtime 2.14"))


def test_the_reason_for_a_failure_is_one_short_line() -> None:
    assert summary.reason(report("built")) == ""
    assert summary.reason(replace(report("gate_failed"), error=GateError("gate failed: size_bytes", ""))) == "size_bytes"
    long = summary.reason(replace(report("failed"), error=StageError(f"convert: {'x' * 500}\nmore", "")))
    assert len(long) == 120
    assert long.startswith("convert: xxx")
    assert long.endswith("...")


def test_the_latency_of_the_slowest_inferences_is_no_interval() -> None:
    text = summary.timing_text(Timing(1.0, 2.0, 0.5, 9.0, 10, 1, 1, "xnnpack", 0, "a processor"))
    assert text == "1 ms median, 2 ms p95 (this machine; 1 thread, xnnpack)"


def test_statuses_read_differently() -> None:
    assert len({summary.headline(report(status)) for status in STATUSES}) == len(STATUSES)


def test_json_has_every_field_of_the_report() -> None:
    found = json.loads(json.dumps(summary.as_json(report("config_error"))))
    assert set(found) == {field.name for field in fields(JobReport)}
    assert found["error"] == {"kind": "ConfigError", "message": "labels: file [x]: wrong", "hint": "mend [it]", "log": ""}
    assert found["gates"][0]["passed"] is False


@pytest.mark.parametrize("ui", UI_MODES)
def test_every_ui_mode_has_a_screen(ui: str) -> None:
    assert isinstance(screen(ui), {"plain": Plain, "json": Json, "rich": Rich, "quiet": Quiet, "auto": Plain}[ui])


@pytest.mark.parametrize("ui", ["plain", "rich", "quiet"])
@pytest.mark.parametrize("status", STATUSES)
def test_every_screen_shows_error_and_hint_word_for_word(ui: str, status: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = screen(ui)
    shown.job_started("mnist", "int8")
    shown.warning("careful [there]")
    shown.job_finished(report(status))
    shown.sweep_finished(Outcome("0a1b", compared([((), report(status))])))
    out, err = capsys.readouterr()
    assert "careful [there]" in err
    assert ("error: labels: file [x]: wrong" in err) == (STATUSES[status] != 0)
    assert ("hint: mend [it]" in err) == (STATUSES[status] != 0)
    assert ("mnist/int8" in out) == (ui != "quiet")


@pytest.mark.parametrize("ui", ["plain", "rich", "quiet"])
def test_no_screen_passes_on_what_moves_the_cursor(ui: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("dataset.path: a\x1b[2J.png:\nwrong", "mend \x9b1A")
    shown = screen(ui)
    shown.warning("b\x1b]0;\a.png is odd")
    shown.job_finished(replace(report("config_error"), error=error))
    found = "".join(capsys.readouterr())
    assert not set(found) & set("\x1b\x9b\a")
    assert r"b\x1b]0;\x07.png is odd" in found
    assert str(error) == "dataset.path: a\\x1b[2J.png:\nwrong\nhint: mend \\x9b1A", "lines remain lines"


@pytest.mark.parametrize("ui", ["plain", "rich"])
def test_values_stand_below_each_other_however_long_their_titles_are(ui: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"top1": Measurement(0.9125), "rmse": Measurement(0.1994)}
    screen(ui).job_finished(replace(report(), metrics=found, gates=()))
    lines = capsys.readouterr().out.splitlines()
    places = [line.index(value) for value in ("91.25%", "0.1994") for line in lines if value in line]
    assert len(places) == 2
    assert places[0] == places[1]


def test_a_job_without_a_dataset_says_that_nothing_was_compared() -> None:
    alone = {"size_bytes": Measurement(668.0), f"{FLEX}Erf": Measurement(1.0)}
    shown = dict(summary.lines(replace(report(), metrics=alone, gates=())))
    assert shown["accuracy"] == "not measured: the recipe has no dataset, so nothing was compared with TensorFlow"
    assert "accuracy" not in dict(summary.lines(report()))
    assert "accuracy" not in dict(summary.lines(replace(report(), metrics=None)))


def test_another_runtime_has_a_line_with_what_it_computes_or_what_is_wrong() -> None:
    metrics = {"top1": Measurement(0.994, 0.994), "max_abs_error": Measurement(0.03125), "sqnr_db": Measurement(56.5)}
    good = RuntimeVerdict("tflite_runtime 2.14", {}, 1000, True, "", None, "", metrics, ())
    bad = replace(good, passed=False, problem="refuses the model: no", metrics={}, note="2.0 was foretold")
    for found, text in (
        (
            good,
            "computes the same on 1,000 samples: top-1 accuracy 99.40% (as the newest), max absolute error 0.03125, SQNR 56.5 dB",
        ),
        (bad, "FAILED: refuses the model: no; 2.0 was foretold"),
    ):
        one = replace(report(), runtimes=(found,))
        assert ("tflite_runtime 2.14", text) in summary.lines(one)
        assert summary.as_json(one)["runtimes"][0]["problem"] == found.problem
