"""The screens: rich on a terminal, plain lines elsewhere, JSON for machines. Progress goes to stderr, results to stdout.

In a sweep, jobs run side by side: `of` gives each a voice of its own on the same screen, whose every line names the job.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from mlkit_build.engine.action import Action, Result
from mlkit_build.metrics import samples_text
from mlkit_build.printable import shown_lines
from mlkit_build.report import summary

if TYPE_CHECKING:
    from mlkit_build.job import JobReport
    from mlkit_build.screen import Screen
    from mlkit_build.sweep.outcome import Outcome


def screen(ui: str) -> Screen:
    """Return the screen for the setting `ui`; `auto` looks at whether stderr is a terminal."""
    if ui == "auto":
        ui = "rich" if sys.stderr.isatty() else "plain"
    return {"plain": Plain, "rich": Rich, "json": Json, "quiet": Quiet}[ui]()


def _width(rows: Sequence[tuple[str, str]]) -> int:
    """Return how wide the column of titles is; that of what is always measured, or wider."""
    return max([18, *(len(title) for title, _ in rows)])


class Quiet:
    """Says nothing but warnings and errors.

    Args:
        job: `recipe/variant`, for one job of a sweep.
        sweep: The screen that it speaks on.
    """

    def __init__(self, job: str = "", sweep: Quiet | None = None) -> None:
        self._job = job
        self._lock: threading.RLock = sweep._lock if sweep else threading.RLock()
        self._warned: set[str] = sweep._warned if sweep else set()

    def of(self, job: str) -> Screen:
        """Return the voice of one job of a sweep, `recipe/variant`. Threads may speak at once."""
        return type(self)(job, self)

    def job_started(self, recipe: str, variant: str) -> None:
        """Say nothing."""

    def started(self, action: Action, reason: str) -> None:
        """Say nothing."""

    def progressed(self, action: Action, done: int, total: int) -> None:
        """Say nothing."""

    def waiting(self, action: Action) -> None:
        """Say nothing."""

    def finished(self, result: Result) -> None:
        """Say nothing."""

    def fetching(self, url: str, done: int, total: int | None) -> None:
        """Say nothing."""

    def warning(self, text: str) -> None:
        """Say it on stderr; once, where all jobs of a sweep would say the same."""
        if self._is_new(text):
            self._say(sys.stderr, f"warning: {shown_lines(text)}")

    def job_finished(self, report: JobReport) -> None:
        """Say what went wrong, if anything did."""
        if report.error:
            self._say(sys.stderr, *(f"{title}: {text}" for title, text in self._error_lines(report)))

    def sweep_finished(self, outcome: Outcome) -> None:
        """Say which bundle could not be published as the best."""
        for choice in outcome.choices:
            if choice.error:
                self._say(sys.stderr, *(f"{title}: {text}" for title, text in summary.error_lines(choice.error)))

    def _error_lines(self, report: JobReport) -> list[tuple[str, str]]:
        lines = summary.error_lines(report.error) if report.error else []
        return [(title, f"{self._job}: {text}") for title, text in lines] if self._job else lines

    def _say(self, stream: TextIO, *lines: str) -> None:
        """Write whole lines at once: `print` writes text and line end apart, and another thread's between them."""
        if lines:
            with self._lock:
                stream.write("".join(f"{line}\n" for line in lines))
                stream.flush()

    def _is_new(self, warning: str) -> bool:
        with self._lock:
            if self._job and warning in self._warned:
                return False
            self._warned.add(warning)
            return True


class Warnings(Quiet):
    """Says nothing but warnings: who builds raises the error."""

    def job_finished(self, report: JobReport) -> None:
        """Say nothing."""


class Plain(Quiet):
    """One line per event, for logs and pipes."""

    def __init__(self, job: str = "", sweep: Quiet | None = None) -> None:
        super().__init__(job, sweep)
        self._fetched: set[str] = set()

    def fetching(self, url: str, done: int, total: int | None) -> None:
        if done == 0:
            self._progress("load", f"fetching {url}{f' ({summary.size(total)})' if total else ''}")
        elif done == total and url not in self._fetched:
            self._fetched.add(url)
            self._progress("load", f"fetched {summary.size(done)}")

    def started(self, action: Action, reason: str) -> None:
        self._progress(action.name, f"running: {reason}")

    def waiting(self, action: Action) -> None:
        self._progress(action.name, "another build is doing this; waiting for it")

    def finished(self, result: Result) -> None:
        if not (self._job and result.cached):  # a hundred jobs that reuse all they need would drown the one that runs
            self._progress(result.action.name, "reused" if result.cached else f"done in {result.seconds:.2f} s")

    def job_started(self, recipe: str, variant: str) -> None:
        if not self._job:
            self._say(sys.stderr, f"{recipe}/{variant}")

    def job_finished(self, report: JobReport) -> None:
        rows = [] if self._job else summary.lines(report)
        details = [f"  {title:<{_width(rows)}} {text}" for title, text in rows]
        self._say(sys.stdout, summary.headline(report), *details)
        super().job_finished(report)

    def sweep_finished(self, outcome: Outcome) -> None:
        from mlkit_build.report import sweep_table

        table = sweep_table.aligned([sweep_table.header(outcome), *sweep_table.rows(outcome)])
        self._say(sys.stdout, "", *table, *(f"{title:<9} {text}" for title, text in sweep_table.notes(outcome)))
        super().sweep_finished(outcome)

    def _progress(self, action: str, text: str) -> None:
        self._say(sys.stderr, f"{self._job + ': ' if self._job else '  '}{action:<10} {text}")


