"""The cache as a build sees it: the user's folder, and a private one for this run when that cannot be written.

A cache that is full, read-only or broken costs speed and one warning, never a build.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mlkit_build.store.digest import Digest
from mlkit_build.store.disk import BlobUnusableError, DiskStore, Record
from mlkit_build.temporary import temporary_folder

ENVIRONMENT_VARIABLE = "MLKIT_BUILD_CACHE"


def default_folder() -> Path:
    """Return where the cache lives when nothing says otherwise: the platform's cache folder."""
    import os

    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("mlkit-build")


@contextmanager
def open_store(folder: Path | None, warn: Callable[[str], None]) -> Iterator[LayeredStore]:
    """Open the cache in `folder`; None keeps everything of this run in a private folder and forgets it at the end."""
    with ExitStack() as stack:
        yield LayeredStore(DiskStore(folder) if folder else None, stack, warn)


class LayeredStore:
    """A DiskStore that never fails a build: what the user's folder refuses goes to a private one."""

    def __init__(self, cache: DiskStore | None, stack: ExitStack, warn: Callable[[str], None]) -> None:
        self._cache = cache
        self._stack = stack
        self._warn = warn
        self._writable = cache is not None
        self._private: DiskStore | None = None
        self._changing = threading.Lock()

    def find(self, key: str) -> Record | None:
        """Return the record of `key` from wherever it is."""
        return next((record for store in self._stores() if (record := _quietly(store, key))), None)

    def keep(self, record: Record, files: Mapping[str, Path], scope: str) -> None:
        """Keep the record and its files in the cache, or privately when the cache cannot be written."""
        if self._cache and self._writable:
            try:
                self._cache.keep(record, files, scope)
                return
            except OSError as error:
                self._give_up(error)
        self._private_store().keep(record, files, scope)

    def recent(self, scope: str) -> Iterator[Record]:
        """Yield the last records of `scope`, newest first."""
        for store in self._stores():
            yield from store.recent(scope)

    def blob(self, digest: Digest) -> Path:
        """Return the verified blob. Raises BlobUnusableError."""
        problem = BlobUnusableError(digest, "is missing")
        for store in self._stores():
            try:
                return store.blob(digest)
            except BlobUnusableError as error:
                problem = error if "damaged" in error.problem else problem
        raise problem

    def lock(self, key: str, timeout: float = -1) -> AbstractContextManager[None]:
        """Hold the lock of `key` where there is a cache to share. Raises TimeoutError."""
        return self._lock(key, timeout) if self._cache and self._writable else nullcontext()

    def read_note(self, *parts: str) -> Any:
        """Return a small JSON file of the cache, or None."""
        return self._cache.read_note(*parts) if self._cache else None

    def write_note(self, value: Any, *parts: str) -> None:
        """Replace a small JSON file of the cache, if it can be written."""
        if self._cache and self._writable:
            try:
                self._cache.write_note(value, *parts)
            except OSError as error:
                self._give_up(error)

    @contextmanager
    def _lock(self, key: str, timeout: float) -> Iterator[None]:
        assert self._cache is not None
        with ExitStack() as stack:
            try:
                stack.enter_context(self._cache.lock(key, timeout))
            except TimeoutError:
                raise
            except OSError as error:
                self._give_up(error)
            yield

    def _stores(self) -> list[DiskStore]:
        return [store for store in (self._cache, self._private) if store]

    def _private_store(self) -> DiskStore:
        with self._changing:
            if self._private is None:
                self._private = DiskStore(self._stack.enter_context(temporary_folder()))
            return self._private

    def _give_up(self, error: OSError) -> None:
        assert self._cache is not None
        with self._changing:
            first, self._writable = self._writable, False
        if first:
            reason = error.strerror or str(error)
            self._warn(f"cache {self._cache.root.parent}: {reason}; building without it (set cache.dir= to use another)")


def _quietly(store: DiskStore, key: str) -> Record | None:
    try:
        return store.find(key)
    except OSError:
        return None
