"""What the builds of one run share: the cores, the open caches, and that no action runs twice at once.

A single build has one of its own; the jobs of a sweep have one together, each in a thread. Waiting for somebody else's action
takes no slot, so that what can run does. After `stop` nothing new begins and every wait ends.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlkit_build.errors import StageError
from mlkit_build.store import FileDigests, LayeredStore, open_store


class Shared:
    """Threads may share it.

    Args:
        jobs: How many actions may run at once; one per core when left out.

    Attributes:
        slots: How many actions may run at once.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.slots = jobs or os.cpu_count() or 1
        self._changed = threading.Condition()
        self._free = self.slots
        self._queue: deque[object] = deque()
        self._flying: set[tuple[int, str]] = set()
        self._stopped = False
        self._stores: dict[Path | None, tuple[LayeredStore, FileDigests]] = {}
        self._open = ExitStack()

    @property
    def stopped(self) -> bool:
        """Whether the run was ended."""
        return self._stopped

    def stop(self) -> None:
        """End every wait, and let nothing begin any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @contextmanager
    def slot(self, *, alone: bool = False) -> Iterator[None]:
        """Hold one of the places for running actions, or all of them; who came first is served first.

        Raises:
            StageError: The run was ended.
        """
        ticket, taken = object(), self.slots if alone else 1
        with self._changed:
            self._queue.append(ticket)
            try:
                self._wait(lambda: self._free >= taken and self._queue[0] is ticket)
                self._free -= taken
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()

    @contextmanager
    def flight(self, store: LayeredStore, key: str) -> Iterator[None]:
        """Be the only one of this run that builds `key` for `store`; the next one comes in when this one is out.

        Raises:
            StageError: The run was ended.
        """
        flight = (id(store), key)
        with self._changed:
            self._wait(lambda: flight not in self._flying)
            self._flying.add(flight)
        try:
            yield
        finally:
            with self._changed:
                self._flying.discard(flight)
                self._changed.notify_all()

    def store(self, folder: Path | None, warn: Callable[[str], None]) -> LayeredStore:
        """Return the cache in `folder` (None: a private one, forgotten at the end), opened once; `close` closes it."""
        with self._changed:
            if folder not in self._stores:
                store = self._open.enter_context(open_store(folder, warn))
                self._stores[folder] = store, FileDigests(store)
            return self._stores[folder][0]

    def files(self, store: LayeredStore) -> FileDigests:
        """Return the digests of the user's files: the same for all builds on `store`, so that a sweep reads each file once
        and all its jobs see the same bytes."""
        return next((files for known, files in self._stores.values() if known is store), None) or FileDigests(store)

    def close(self) -> None:
        """Close what `store` opened."""
        self._open.close()

    def _wait(self, holds: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._stopped or holds())
        if self._stopped:
            raise StageError("interrupted")
