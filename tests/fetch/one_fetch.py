"""A process of its own that fetches one file: `python -m tests.fetch.one_fetch CACHE URL SHA256`. Prints the path."""

from __future__ import annotations

import sys
from pathlib import Path

from mlkit_build.fetch import open_fetcher


def said(name: str, done: int, total: int | None) -> None:
    print(done, file=sys.stderr, flush=True)


if __name__ == "__main__":
    cache, url, sha256 = sys.argv[1:]
    with open_fetcher(Path(cache), print, said) as fetcher:
        print(fetcher.local(url, sha256, Path("/nowhere"), "source.path"))
