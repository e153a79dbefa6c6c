"""Verdicts as the Markdown that GitHub shows on the page of a workflow's run: a row per job, and the values of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlkit_build.gates import interval_text
from mlkit_build.report import summary

if TYPE_CHECKING:
    from mlkit_build.job import JobReport

_SPECIAL = re.compile(r"([\\`*_{}\[\]#~|])")


def github_summary(reports: Sequence[JobReport]) -> str:
    """Return the section of all jobs, in their order; it ends with an empty line."""
    failed = sum(report.exit_code != 0 for report in reports)
    count = f"{len(reports)} {'build' if len(reports) == 1 else 'builds'}"
    lines = [f"### mlkit-build: {f'{failed} of {count} failed' if failed else f'{count} passed'}", ""]
    rows = [
        [
            summary.job_name(report),
            f"{'❌' if report.exit_code else '✅'} {summary.result(report)}",
            summary.size(report.size_bytes) if report.size_bytes else "",
            ", ".join(f"{verdict.metric}: {summary.verdict_text(verdict)}" for verdict in report.gates),
            "\n".join(filter(None, (report.error.message, report.error.hint))) if report.error else "",
        ]
        for report in reports
    ]
    lines += [*_table(["build", "result", "size", "gates", "error"], rows), ""]
    for report in reports:
        if report.metrics:
            lines += [f"<details><summary>{_escaped(summary.job_name(report))}</summary>", ""]
            lines += [*_values(report), "", "</details>", ""]
    return "\n".join([*lines, ""])


def _values(report: JobReport) -> list[str]:
    rows = []
    for name, found in (report.metrics or {}).items():
        gates = [
            summary.verdict_text(verdict) + (f" ({verdict.evidence})" if verdict.evidence else "")
            for verdict in report.gates
            if verdict.metric == name
        ]
        interval = interval_text(name, found.interval) if found.interval else ""
        value, compared = summary.value_text(name, found), summary.comparison_text(name, found)
        rows.append([summary.title(name), value, interval, compared, "; ".join(gates)])
    rows += [[verdict.runtime, "", "", "", summary.runtime_text(verdict)] for verdict in report.runtimes]
    return _table(["value", "shipped", "interval", "against TensorFlow", "gates"], rows)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    shown = [column for column in range(len(head)) if any(row[column] for row in rows)]
    lines = [[head[column] for column in shown], ["---"] * len(shown)]
    lines += [[_escaped(row[column]) for column in shown] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _escaped(text: str) -> str:
    """Return `text` as Markdown shows it word for word, within a cell."""
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(char, entity)
    return "<br>".join(_SPECIAL.sub(r"\\\1", line) for line in text.splitlines())