class Json(Quiet):
    """One JSON object per job on stdout."""

    def job_finished(self, report: JobReport) -> None:
        self._say(sys.stdout, json.dumps(summary.as_json(report)))


class Rich(Quiet):
    """A line per action as it ends, what runs now below it, and a coloured summary."""

    def __init__(self, job: str = "", sweep: Quiet | None = None) -> None:
        super().__init__(job, sweep)
        self._live: _Live = sweep._live if isinstance(sweep, Rich) else _Live()

    def job_started(self, recipe: str, variant: str) -> None:
        if not self._job:
            self._live.console.print(f"[bold]{recipe}/{variant}[/bold]")

    def started(self, action: Action, reason: str) -> None:
        from rich.markup import escape

        self._live.set(self._job, action.name, "" if self._job else escape(reason))

    def progressed(self, action: Action, done: int, total: int) -> None:
        self._live.set(self._job, action.name, f"{done} of {samples_text(total)}")

    def waiting(self, action: Action) -> None:
        if not self._job:
            self._live.set("", action.name, "another build is doing this; waiting for it")

    def fetching(self, url: str, done: int, total: int | None) -> None:
        from rich.markup import escape

        if done == total:
            self._live.drop(self._job, "load")
            return
        of_all = f" of {summary.size(total)}" if total else ""
        self._live.set(self._job, "load", escape(f"{url}: {summary.size(done)}{of_all}"))

    def finished(self, result: Result) -> None:
        self._live.drop(self._job, result.action.name)
        if self._job and result.cached:
            return
        what = "[dim]reused[/dim]" if result.cached else f"{result.seconds:.2f} s"
        job = f"{self._job}: " if self._job else ""
        self._live.console.print(f"  [green]✓[/green] {job}{result.action.name:<10} {what}")

    def warning(self, text: str) -> None:
        from rich.markup import escape

        if self._is_new(text):
            self._live.console.print(f"[yellow]warning:[/yellow] {escape(shown_lines(text))}")

    def job_finished(self, report: JobReport) -> None:
        from rich.markup import escape

        self._live.drop(self._job)
        colour = "green" if report.exit_code == 0 else "red"
        lines = [f"[bold {colour}]{escape(summary.headline(report))}[/]"]
        rows = [] if self._job else summary.lines(report)
        for title, text in rows:
            shown = escape(text).replace("FAILED", "[bold red]FAILED[/]")
            lines.append(f"  [dim]{title:<{_width(rows)}}[/] {shown}")
        self._live.say("\n".join(lines))
        for title, text in self._error_lines(report):
            self._live.console.print(f"[bold red]{title}:[/] {escape(text)}", soft_wrap=True)

    def sweep_finished(self, outcome: Outcome) -> None:
        from rich.markup import escape
        from rich.table import Table

        from mlkit_build.report import sweep_table

        table = Table()
        for index, title in enumerate(sweep_table.header(outcome)):
            table.add_column(title, no_wrap=index < 3, justify="left" if index < 3 or title == "why" else "right")
        for cells, row in zip(sweep_table.rows(outcome), outcome.rows, strict=True):
            table.add_row(*map(escape, cells), style=None if row.passed else "red")
        self._live.say(table)
        for title, text in sweep_table.notes(outcome):
            self._live.say(f"[dim]{title:<9}[/] {escape(text)}")
        super().sweep_finished(outcome)


class _Live:
    """A terminal with a last line that says what runs now, shared by the jobs of a sweep."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self._out = Console(highlight=False, soft_wrap=True)
        self._status: Any = None
        self._running: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def set(self, job: str, action: str, text: str) -> None:
        """Say that an action runs."""
        with self._lock:
            self._running[job, action] = text
            self._show()

    def drop(self, job: str, action: str | None = None) -> None:
        """Say no longer that an action runs; without `action`, that any of the job's does."""
        with self._lock:
            for key in [key for key in self._running if key[0] == job and action in (None, key[1])]:
                del self._running[key]
            self._show()

    def say(self, *what: Any) -> None:
        """Print a result on stdout, above the last line, which another stream would otherwise write into."""
        with self._lock:
            if self._status is not None:
                self._status.stop()
            self._out.print(*what)
            if self._status is not None:
                self._status.start()

    def _show(self) -> None:
        shown = [
            f"{job + ' ' if job else ''}{action}" + (f" [dim]({text})[/dim]" if text else "")
            for (job, action), text in self._running.items()
        ]
        if self._status is not None and not shown:
            self._status.stop()
            self._status = None
        elif shown and self._status is None:
            self._status = self.console.status("; ".join(shown))
            self._status.start()
        elif shown:
            self._status.update("; ".join(shown))
