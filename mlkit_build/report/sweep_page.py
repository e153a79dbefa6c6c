"""`summary.html`: a sweep on one self-contained page, the same bytes for the same outcome."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlkit_build.report import plot, summary, sweep_table
from mlkit_build.report.rendering import template
from mlkit_build.tflite import FLEX
from mlkit_build.timing import METRIC as LATENCY

if TYPE_CHECKING:
    from mlkit_build.sweep.outcome import Choice, Outcome, Row


def render(outcome: Outcome, folder: Path) -> str:
    """Return the page, which lies in `folder`: links to the bundles are relative."""
    chosen = {(choice.recipe, choice.variant) for choice in outcome.choices if choice.place}
    return template("sweep.html", trims=True).render(
        parts=[_part(name, rows, chosen, folder) for name, rows in outcome.recipes.items()],
        selected=[(sweep_table.selected(choice, _place(choice)), choice.place is not None) for choice in outcome.choices],
        jobs=len(outcome.rows),
        passed=sum(row.passed for row in outcome.rows),
        id=outcome.id,
        size=plot,
    )


def _place(choice: Choice) -> str:
    return f"{choice.recipe}/{choice.place.name}" if choice.place else ""


def _part(name: str, rows: list[Row], chosen: set[tuple[str, str | None]], folder: Path) -> dict[str, Any]:
    """Return what the page says of one recipe."""
    measured = dict.fromkeys(metric for row in rows for metric in row.report.metrics or {} if not metric.startswith(FLEX))
    metrics = [metric for metric in measured if metric != "size_bytes"]
    drops = [metric for metric in metrics if any(_drop(row, metric) for row in rows)]
    return {
        "name": name or "(no recipe)",
        "plot": plot.plot(rows),
        "metrics": [(metric, summary.TITLES.get(metric, metric)) for metric in metrics],
        "drops": drops,
        "timed": any(row.latency_ms is not None for row in rows),
        "rows": [
            {
                "variant": row.report.variant,
                "overrides": " ".join(item for item in row.overrides if not item.startswith(("recipe=", "select="))),
                "link": _link(row.report.bundle, folder),
                "status": "passed" if row.passed else summary.result(row.report),
                "passed": row.passed,
                "pareto": row.pareto,
                "selected": (name, row.report.variant) in chosen,
                "size": summary.size(row.report.size_bytes) if row.report.size_bytes else "",
                "latency": "" if row.latency_ms is None else summary.number(LATENCY, row.latency_ms),
                "values": {metric: _value(row, metric) for metric in metrics},
                "drop": {metric: _drop(row, metric) for metric in drops},
                "error": summary.error_lines(row.report.error)[:2] if row.report.error else [],
            }
            for row in rows
        ],
    }


def _link(bundle: Path | None, folder: Path) -> str:
    return quote(Path(os.path.relpath(bundle / "report.html", folder)).as_posix()) if bundle else ""


def _value(row: Row, metric: str) -> str:
    found = (row.report.metrics or {}).get(metric)
    return summary.number(metric, found.value) if found else ""


def _drop(row: Row, metric: str) -> str:
    found = (row.report.metrics or {}).get(metric)
    return summary.difference(metric, found.drop) if found and found.drop is not None else ""
