"""A web server on loopback that behaves as it is told, and a fetcher with a cache of its own."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.fetch import Fetcher, download, open_fetcher

MODEL = bytes(range(256)) * 1000
FIELD = "source.path"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Warnings(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


class Progress(list[tuple[str, int, int | None]]):
    def __call__(self, name: str, done: int, total: int | None) -> None:
        self.append((name, done, total))


@dataclass
class Site:
    """A web server.

    Attributes:
        url: Without a slash at the end.
        pages: Path -> what answers a GET.
        asked: Path without query -> how many GETs came.
        other_requests: The paths of all that were not a GET.
        headers: Of the last request.
        open: Set when a slow page may end.
    """

    url: str
    pages: dict[str, Callable[[Any], None]]
    asked: Counter[str] = field(default_factory=Counter)
    other_requests: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    open: threading.Event = field(default_factory=threading.Event)

    def serve(self, path: str, data: bytes, status: int = 200, **headers: str) -> str:
        """Offer some bytes; return their URL."""
        self.pages[path] = lambda request: answer(request, data, status, **headers)
        return self.url + path


def answer(request: http.server.BaseHTTPRequestHandler, data: bytes, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    stated = {"Content-Length": str(len(data)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    for name, value in stated.items():
        if value:
            request.send_header(name, value)
    request.end_headers()
    request.wfile.write(data)


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server that has `/model.pb`, and pages that fail in every way."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            site.asked[path] += 1
            site.headers = dict(self.headers)
            page = site.pages.get(path, lambda request: answer(request, b"no", 404))
            try:
                page(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_HEAD(self) -> None:
            site.other_requests.append(self.path)
            self.send_error(405)

        def log_message(self, *_: Any) -> None:
            pass

    def flaky(request: Any) -> None:
        if site.asked["/flaky"] < 3:
            answer(request, b"try again", 503)
        else:
            answer(request, MODEL)

    def dropping(request: Any) -> None:
        answer(request, MODEL[:100_000], Content_Length=str(len(MODEL)))
        request.wfile.flush()
        request.connection.shutdown(2)

    def silent(request: Any) -> None:
        answer(request, MODEL[:10], Content_Length=str(len(MODEL)))
        request.wfile.flush()
        site.open.wait(20)

    def slow(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(MODEL)))
        request.end_headers()
        for start in range(0, len(MODEL), 1000):
            if site.open.is_set():
                break
            request.wfile.write(MODEL[start : start + 1000])
            time.sleep(0.05)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    site = Site(f"http://127.0.0.1:{server.server_address[1]}", {})
    site.serve("/model.pb", MODEL)
    site.serve("/forbidden", b"no", status=403)
    site.serve("/unauthorized", b"no", status=401)
    site.serve("/broken", b"oops", status=500)
    site.serve("/teapot", b"tea", status=418)
    site.serve("/moved", b"", status=302, Location="/model.pb")
    site.serve("/circle", b"", status=302, Location="/circle")
    site.serve("/short", MODEL, Content_Length=str(len(MODEL) - 1))
    site.serve("/unstated", MODEL, Content_Length="")
    site.serve("/empty", b"")
    site.serve("/login", b"<!DOCTYPE html><html>please log in</html>")
    site.serve("/pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    site.pages |= {"/flaky": flaky, "/dropping": dropping, "/silent": silent, "/slow": slow}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield site
    site.open.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def fetcher(cache: Path, warnings: Warnings, progress: Progress, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fetcher]:
    """A fetcher that does not pause before it tries again."""
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    with open_fetcher(cache, warnings, progress) as opened:
        yield opened


def files(folder: Path) -> list[str]:
    """Return everything in a folder that is no folder, but locks and notes."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(str(path) for path in paths if path.parts[1] not in ("locks", "files"))
