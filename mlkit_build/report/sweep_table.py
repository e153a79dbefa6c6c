"""The table at the end of a sweep, and what is said below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlkit_build.report import summary

if TYPE_CHECKING:
    from mlkit_build.sweep.outcome import Choice, Outcome, Quality, Row

FRONT = "*"


def header(outcome: Outcome) -> tuple[str, ...]:
    """Return the titles of the columns."""
    metrics = [row.quality.metric for row in outcome.rows if row.quality]
    quality = summary.TITLES.get(metrics[0], metrics[0]) if len(set(metrics)) == 1 else "quality"
    drop = ("drop",) if _referred(outcome) else ()
    latency = ("latency",) if _timed(outcome) else ()
    why = ("why",) if _failed(outcome) else ()
    return ("recipe", "variant", "status", quality, *drop, "size", *latency, "front", *why)


def rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return the cells of every job, in the order of the sweep: failed ones too."""
    mixed = len({row.quality.metric for row in outcome.rows if row.quality}) > 1
    return [_cells(row, mixed, _referred(outcome), _timed(outcome), _failed(outcome)) for row in outcome.rows]


def notes(outcome: Outcome) -> list[tuple[str, str]]:
    """Return (title, text) of what stands below the table."""
    found = [("selected", selected(choice)) for choice in outcome.choices]
    if any(row.pareto for row in outcome.rows):
        meaning = "no other variant of the recipe that passes is as small and as good, and better in one of the two"
        found.insert(0, (f"front {FRONT}", meaning))
    if outcome.folder is not None:
        found.append(("summary", summary.shown_path(outcome.folder / "summary.html")))
    return found


def selected(choice: Choice, place: str = "") -> str:
    """Return what `select=` came to for a recipe; `place` is how to call the bundle, its path when left out."""
    by = choice.by.replace("_", " ")
    if choice.variant is None:
        return f"{choice.recipe}: none, since no variant passes every gate; the earlier selection, if any, is untouched"
    if choice.error is not None or choice.place is None:
        return f"{choice.recipe}/{choice.variant}, the {by}, but it could not be published"
    return f"{choice.recipe}/{choice.variant}, the {by}, as {place or summary.shown_path(choice.place)}"


def quality_text(quality: Quality | None, named: bool = False) -> str:
    """Return the value, with its name where the column does not say it."""
    if quality is None:
        return ""
    text = summary.number(quality.metric, quality.found.value)
    return f"{text} {summary.TITLES.get(quality.metric, quality.metric)}" if named else text


def drop_text(quality: Quality | None) -> str:
    """Return how far the value lies below TensorFlow's."""
    drop = quality.found.drop if quality else None
    return summary.difference(quality.metric, drop) if quality and drop is not None else ""


def _cells(row: Row, mixed: bool, referred: bool, timed: bool, failed: bool) -> tuple[str, ...]:
    report = row.report
    latency = () if not timed else ("" if row.latency_ms is None else f"{row.latency_ms:.3g} ms",)
    return (
        report.recipe or "(none)",
        report.variant,
        summary.result(report),
        quality_text(row.quality, mixed),
        *((drop_text(row.quality),) if referred else ()),
        summary.size(report.size_bytes) if report.size_bytes else "",
        *latency,
        FRONT if row.pareto else "",
        *((summary.reason(report),) if failed else ()),
    )


def _referred(outcome: Outcome) -> bool:
    return any(drop_text(row.quality) for row in outcome.rows)


def _failed(outcome: Outcome) -> bool:
    return any(row.report.error for row in outcome.rows)


def _timed(outcome: Outcome) -> bool:
    return any(row.latency_ms is not None for row in outcome.rows)


def aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines with columns of equal width."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
