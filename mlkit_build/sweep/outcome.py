"""What came of a sweep: a row for every job, which rows are worth a look, and which one was chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mlkit_build.errors import ExitCode, MlkitBuildError
from mlkit_build.job import JobReport
from mlkit_build.metrics import METRICS, Measurement, value_of
from mlkit_build.records import dataclass

PARITY = "max_abs_error"
"""The measure of quality where no accuracy was measured: how far an output is from TensorFlow's at most."""

ACCURACIES = tuple(value for kind in METRICS.values() if kind.has_reference for value in kind.values if "{" not in value)
"""Measured values that have a TensorFlow counterpart, best known first."""


@dataclass(frozen=True)
class Quality:
    """How good a variant is: the one value by which the variants of a recipe are compared.

    Attributes:
        metric: The measured value's name.
        found: What it came to.
    """

    metric: str
    found: Measurement

    @property
    def higher_is_better(self) -> bool:
        """False for errors."""
        return not (self.found.lower_is_better or value_of(self.metric).lower_is_better)

    @property
    def rank(self) -> float:
        """The value, so that more is better."""
        return self.found.value if self.higher_is_better else -self.found.value


@dataclass(frozen=True)
class Row:
    """One job of the sweep and what came of it.

    Attributes:
        overrides: What the job was asked for with.
        report: What came of it.
        quality: Its quality, if it was measured.
        pareto: Whether no other variant of the recipe that passes is as small and as good, and better in one of the two.
    """

    overrides: tuple[str, ...]
    report: JobReport
    quality: Quality | None = None
    pareto: bool = False

    @property
    def passed(self) -> bool:
        """Whether it is built and every gate holds."""
        return self.report.exit_code == ExitCode.OK

    @property
    def latency_ms(self) -> float | None:
        """How long one inference takes, if it was measured."""
        return self.report.latency.median_ms if self.report.latency else None


@dataclass(frozen=True)
class Choice:
    """What `select=` came to for one recipe.

    Attributes:
        recipe: Its name.
        by: `smallest`, `fastest` or `most_accurate`.
        variant: The variant chosen; None where none passes.
        place: Where its bundle was copied to.
        error: Why it could not be.
    """

    recipe: str
    by: str
    variant: str | None = None
    place: Path | None = None
    error: MlkitBuildError | None = None


@dataclass(frozen=True)
class Outcome:
    """A finished sweep.

    Attributes:
        id: See `sweep_id`.
        rows: In the order of the sweep.
        choices: One per recipe, where `select=` was given.
        started: When it began, in seconds since the epoch.
        seconds: How long it took.
        folder: Where the summary is; None where there is none.
    """

    id: str
    rows: tuple[Row, ...]
    choices: tuple[Choice, ...] = ()
    started: float = 0.0
    seconds: float = 0.0
    folder: Path | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The worst of the jobs and of the selection."""
        errors = [choice.error.exit_code for choice in self.choices if choice.error]
        return worst([row.report.exit_code for row in self.rows] + errors)

    @property
    def recipes(self) -> dict[str, list[Row]]:
        """The rows by recipe, those apart that name none."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row.report.recipe].append(row)
        return found


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code of a sweep: a failed stage counts most, then the configuration, a verification, a gate."""
    order = (ExitCode.STAGE_FAILED, ExitCode.CONFIG, ExitCode.VERIFICATION, ExitCode.GATE)
    found = set(codes)
    return next((code for code in order if code in found), ExitCode.OK)


def compared(jobs: Sequence[tuple[tuple[str, ...], JobReport]]) -> tuple[Row, ...]:
    """Return a row for every job, with its quality, and whether it is on the Pareto front of its recipe."""
    rows = [Row(overrides, report, _quality(report, _metric(report.recipe, jobs))) for overrides, report in jobs]
    return tuple(replace(row, pareto=_on_front(row, rows)) for row in rows)


def _metric(recipe: str, jobs: Sequence[tuple[tuple[str, ...], JobReport]]) -> str:
    """Return the value that all variants of a recipe are compared by: the first that any of them has."""
    measured = {name for _, report in jobs if report.recipe == recipe for name in report.metrics or {}}
    return next((name for name in ACCURACIES if name in measured), PARITY)


def _quality(report: JobReport, metric: str) -> Quality | None:
    found = (report.metrics or {}).get(metric)
    return Quality(metric, found) if found else None


def _on_front(row: Row, rows: Sequence[Row]) -> bool:
    mine = _figures(row)
    others = [_figures(other) for other in rows if other.report.recipe == row.report.recipe]
    return mine is not None and not any(other and _beats(other, mine) for other in others)


def _figures(row: Row) -> tuple[float, float] | None:
    """Return size and quality, so that less is better in both; None where the row does not count."""
    if not row.passed or row.quality is None or row.report.size_bytes is None:
        return None
    return row.report.size_bytes, -row.quality.rank


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]
