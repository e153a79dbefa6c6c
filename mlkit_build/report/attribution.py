"""Where accuracy went, for people: lines for a terminal, and a self-contained page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlkit_build.metrics import samples_text
from mlkit_build.quantization.attribution import Attribution, OperatorError, Trial
from mlkit_build.recipe import Recipe, Rule
from mlkit_build.records import dataclass
from mlkit_build.report.rendering import template
from mlkit_build.report.summary import number, size

_LISTED = 20
"""Operators in the terminal; the page and the JSON have all of them."""
_NAME_WIDTH = 34
_CALLS = re.compile(r"^((Stateful)?PartitionedCall(_\d+)?/)+")


def lines(name: str, found: Attribution) -> list[str]:
    """Return the report for a terminal.

    Args:
        name: `recipe/variant`.
    """
    head = [("#", "operator", "node", "SQNR", "own", "share", "RMSE", "float range", "integers for", "left float")]
    rows = [
        (
            str(rank),
            row.operator,
            _cut(node(row)),
            decibels(row.total.sqnr_db),
            decibels(row.own.sqnr_db) if row.own else "?",
            share(row),
            f"{100 * row.total.relative_rmse:.2f}%",
            span(row.seen),
            span(row.quantized) + clipped(row),
            recovered(row.left_float),
        )
        for rank, row in enumerate(found.operators[:_LISTED], 1)
    ]
    widths = [max(len(row[column]) for row in (*head, *rows)) for column in range(len(head[0]))]
    left = (1, 2, 9)
    told = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (*head, *rows)
    ]
    hidden = len(found.operators) - len(rows)
    return [
        f"{name}: {headline(found)}",
        *(f"  output {item.name}: {output_text(item.error.sqnr_db, item.error.max_abs_error)}" for item in found.outputs),
        "",
        *told,
        *([f"and {hidden} more (--format json and --html list them)"] if hidden > 0 else []),
        "",
        "SQNR in dB: what is left of the signal after the operator (higher is better); own: what it leaves of it by itself.",
        *([_unmatched(found)] if found.unmatched else []),
        "",
        *_advice(found),
    ]


def headline(found: Attribution) -> str:
    """Return how good the model is as a whole, in one line."""
    samples = f"{samples_text(found.samples)} of the {found.samples_from}"
    agreeing = "" if found.top1_agreement is None else f", top-1 agreement {number('top1_agreement', found.top1_agreement)}"
    outputs = "outputs exact" if found.sqnr_db is None else f"outputs at {found.sqnr_db:.1f} dB"
    return f"{outputs}{agreeing} against float on {samples}; {size(found.size_bytes)}"


def output_text(sqnr_db: float | None, worst: float) -> str:
    """Return the error of one output."""
    return "exact" if sqnr_db is None else f"{sqnr_db:.1f} dB, greatest error {worst:.4g}"


def node(row: OperatorError) -> str:
    """Return the source graph's node that says most: the first in the tensor's name, and how many there are besides."""
    others = len(row.nodes) - 1
    return short((row.nodes or (row.tensor,))[0]) + (f" +{others}" if others > 0 else "")


def short(name: str) -> str:
    """Return a node's name without the calls that every SavedModel puts around its nodes."""
    return _CALLS.sub("", name) or name


def decibels(value: float | None) -> str:
    """Return an SQNR; of what is equal, that it is."""
    return "exact" if value is None else f"{round(value, 1) + 0.0:.1f}"


def share(row: OperatorError) -> str:
    """Return the operator's part of all own errors."""
    return f"{100 * row.own_share:.0f}%" if row.own is not None else "?"


def span(ends: tuple[float, ...] | None) -> str:
    """Return a range; nothing for a tensor that is floating point."""
    return "-" if ends is None else f"{ends[0]:.3g}..{ends[1]:.3g}"


def clipped(row: OperatorError) -> str:
    """Return the share of values beyond the integers, where there are any."""
    return f" ({100 * row.clipped_share:.2g}% clipped)" if row.clipped_share else ""


def recovered(trial: Trial | None) -> str:
    """Return what leaving an operator float comes to."""
    if trial is None:
        return ""
    readers = len(trial.rules) - 1
    gain = "exact" if trial.sqnr_db is None else f"{round(trial.gain_db, 1) + 0.0:+.1f} dB"
    return f"{gain}, {_cost(trial)}" + (f", with {readers} other{'s' if readers > 1 else ''}" if readers > 0 else "")


