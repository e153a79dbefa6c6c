"""Where a recipe's files are on this machine, and the way back: errors speak of a URL as the recipe states it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlkit_build.errors import MlkitBuildError, SourceError

if TYPE_CHECKING:
    from mlkit_build.fetch import Fetcher


class Locator:
    """Finds the file that a URL names, and remembers which. Nothing of fetching is imported before there is a URL.

    Args:
        fetcher: Opens the fetcher, when it is needed first.
        folder: The recipe's folder.
        fetches: Whether what is not here may be fetched.
    """

    def __init__(self, fetcher: Callable[[], Fetcher], folder: Path, *, fetches: bool) -> None:
        self._fetcher = fetcher
        self._folder = folder
        self._fetches = fetches
        self._located: dict[str, str] = {}

    def __call__(self, stated: str, sha256: str | None, field: str) -> Path:
        """Return where it is. Raises SourceError, ConfigError."""
        path = self._found(stated, sha256, field)
        if "://" in stated:
            self._located[str(path)] = stated
        return path

    def as_stated(self, error: MlkitBuildError) -> MlkitBuildError:
        """Return the error in the recipe's words: nobody knows the files of the cache by the URLs that they came from."""
        texts = [error.message, error.hint]
        for path, stated in self._located.items():
            from mlkit_build.fetch import as_stated

            texts = [as_stated(text, path, stated) for text in texts]
        return error if texts == [error.message, error.hint] else type(error)(*texts, log=error.log)

    def _found(self, stated: str, sha256: str | None, field: str) -> Path:
        if self._fetches:
            return self._fetcher().local(stated, sha256, self._folder, field)
        known = self._fetcher().known(stated, sha256, self._folder, field)
        if known is None:
            from mlkit_build.fetch import shown

            raise SourceError(f"{field}: {shown(stated)} is not in the cache, and a plan fetches nothing", "build it once")
        return known


@contextmanager
def open_locator(
    cache_folder: Path | None,
    folder: Path,
    warn: Callable[[str], None],
    progress: Callable[[str, int, int | None], None],
    *,
    fetches: bool,
) -> Iterator[Locator]:
    """Yield a locator; what it fetched without a cache is gone after the block.

    Args:
        cache_folder: The folder of the build cache, None for none.
        folder: The recipe's folder.
        warn: Told that the cache cannot be used.
        progress: Told the URL, the bytes so far, and their number where it is known.
        fetches: Whether what is not here may be fetched.
    """
    with ExitStack() as stack:

        @cache
        def fetcher() -> Fetcher:
            from mlkit_build.fetch import open_fetcher

            return stack.enter_context(open_fetcher(cache_folder, warn, progress))

        yield Locator(fetcher, folder, fetches=fetches)
