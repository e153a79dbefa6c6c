"""Builds the jobs of a sweep side by side in this process: one set of fork servers, as many actions at once as there are cores.

Each job runs in a thread, which mostly waits for children. What several jobs need runs in one of them, and the others wait for
it. A job that fails, or finds a fault of ours, ends as its own report; only what ends the process ends the others.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence

from mlkit_build.engine import Action, Result
from mlkit_build.engine import pool as servers
from mlkit_build.engine.pool import Pool
from mlkit_build.engine.shared import Shared
from mlkit_build.errors import ExitCode, MlkitBuildError, StageError
from mlkit_build.job import Job, JobReport
from mlkit_build.opening import cache_folder
from mlkit_build.screen import Screen
from mlkit_build.workflow import build

Finished = Callable[[int, JobReport], None]
"""Told the number of a job and what came of it, in this thread, as soon as it is done."""

BEGUN = 16
"""Jobs at once per core. More than can run: the first ones of a recipe wait for its frozen graph, and others need not."""

_PATIENCE_S = 10.0


def build_all(jobs: Sequence[Job], screen: Screen, command: Sequence[str], finished: Finished) -> None:
    """Build the jobs.

    Args:
        jobs: No two of which may write the same bundle.
        screen: Who hears of the progress.
        command: The command line, for the provenance.
        finished: Hears of every job.

    Raises:
        KeyboardInterrupt: Interrupted; every child is dead, nothing is half-written.
    """
    stated = [job.settings.jobs for job in jobs if job.settings.jobs is not None]
    pool, shared = servers.Pool(), Shared(min(stated, default=None))
    todo = deque(enumerate(jobs))
    done: queue.SimpleQueue[tuple[int, JobReport | BaseException]] = queue.SimpleQueue()
    workers = [
        threading.Thread(target=_work, args=(todo, done, pool, shared, screen, command), name=f"mlkit-build-job-{n}", daemon=True)
        for n in range(min(len(jobs), BEGUN * shared.slots))
    ]
    try:
        for worker in workers:
            worker.start()
        for _ in jobs:
            number, came = done.get()
            if isinstance(came, BaseException):
                raise came
            finished(number, came)
    except BaseException:
        shared.stop()
        end = time.monotonic() + _PATIENCE_S
        while any(worker.is_alive() for worker in workers) and time.monotonic() < end:
            pool.close()  # again and again: one that was about to start an action has started a new server
            time.sleep(0.02)
        raise
    finally:
        pool.close()
        shared.close()


def _work(
    todo: deque[tuple[int, Job]],
    done: queue.SimpleQueue[tuple[int, JobReport | BaseException]],
    pool: Pool,
    shared: Shared,
    screen: Screen,
    command: Sequence[str],
) -> None:
    while not shared.stopped:
        try:
            number, job = todo.popleft()
        except IndexError:
            return
        try:
            voice = Voice(screen.of(f"{job.recipe.name}/{job.recipe.variant_name}"), shared)
            done.put((number, build(job, pool, voice, command, shared)))
        except MlkitBuildError as error:
            report = JobReport(job.recipe.name, job.recipe.variant_name, "failed", error.exit_code, error=error)
            done.put((number, report))
        except BrokenPipeError as error:  # nobody listens any more
            done.put((number, error))
        except Exception as error:
            done.put((number, _fault(job, error)))
        except BaseException as error:
            done.put((number, error))


class Voice:
    """A job's screen while it runs: what came of it, the sweep says in order. It ends a download of a sweep that was ended."""

    def __init__(self, screen: Screen, shared: Shared | None = None) -> None:
        self._screen = screen
        self._shared = shared

    def of(self, job: str) -> Screen:
        return self._screen.of(job)

    def job_started(self, recipe: str, variant: str) -> None:
        self._screen.job_started(recipe, variant)

    def started(self, action: Action, reason: str) -> None:
        self._screen.started(action, reason)

    def progressed(self, action: Action, done: int, total: int) -> None:
        self._screen.progressed(action, done, total)

    def waiting(self, action: Action) -> None:
        self._screen.waiting(action)

    def finished(self, result: Result) -> None:
        self._screen.finished(result)

    def fetching(self, url: str, done: int, total: int | None) -> None:
        if self._shared and self._shared.stopped:
            raise StageError("load: interrupted")
        self._screen.fetching(url, done, total)

    def warning(self, text: str) -> None:
        self._screen.warning(text)

    def job_finished(self, report: JobReport) -> None:
        """Say nothing yet."""

    def sweep_finished(self, outcome: object) -> None:
        """Say nothing: a job knows no sweep."""


def _fault(job: Job, error: Exception) -> JobReport:
    """Return the report of a job in which something happened that no user can cause."""
    log = cache_folder(job) / "logs" / f"{job.recipe.name}-job-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    except OSError:
        log = None  # type: ignore[assignment]
    told = StageError(
        f"a fault of mlkit-build itself: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
        "the other jobs are not touched by it; please report it with the log",
        log=str(log or ""),
    )
    return JobReport(job.recipe.name, job.recipe.variant_name, "failed", ExitCode.STAGE_FAILED, error=told)
