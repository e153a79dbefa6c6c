"""What was measured of one job, as the HTML table that a notebook shows."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from mlkit_build.job import JobReport
from mlkit_build.metrics import Measurement
from mlkit_build.report import summary

_COLORS = {True: "#1a7f37", False: "#cf222e"}


def html_table(report: JobReport) -> str:
    """Return what was measured, a row for each value, and what was not."""
    metrics = report.metrics or {}
    head, rows = ["Measured", "Shipped", "TensorFlow", "Gates"], [_cells(report, name, found) for name, found in metrics.items()]
    shown = [column for column in range(len(head)) if any(row[column] for row in rows)]
    table = "".join(_row(tag, [row[column] for column in shown]) for tag, row in _tagged(head, rows))
    missing = summary.not_measured(metrics) if metrics else ""
    note = f'<p style="color:{_COLORS[False]}">{escape(missing)}</p>' if missing else ""
    return f"<table>{table}</table>{note}"


def _cells(report: JobReport, name: str, found: Measurement) -> list[str]:
    """Return the cells of one measured value, as HTML."""
    gates = [
        f'<span style="color:{_COLORS[verdict.passed]}">{escape(summary.verdict_text(verdict))}</span>'
        for verdict in report.gates
        if verdict.metric == name
    ]
    reference = "" if found.reference is None else summary.number(name, found.reference)
    texts = (summary.TITLES.get(name, name), summary.value_text(name, found), reference)
    return [*map(escape, texts), "<br>".join(gates)]


def _tagged(head: list[str], rows: list[list[str]]) -> Iterator[tuple[str, list[str]]]:
    yield "th", head
    yield from (("td", row) for row in rows)


def _row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f'<{tag} style="text-align:left">{cell}</{tag}>' for cell in cells) + "</tr>"
