"""The geometry of a sweep's plot: size against quality, in the units of an SVG's view box. The template draws it.

Hand-made, since a run with nothing to do imports no plotting library, and every point carries a text that a mouse can ask for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mlkit_build.records import dataclass
from mlkit_build.report import summary, sweep_table

if TYPE_CHECKING:
    from mlkit_build.sweep.outcome import Row

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 96, 24, 20, 52
LABELLED = 24
"""With more points than this, only those on the front are named."""
_LETTER, _LINE = 7.2, 15
_COVERS = 10.0
"""Points nearer than this, twice their radius, cover one another."""
_NAMES = 3
"""At most so many of them are named in their one label; the page's table has all."""


@dataclass(frozen=True)
class Tick:
    """One mark of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """One variant.

    Attributes:
        kind: `front`, `passed` or `failed`.
        text: What it is, in full.
        label: Its name, or those of all that cover it, where there is room for it; else empty.
        label_x: Where the label is anchored.
        label_y: The label's base line.
        anchor: `start`, `middle` or `end`.
    """

    x: float
    y: float
    kind: str
    text: str
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Plot:
    """What the template draws.

    Attributes:
        title: What the vertical axis shows.
        front: The Pareto front as a path, in steps: what is reachable lies below and right of it.
    """

    title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    front: str


def plot(rows: Sequence[Row]) -> Plot | None:
    """Return the plot of one recipe's rows, or None where fewer than two have both size and quality."""
    shown = [row for row in rows if row.quality is not None and row.report.size_bytes is not None]
    if len(shown) < 2:
        return None
    metric, better_up = shown[0].quality.metric, shown[0].quality.higher_is_better  # type: ignore[union-attr]
    sizes = [float(row.report.size_bytes or 0) for row in shown]
    values = [row.quality.found.value for row in shown]  # type: ignore[union-attr]
    x_marks = _marks(0.0, max(sizes))
    y_marks = _marks(*_padded(values, math.inf if metric not in summary.SHARES else 1.0))
    x_low, x_high = 0.0, max(max(sizes) * 1.04, x_marks[-1])
    y_low, y_high = y_marks[0], y_marks[-1]

    def x_of(size: float) -> float:
        return round(LEFT + (size - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        share = (value - y_low) / (y_high - y_low)
        return round(TOP + (1 - share if better_up else share) * (HEIGHT - TOP - BOTTOM), 1)

    places = [(x_of(size), y_of(value)) for size, value in zip(sizes, values, strict=True)]
    arrow = "higher" if better_up else "lower"
    return Plot(
        title=f"{summary.TITLES.get(metric, metric)} ({arrow} is better)",
        x_ticks=tuple(Tick(x_of(mark), _size(mark, x_marks[-1])) for mark in x_marks),
        y_ticks=tuple(Tick(y_of(mark), _value(metric, mark, y_marks[1] - y_marks[0])) for mark in y_marks),
        points=_named(shown, places),
        front=_steps([place for row, place in zip(shown, places, strict=True) if row.pareto]),
    )


def _padded(values: Sequence[float], most: float) -> tuple[float, float]:
    """Return the ends of the axis, with some room, but none beyond what a value can be."""
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.02 or 0.5
    return low - room, max(high, min(high + room, most))


def _marks(low: float, high: float, most: int = 6) -> list[float]:
    """Return evenly spread round numbers from at or below `low` to at or above `high`."""
    rough = (high - low) / (most - 1) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def _size(mark: float, largest: float) -> str:
    unit, name = next(
        (unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")) if largest >= unit or unit == 1
    )
    return f"{mark / unit:g} {name}" if mark else "0"


def _value(metric: str, mark: float, step: float) -> str:
    if metric not in summary.SHARES:
        return f"{mark:.6g}"
    digits = max(0, -math.floor(math.log10(step * 100) + 1e-9))
    return f"{100 * mark:.{digits}f}%"


def _steps(front: Sequence[tuple[float, float]]) -> str:
    """Return the path that goes right from each point of the front and then up to the next."""
    if not front:
        return ""
    first, *rest = sorted(set(front))
    return f"M{first[0]} {HEIGHT - BOTTOM}V{first[1]}" + "".join(f"H{x}V{y}" for x, y in rest) + f"H{WIDTH - RIGHT}"


def _named(rows: Sequence[Row], places: Sequence[tuple[float, float]]) -> tuple[Point, ...]:
    """Return the points, each with its name where no other name or point is in the way: the front's first.

    Points that cover one another have one label, beside all of them: whose each of several would be could not be seen.
    """
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    order = sorted(range(len(rows)), key=lambda index: (not rows[index].pareto, places[index]))
    points = {
        index: Point(*places[index], "front" if row.pareto else "passed" if row.passed else "failed", _text(row))
        for index, row in enumerate(rows)
    }
    for group in _covering(order, places):
        names = [rows[index].report.variant for index in group if len(rows) <= LABELLED or rows[index].pareto]
        if not names:
            continue
        shown = (
            names if len(names) <= _NAMES else [*names[: _NAMES - 2], f"{names[_NAMES - 2]} and {len(names) - _NAMES + 1} more"]
        )
        label = ", ".join(shown)
        xs, ys = zip(*(places[index] for index in group), strict=True)
        x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        for label_x, label_y, anchor in (
            (max(xs) + 10, y + 5, "start"),
            (min(xs) - 10, y + 5, "end"),
            (x, min(ys) - 11, "middle"),
            (x, max(ys) + 21, "middle"),
        ):
            box = _box(label, label_x, label_y, anchor)
            if _inside(box) and not any(_meets(box, other) for other in taken):
                taken.append(box)
                placed = {"label": label, "label_x": round(label_x, 1), "label_y": round(label_y, 1), "anchor": anchor}
                points[group[0]] = replace(points[group[0]], **placed)
                break
    return tuple(sorted((points[index] for index in range(len(rows))), key=lambda point: point.kind == "front"))  # on top


def _covering(order: Sequence[int], places: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Return the points in groups of those that cover one another, or are joined by such; all in the order given."""
    groups: list[list[int]] = []
    for index in order:
        near = [group for group in groups if any(math.dist(places[index], places[other]) < _COVERS for other in group)]
        joined = [*(other for group in near for other in group), index]
        groups = [group for group in groups if group not in near] + [joined]
    return sorted(([index for index in order if index in group] for group in groups), key=lambda group: order.index(group[0]))


def _text(row: Row) -> str:
    drop = sweep_table.drop_text(row.quality)
    parts = [
        row.report.variant,
        summary.size(row.report.size_bytes or 0),
        sweep_table.quality_text(row.quality, named=True),
        f"drop {drop}" if drop else "",
        "" if row.passed else row.report.status.replace("_", " "),
    ]
    return ", ".join(part for part in parts if part)


Box = tuple[float, float, float, float]


def _box(text: str, x: float, y: float, anchor: str) -> Box:
    width = len(text) * _LETTER
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return left, y - _LINE + 3, left + width, y + 3


def _inside(box: Box) -> bool:
    return box[0] >= LEFT and box[1] >= TOP - 8 and box[2] <= WIDTH and box[3] <= HEIGHT - BOTTOM + 2


def _meets(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
