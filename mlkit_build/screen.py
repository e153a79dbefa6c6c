"""Who hears of a job while it runs: what the engine tells, and the job's beginning and end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mlkit_build.engine import Action, Listener, Result
from mlkit_build.job import JobReport

if TYPE_CHECKING:
    from mlkit_build.sweep.outcome import Outcome


class Screen(Listener, Protocol):
    """Who hears of a job: the engine's listener, and the job's beginning and end."""

    def job_started(self, recipe: str, variant: str) -> None:
        """A job begins."""

    def fetching(self, url: str, done: int, total: int | None) -> None:
        """A file is being fetched: so many bytes, of so many where that is known."""

    def job_finished(self, report: JobReport) -> None:
        """A job is over, well or not."""

    def of(self, job: str) -> Screen:
        """Return the voice of one job of a sweep, `recipe/variant`, among others that run at the same time."""

    def sweep_finished(self, outcome: Outcome) -> None:
        """All jobs of a sweep are over."""


class Recorder:
    """Passes events on and keeps the results, so that a failed build can still say what it did."""

    def __init__(self, screen: Screen, results: dict[str, Result]) -> None:
        self._results = results
        self._running: dict[str, str] = {}
        self._started = screen.started
        self.progressed: Callable[[Action, int, int], None] = screen.progressed
        self.waiting: Callable[[Action], None] = screen.waiting
        self.warning: Callable[[str], None] = screen.warning
        self._finished = screen.finished

    @property
    def failed(self) -> str:
        """The stage of the first action that was started and never finished; empty without one."""
        return next(iter(self._running.values()), "")

    def started(self, action: Action, reason: str) -> None:
        self._running[action.name] = action.stage
        self._started(action, reason)

    def finished(self, result: Result) -> None:
        self._running.pop(result.action.name, None)
        self._results[result.action.name] = result
        self._finished(result)
