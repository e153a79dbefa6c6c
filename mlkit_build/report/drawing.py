"""The tables of a bundle's page: rows, a shaded matrix, or curves as SVG, with classes by their labels."""

from __future__ import annotations

from typing import Any

from mlkit_build.metrics import Table
from mlkit_build.records import dataclass

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
TICKS = ((0, "0"), (50, "0.5"), (100, "1"))
"""How far along an axis of a curve, of 100, and the number there: both axes are shares."""
_CLASSES = ("class", "label", "predicted")
"""Columns that hold class indices."""


@dataclass(frozen=True)
class Cell:
    """A cell, and how dark it is: 0 to 0.7, as CSS spells it; empty for none."""

    text: str
    shade: str = ""


@dataclass(frozen=True)
class Curve:
    """A line in a square of 100 by 100, y downwards."""

    name: str
    points: str
    colour: str


@dataclass(frozen=True)
class Drawing:
    """A table, ready for the page."""

    title: str
    form: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    curves: tuple[Curve, ...] = ()
    x: str = ""
    y: str = ""


def drawn(table: Table, labels: tuple[str, ...]) -> Drawing:
    """Return the table as it is drawn.

    Args:
        labels: The classes' names; none shows their indices.
    """
    draw = {"matrix": _matrix, "curve": _curves}.get(table.form, _rows)
    return draw(table, labels)


def _rows(table: Table, labels: tuple[str, ...]) -> Drawing:
    named = [column in _CLASSES for column in table.columns]
    rows = tuple(
        tuple(Cell(_class(value, labels) if is_class else _text(value)) for value, is_class in zip(row, named, strict=True))
        for row in table.rows
    )
    return Drawing(table.title, table.form, table.columns, rows)


def _matrix(table: Table, labels: tuple[str, ...]) -> Drawing:
    cells = {(row, column): value for row, column, value in table.rows}
    indices = sorted({index for place in cells for index in place})
    totals = {row: max(1, sum(cells.get((row, column), 0) for column in indices)) for row in indices}

    def cell(row: int, column: int) -> Cell:
        value = cells.get((row, column), 0)
        return Cell(_text(value), f"{0.7 * min(1.0, value / totals[row]):.2f}") if value else Cell("")

    rows = tuple((Cell(_class(row, labels)), *(cell(row, column) for column in indices)) for row in indices)
    head = (f"{table.columns[0]} \\ {table.columns[1]}", *(_class(index, labels) for index in indices))
    return Drawing(table.title, table.form, head, rows)


def _curves(table: Table, labels: tuple[str, ...]) -> Drawing:
    lines: dict[Any, list[str]] = {}
    for series, x, y in table.rows:
        lines.setdefault(series, []).append(f"{100 * x:.1f},{100 - 100 * y:.1f}")
    curves = tuple(
        Curve(_class(series, labels), " ".join(points), COLOURS[index % len(COLOURS)])
        for index, (series, points) in enumerate(lines.items())
    )
    return Drawing(table.title, table.form, curves=curves, x=table.columns[1], y=table.columns[2])


def _class(index: Any, labels: tuple[str, ...]) -> str:
    return labels[index] if isinstance(index, int) and index < len(labels) else str(index)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
