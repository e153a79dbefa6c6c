"""What a job opens for as long as it runs: the caches, the way to its inputs, the environments of other runtimes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from mlkit_build.engine.shared import Shared
from mlkit_build.job import Job
from mlkit_build.locating import Locator, open_locator
from mlkit_build.screen import Screen
from mlkit_build.store import LayeredStore, open_store
from mlkit_build.store.layered import default_folder

Prepare = Callable[[], tuple[Path, ...]]
"""Returns the record of each other runtime's environment, made where it must be. Raises SourceError, StoreError."""


def cache_folder(job: Job) -> Path:
    """Return the folder of the build cache for this job."""
    return Path(job.settings.cache.dir).expanduser() if job.settings.cache.dir else default_folder()


def opened_store(job: Job, screen: Screen, shared: Shared | None = None) -> AbstractContextManager[LayeredStore]:
    """Open the caches, or take those that the jobs of a sweep share."""
    folder = _enabled(job)
    return nullcontext(shared.store(folder, screen.warning)) if shared else open_store(folder, screen.warning)


def opened_locator(job: Job, screen: Screen, *, fetches: bool) -> AbstractContextManager[Locator]:
    """Open what finds the recipe's files, and fetches those that are elsewhere if it may."""
    return open_locator(_enabled(job), job.folder, screen.warning, screen.fetching, fetches=fetches)


def opened_environments(job: Job, screen: Screen, *, makes: bool) -> AbstractContextManager[Prepare]:
    """Yield what answers with the environments of the recipe's other runtimes. Nothing is imported for a recipe without any."""
    if not job.recipe.validation.runtimes:
        return nullcontext(lambda: ())
    from mlkit_build.runtimes.environments import prepared

    return prepared(job.recipe.validation.runtimes, _enabled(job), screen.warning, screen.fetching, makes=makes)


def _enabled(job: Job) -> Path | None:
    return cache_folder(job) if job.settings.cache.enabled else None