def _cost(trial: Trial) -> str:
    return f"{'+' if trial.size_bytes >= 0 else '-'}{size(abs(trial.size_bytes))}"


def rules_yaml(rules: Sequence[Rule]) -> list[str]:
    """Return the lines of a recipe that state the rules, to paste."""
    written = []
    for rule in rules:
        fields = {"operator": rule.operator, "tensor": rule.tensor and _quoted(rule.tensor), "mode": rule.mode}
        written.append("    - {" + ", ".join(f"{key}: {value}" for key, value in fields.items() if value) + "}")
    return ["quantization:", "  rules:", *written]


def step_text(trial: Trial) -> str:
    """Return what a step comes to, with all those before it."""
    agreeing = "" if trial.top1_agreement is None else f", top-1 agreement {number('top1_agreement', trial.top1_agreement)}"
    count = len(trial.rules)
    outputs = "outputs exact" if trial.sqnr_db is None else f"outputs at {trial.sqnr_db:.1f} dB ({trial.gain_db:+.1f})"
    return f"{count} operator{'s' if count > 1 else ''} left float: {outputs}{agreeing}, {_cost(trial)}"


def _advice(found: Attribution) -> list[str]:
    if not found.best:
        return [found.note]
    return [*(step_text(trial) for trial in found.best), "", "recipe.yaml:", "", *rules_yaml(found.rules)]


def _unmatched(found: Attribution) -> str:
    count = len(found.unmatched)
    named = ", ".join(found.unmatched[:3]) + (", ..." if count > 3 else "")
    return f"{count} operator{'s' if count > 1 else ''} could not be matched with the float model by name: {named}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _cut(text: str) -> str:
    return text if len(text) <= _NAME_WIDTH else f"...{text[3 - _NAME_WIDTH :]}"


@dataclass(frozen=True)
class Mark:
    """One operator in the chart: its place along the net, the height of its dot and of its bar."""

    x: float
    y: float
    bar: float
    row: OperatorError
    rank: int


_WIDTH, _HEIGHT, _BARS, _LEFT = 860.0, 150.0, 60.0, 34.0


@dataclass(frozen=True)
class Chart:
    """The signal along the net, in the order in which the model computes."""

    marks: tuple[Mark, ...]
    line: str
    ticks: tuple[tuple[float, int], ...]
    step: float
    width: float = _WIDTH
    height: float = _HEIGHT
    bars: float = _BARS
    left: float = _LEFT


def chart(found: Attribution) -> Chart:
    """Return where everything in the chart goes."""
    ranked = sorted(enumerate(found.operators, 1), key=lambda item: item[1].position)
    known = [row.total.sqnr_db for _, row in ranked if row.total.sqnr_db is not None]
    top = 10 * (int(max([*known, 10.0])) // 10 + 1)
    bottom = min(0, 10 * int(min([*known, 0.0]) // 10))
    step = (_WIDTH - _LEFT) / max(1, len(ranked))
    most = max([row.own_share for _, row in ranked], default=0.0) or 1.0

    def height(value: float) -> float:
        return round(_HEIGHT * (top - value) / (top - bottom), 1)

    marks = tuple(
        Mark(
            round(_LEFT + (index + 0.5) * step, 1),
            height(row.total.sqnr_db if row.total.sqnr_db is not None else top),
            round(_BARS * row.own_share / most, 1),
            row,
            rank,
        )
        for index, (rank, row) in enumerate(ranked)
    )
    every = 10 if top - bottom <= 60 else 20
    ticks = tuple((height(value), value) for value in range(bottom, top + 1, every))
    return Chart(marks, " ".join(f"{mark.x},{mark.y}" for mark in marks), ticks, step)


def page(recipe: Recipe, found: Attribution) -> str:
    """Return the page."""
    texts = (decibels, share, span, clipped, recovered, headline, output_text, short)
    return template("attribution.html").render(
        recipe=recipe,
        found=found,
        chart=chart(found),
        widest=max([row.own_share for row in found.operators], default=0.0) or 1.0,
        rules="\n".join(rules_yaml(found.rules)),
        cost=_cost,
        **{function.__name__: function for function in texts},
    )
