"""The screens: rich on a terminal, plain lines elsewhere, JSON for machines. Progress goes to stderr, results to stdout."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlkit_build.engine.action import Action, Result
from mlkit_build.report import summary

if TYPE_CHECKING:
    from mlkit_build.job import JobReport
    from mlkit_build.workflow import Screen


def screen(ui: str) -> Screen:
    """Return the screen for the setting `ui`; `auto` looks at whether stderr is a terminal."""
    if ui == "auto":
        ui = "rich" if sys.stderr.isatty() else "plain"
    return {"plain": Plain, "rich": Rich, "json": Json, "quiet": Quiet}[ui]()


class Quiet:
    """Says nothing but warnings and errors."""

    def job_started(self, recipe: str, variant: str) -> None:
        """Say nothing."""

    def started(self, action: Action, reason: str) -> None:
        """Say nothing."""

    def waiting(self, action: Action) -> None:
        """Say nothing."""

    def finished(self, result: Result) -> None:
        """Say nothing."""

    def fetching(self, url: str, done: int, total: int | None) -> None:
        """Say nothing."""

    def warning(self, text: str) -> None:
        """Say it on stderr."""
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def job_finished(self, report: JobReport) -> None:
        """Say what went wrong, if anything did."""
        if report.error:
            for title, text in summary.error_lines(report.error):
                print(f"{title}: {text}", file=sys.stderr, flush=True)

    def sweep_finished(self, reports: Sequence[JobReport]) -> None:
        """Say nothing."""


class Plain(Quiet):
    """One line per event, for logs and pipes."""

    def __init__(self) -> None:
        self._fetched: set[str] = set()

    def fetching(self, url: str, done: int, total: int | None) -> None:
        if done == 0:
            self._progress(f"  load       fetching {url}{f' ({summary.size(total)})' if total else ''}")
        elif done == total and url not in self._fetched:
            self._fetched.add(url)
            self._progress(f"  load       fetched {summary.size(done)}")

    def started(self, action: Action, reason: str) -> None:
        self._progress(f"  {action.name:<10} running: {reason}")

    def waiting(self, action: Action) -> None:
        self._progress(f"  {action.name:<10} another build is doing this; waiting for it")

    def finished(self, result: Result) -> None:
        what = "reused" if result.cached else f"done in {result.seconds:.2f} s"
        self._progress(f"  {result.action.name:<10} {what}")

    def job_started(self, recipe: str, variant: str) -> None:
        self._progress(f"{recipe}/{variant}")

    def job_finished(self, report: JobReport) -> None:
        print(summary.headline(report))
        for title, text in summary.lines(report):
            print(f"  {title:<18} {text}")
        sys.stdout.flush()
        super().job_finished(report)

    def sweep_finished(self, reports: Sequence[JobReport]) -> None:
        rows = summary.sweep_rows(reports)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        print()
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        sys.stdout.flush()

    def _progress(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class Json(Quiet):
    """One JSON object per job on stdout."""

    def job_finished(self, report: JobReport) -> None:
        print(json.dumps(summary.as_json(report)), flush=True)


class Rich(Quiet):
    """A line per action as it ends, what runs now below it, and a coloured summary."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._out = Console(highlight=False, soft_wrap=True)
        self._status: Any = None
        self._running: dict[str, str] = {}
        self._lock = threading.Lock()

    def job_started(self, recipe: str, variant: str) -> None:
        self._console.print(f"[bold]{recipe}/{variant}[/bold]")

    def started(self, action: Action, reason: str) -> None:
        from rich.markup import escape

        self._set(action.name, escape(reason))

    def waiting(self, action: Action) -> None:
        self._set(action.name, "another build is doing this; waiting for it")

    def fetching(self, url: str, done: int, total: int | None) -> None:
        from rich.markup import escape

        if done == total:
            with self._lock:
                self._running.pop("load", None)
            self._show()
            return
        self._set("load", escape(f"{url}: {summary.size(done)}{f' of {summary.size(total)}' if total else ''}"))

    def finished(self, result: Result) -> None:
        with self._lock:
            self._running.pop(result.action.name, None)
        what = "[dim]reused[/dim]" if result.cached else f"{result.seconds:.2f} s"
        self._console.print(f"  [green]✓[/green] {result.action.name:<10} {what}")
        self._show()

    def warning(self, text: str) -> None:
        from rich.markup import escape

        self._console.print(f"[yellow]warning:[/yellow] {escape(text)}")

    def job_finished(self, report: JobReport) -> None:
        from rich.markup import escape

        with self._lock:
            self._running.clear()
        self._show()
        colour = "green" if report.exit_code == 0 else "red"
        self._out.print(f"[bold {colour}]{escape(summary.headline(report))}[/]")
        for title, text in summary.lines(report):
            shown = escape(text).replace("FAILED", "[bold red]FAILED[/]")
            self._out.print(f"  [dim]{title:<18}[/] {shown}")
        if report.error:
            for title, text in summary.error_lines(report.error):
                self._console.print(f"[bold red]{title}:[/] {escape(text)}", soft_wrap=True)

    def sweep_finished(self, reports: Sequence[JobReport]) -> None:
        from rich.table import Table

        header, *rows = summary.sweep_rows(reports)
        table = Table()
        for index, title in enumerate(header):
            table.add_column(title, no_wrap=index < 3, justify="left" if index < 2 else "right")
        for row, report in zip(rows, reports, strict=True):
            table.add_row(*row, style=None if report.exit_code == 0 else "red")
        self._out.print(table)

    def _set(self, name: str, text: str) -> None:
        with self._lock:
            self._running[name] = text
        self._show()

    def _show(self) -> None:
        with self._lock:
            text = "; ".join(f"{name} [dim]({reason})[/dim]" for name, reason in self._running.items())
            if self._status is not None and not text:
                self._status.stop()
                self._status = None
            elif text and self._status is None:
                self._status = self._console.status(text)
                self._status.start()
            elif text:
                self._status.update(text)
