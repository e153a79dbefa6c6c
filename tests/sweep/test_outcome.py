"""Which rows of a sweep are worth a look, and what the table, the plot and the summary make of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError, ExitCode
from mlkit_build.job import JobReport
from mlkit_build.metrics import Measurement
from mlkit_build.report import plot, sweep_table
from mlkit_build.report.sweep_page import render
from mlkit_build.sweep import summary
from mlkit_build.sweep.outcome import Choice, Outcome, Row, compared
from mlkit_build.sweep.selection import select
from mlkit_build.timing import Timing


def job(
    variant: str, size: int | None, code: ExitCode = ExitCode.OK, latency_ms: float | None = None, **metrics: float
) -> tuple[tuple[str, ...], JobReport]:
    timing = Timing(latency_ms, 2, 0.5, 3, 50, 5, 1, "xnnpack", 1000, "a machine, 2 cores") if latency_ms else None
    measured = {name: Measurement(value, 0.9 if name == "top1" else None) for name, value in metrics.items()}
    status = "built" if code == ExitCode.OK else "gate_failed"
    place = Path("dist/net", variant)
    return (f"variant={variant}",), JobReport("net", variant, status, code, place, size, measured, latency=timing)


JOBS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 4), st.sampled_from([ExitCode.OK, ExitCode.GATE])), min_size=1, max_size=9
)


def rows_of(found: list[tuple[int, int, ExitCode]], metric: str) -> tuple[Row, ...]:
    return compared([job(str(n), size, code, **{metric: value / 4}) for n, (size, value, code) in enumerate(found)])


def beats(one: Row, other: Row, sign: int) -> bool:
    assert one.report.size_bytes is not None
    assert other.report.size_bytes is not None
    assert one.quality is not None
    assert other.quality is not None
    size = one.report.size_bytes - other.report.size_bytes
    loss = sign * (other.quality.found.value - one.quality.found.value)
    return size <= 0 and loss <= 0 and (size < 0 or loss < 0)


@given(JOBS, st.sampled_from([("top1", 1), ("max_abs_error", -1)]))
def test_the_front_is_what_passes_and_nothing_that_passes_beats(
    found: list[tuple[int, int, ExitCode]], measure: tuple[str, int]
) -> None:
    rows = rows_of(found, measure[0])
    passing = [row for row in rows if row.passed]
    assert [row for row in rows if row.pareto] == [
        row for row in passing if not any(beats(other, row, measure[1]) for other in passing)
    ]
    assert any(row.pareto for row in rows) == bool(passing)


def test_accuracy_comes_before_parity_and_the_variants_of_a_recipe_are_compared_by_one_value() -> None:
    rows = compared([job("a", 1, top1=0.5, max_abs_error=0.1), job("b", 1, max_abs_error=0.2), job("c", None)])
    assert [row.quality.metric if row.quality else None for row in rows] == ["top1", None, None]
    rows = compared([job("a", 1, max_abs_error=0.1), job("b", 1, max_abs_error=0.2)])
    assert [row.pareto for row in rows] == [True, False]


@given(JOBS)
def test_every_point_lies_in_the_plot_and_no_two_names_on_each_other(found: list[tuple[int, int, ExitCode]]) -> None:
    drawn = plot.plot(rows_of(found, "top1"))
    assert (drawn is None) == (len(found) < 2)
    if drawn is None:
        return
    assert len(drawn.points) == len(found)
    assert all(plot.LEFT <= point.x <= plot.WIDTH - plot.RIGHT for point in drawn.points)
    assert all(plot.TOP <= point.y <= plot.HEIGHT - plot.BOTTOM for point in drawn.points)
    assert len({tick.text for tick in drawn.y_ticks}) == len(drawn.y_ticks) >= 2
    boxes = [plot._box(point.label, point.label_x, point.label_y, point.anchor) for point in drawn.points if point.label]
    assert not any(plot._meets(one, other) for n, one in enumerate(boxes) for other in boxes[:n])


def test_points_that_cover_one_another_have_one_label_beside_them() -> None:
    close = [job("a", 1000, top1=0.9), job("b", 1000, top1=0.9), job("c", 1001, top1=0.9), job("far", 5000, top1=0.95)]
    drawn = plot.plot(compared(close))
    assert drawn is not None
    assert sorted(point.label for point in drawn.points if point.label) == ["a, b, c", "far"]
    drawn = plot.plot(compared([*close, job("d", 1002, top1=0.9), job("e", 1003, top1=0.9)]))
    assert drawn is not None
    assert sorted(point.label for point in drawn.points if point.label) == ["a, b and 3 more", "far"]


def test_no_axis_goes_beyond_all() -> None:
    drawn = plot.plot(compared([job("a", 1, top1=0.99), job("b", 2, top1=0.99)]))
    assert drawn is not None
    assert drawn.y_ticks[-1].text == "100%"


def test_lower_errors_are_drawn_higher() -> None:
    drawn = plot.plot(compared([job("good", 1, max_abs_error=0.1), job("bad", 2, max_abs_error=0.2)]))
    assert drawn is not None
    good, bad = sorted(drawn.points, key=lambda point: point.text, reverse=True)
    assert good.text.startswith("good")
    assert good.y < bad.y


def test_the_table_shows_latency_where_it_was_measured() -> None:
    without = Outcome("0", compared([job("a", 1, top1=0.5)]))
    timed = Outcome("0", compared([job("a", 1, top1=0.5, latency_ms=1.25), job("b", 2, top1=0.5)]))
    assert "latency" not in sweep_table.header(without)
    at = sweep_table.header(timed).index("latency")
    assert [row[at] for row in sweep_table.rows(timed)] == ["1.25 ms", ""]


def test_the_fastest_is_chosen_by_latency(tmp_path: Path) -> None:
    rows = compared([job("a", 1, top1=0.9, latency_ms=2.0), job("b", 2, top1=0.5, latency_ms=1.0), job("c", 1)])
    assert select("fastest", "net", rows).variant == "b"
    assert select("most_accurate", "net", rows).variant == "a"
    assert select("fastest", "net", compared([job("c", 1)])).variant is None


def outcome() -> Outcome:
    failed = JobReport("<net>", "<x>", "config_error", ExitCode.CONFIG, error=ConfigError("a <b> & c", "do <d>"))
    rows = compared([job("a", 100, top1=0.5), job("b", 200, ExitCode.GATE, top1=0.7), (("variant=<x>",), failed)])
    return Outcome("ab12", rows, (Choice("net", "smallest", "a", Path("dist/net/best")),), 1e9, 2.5)


def test_the_page_escapes_what_users_wrote(tmp_path: Path) -> None:
    page = render(outcome(), tmp_path)
    assert "a &lt;b&gt; &amp; c" in page
    assert "<b>" not in page
    assert "<x>" not in page


def test_only_the_part_called_run_knows_of_time() -> None:
    found = summary.as_json(outcome(), Path("dist"))
    text = json.dumps({**found, "run": None})
    assert found["run"]["started"] == "2001-09-09T01:46:40+00:00"
    assert "seconds" not in text
    assert "started" not in text
    assert "status" not in text
    assert [item["bundle"] for item in found["jobs"]] == ["net/a", "net/b", None]


def test_latest_is_a_link_that_the_next_sweep_replaces(tmp_path: Path) -> None:
    summary.write(outcome(), tmp_path)
    other = Outcome("cd34", outcome().rows)
    summary.write(other, tmp_path)
    assert (tmp_path / "latest").readlink() == Path("cd34")
    assert json.loads((tmp_path / "latest/summary.json").read_bytes())["id"] == "cd34"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ab12", "cd34", "latest"]


def test_latest_is_a_text_where_links_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    summary.write(outcome(), tmp_path)
    assert (tmp_path / "latest").read_text() == "ab12\n"


def test_a_write_that_fails_leaves_the_summary_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = summary.write(outcome(), tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        summary.write(Outcome("ab12", ()), tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
