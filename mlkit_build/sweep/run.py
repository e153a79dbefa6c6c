"""A whole sweep: compose every job, build them, and say what came of it; every job ends as a row."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from mlkit_build.config import Roots
from mlkit_build.config.sweep import Composer
from mlkit_build.errors import ConfigError, MlkitBuildError
from mlkit_build.job import Job, JobReport, refused
from mlkit_build.recipe import MODES, TARGETS, UI_MODES
from mlkit_build.report.screens import screen
from mlkit_build.screen import Screen
from mlkit_build.sweep import summary
from mlkit_build.sweep.asked import Asked, named, place_of, refuse_unchanging, shown_variant, sweep_id, telling
from mlkit_build.sweep.outcome import Outcome, compared
from mlkit_build.sweep.parallel import Finished, build_all
from mlkit_build.sweep.selection import select, selection_of


class Builder(Protocol):
    """Builds jobs, all of which write different bundles: `build_all`, or a launcher of Hydra."""

    def __call__(self, jobs: Sequence[Job], screen: Screen, command: Sequence[str], finished: Finished) -> None:
        """Build them, and tell `finished` of each."""


def sweep(overrides: Sequence[str], roots: Roots, command: Sequence[str], builder: Builder = build_all) -> Outcome:
    """Build every job that the overrides ask for, and publish the summary.

    Raises:
        ConfigError: The overrides are not understood, or `select=` cannot be answered; nothing was run.
        KeyboardInterrupt: Interrupted; what was finished is in the cache.
    """
    started, shown = time.time(), screen(stated_ui(overrides))
    asked = asked_for(overrides, roots, shown.warning)
    by = selection_of([item.job for item in asked if item.job is not None])
    rows = _Rows(asked, shown)
    different = _different(asked)
    jobs = [job for job, _ in different]
    builder(jobs, shown, command, lambda number, report: rows.add(different[number][1], report))
    came = [(item.overrides, report) for item, report in zip(asked, rows.reports(), strict=True)]
    return conclude(came, asked, by, shown, started)


def asked_for(overrides: Sequence[str], roots: Roots, warn: Callable[[str], object] = lambda text: None) -> list[Asked]:
    """Return the jobs of the sweep, composed and named, or with the reason why not; one that is asked for twice is there once.

    Raises:
        ConfigError: The overrides are not understood, there is no job, or what is swept over changes none.
    """
    found = []
    with Composer(roots) as composer:
        times = Counter(map(tuple, composer.jobs(overrides)))
        refuse_unchanging(times)
        for job_overrides, count in times.items():
            if count > 1:
                warn(f"the sweep asks for {' '.join(telling(job_overrides))} {count} times; it runs once")
            try:
                found.append(Asked(job_overrides, composer.compose(job_overrides)))
            except MlkitBuildError as error:
                found.append(Asked(job_overrides, error=error))
        if not found:
            raise _nothing(overrides, roots)
    return named(found)


def not_composed(error: MlkitBuildError, overrides: Sequence[str], job: Job | None) -> JobReport:
    """Return the row of a job that is not built, under a name that tells it from the others."""
    report = refused(error, overrides, job)
    return report if job is not None else replace(report, variant=shown_variant(overrides, report.variant))


def _nothing(overrides: Sequence[str], roots: Roots) -> ConfigError:
    """Return the answer to a sweep without a job: a pattern that fits none of what there is."""
    empty = [override for override in overrides if "glob(" in override]
    known = {"recipe": [recipe.name for recipe in roots.all_recipes()], "quantization": MODES, "target": TARGETS}
    hints = [
        f"{group} is one of {', '.join(known[group])}" for group in (item.partition("=")[0] for item in empty) if group in known
    ]
    return ConfigError(f"{', '.join(empty) or 'the sweep'}: matches nothing, so there is no job", "; ".join(hints))


def conclude(
    jobs: Sequence[tuple[tuple[str, ...], JobReport]], asked: Sequence[Asked], by: str | None, shown: Screen, started: float
) -> Outcome:
    """Compare the jobs, publish what `select=` chooses and the summary, and show the table."""
    composed = [item.job for item in asked if item.job is not None]
    rows = compared([(telling(overrides), report) for overrides, report in jobs])
    outcome = Outcome(sweep_id([overrides for overrides, _ in jobs]), rows, started=started)
    if by:
        names = dict.fromkeys(job.recipe.name for job in composed)
        outcome = replace(outcome, choices=tuple(select(by, name, outcome.recipes[name]) for name in names))
    outcome = replace(outcome, seconds=time.time() - started)
    if composed:  # a command that nothing could be made of leaves nothing behind
        folder = Path(composed[0].settings.output_dir).expanduser() / summary.FOLDER
        try:
            outcome = replace(outcome, folder=summary.write(outcome, folder, shown.warning))
        except OSError as error:
            shown.warning(f"{folder}: the summary of the sweep cannot be written: {error.strerror or error}")
    shown.sweep_finished(outcome)
    return outcome


class _Rows:
    """The reports in the order of the sweep: each is shown as soon as those before it are."""

    def __init__(self, asked: Sequence[Asked], shown: Screen) -> None:
        self._asked = asked
        self._shown = shown
        self._found: dict[int, JobReport] = {}
        self._next = 0
        for number, item in enumerate(asked):
            if item.error is not None:
                self._found[number] = not_composed(item.error, item.overrides, item.job)
        self._show()

    def add(self, numbers: Sequence[int], report: JobReport) -> None:
        """Keep the report of the jobs `numbers`, which are equal."""
        self._found |= dict.fromkeys(numbers, report)
        self._show()

    def reports(self) -> list[JobReport]:
        """Return all of them, when there are all."""
        return [self._found[number] for number in range(len(self._asked))]

    def _show(self) -> None:
        while self._next in self._found:
            report = self._found[self._next]
            name = f"{report.recipe}/{report.variant}" if report.recipe else " ".join(self._asked[self._next].overrides)
            self._shown.of(name).job_finished(report)
            self._next += 1


def _different(asked: Sequence[Asked]) -> list[tuple[Job, list[int]]]:
    """Return every job to build, with the numbers of all that equal it: they write the same bundle."""
    places: dict[tuple[str, str, str], tuple[Job, list[int]]] = {}
    for number, item in enumerate(asked):
        if item.job is not None and item.error is None:
            places.setdefault(place_of(item.job), (item.job, []))[1].append(number)
    return list(places.values())


def stated_ui(overrides: Sequence[str]) -> str:
    """Return which screen the sweep speaks on; one that is not known is each job's error."""
    stated = next((item.removeprefix("ui=") for item in reversed(overrides) if item.startswith("ui=")), "auto")
    return stated if stated in UI_MODES else "auto"
