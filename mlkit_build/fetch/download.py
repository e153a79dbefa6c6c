"""Files from a URL, streamed: bounded memory, no part of a recipe's trusted before its digest is the stated one.

fsspec is imported here and only when something is fetched.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

from mlkit_build.errors import ConfigError, SourceError, did_you_mean
from mlkit_build.fetch.entries import write_file
from mlkit_build.fetch.urls import file_name, protocol, redacted, shown
from mlkit_build.store import Digest

ATTEMPTS = 3
PAUSE_SECONDS = 1.0
CONNECT_SECONDS = 15.0
SILENCE_SECONDS = 60.0
"""After so long without a byte an HTTP server has failed. Other protocols have their own limits, and their own retries."""

CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 8 << 20
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}

Progress = Callable[[str, int, "int | None"], None]
"""Told the URL as it may be shown, the bytes so far, and their number where it is known. It begins at 0, after a failed attempt
again, and ends with all of them."""


def download(url: str, path: Path, sha256: str, field: str, progress: Progress) -> Digest:
    """Write the file behind `url` to `path`; return its digest.

    Raises:
        ConfigError: The protocol is unknown, or its package is not installed.
        SourceError: It cannot be fetched, or its digest is not `sha256`; nothing is left at `path`.
        OSError: The disk refuses it.
    """
    digest, head = _written(shown(url), _opener(url, field), path, field, progress)
    if digest.sha256 != sha256:
        path.unlink()
        found = f"expected sha256 {sha256}, found {digest.sha256} ({digest.size_bytes} bytes); nothing was kept"
        raise SourceError(f"{field}: {shown(url)} is not the file that was meant: {found}", _what_it_is(head))
    return digest


def fetch_unknown(url: str, folder: Path, field: str, most_files: int, progress: Progress) -> Path:
    """Bring the file or the folder behind `url`, whose digest nobody knows, into `folder`; return where it is.

    Raises:
        ConfigError: The protocol is unknown, or its package is not installed.
        SourceError: It cannot be fetched, or has names that lead elsewhere or more than `most_files` of them.
        OSError: The disk refuses it.
    """
    opener = _opener(url, field)
    try:
        names = _files_in(url)
    except Exception as error:
        broken = _broken(error, 0, None)
        raise SourceError(f"{field}: cannot fetch {shown(url)}: {broken.reason}", broken.hint) from None
    if names is None:
        path = folder / file_name(url)
        _written(shown(url), opener, path, field, progress)
        return path
    odd = [name for name in names if not PurePosixPath(name).parts or {"..", "/"} & {*PurePosixPath(name).parts}]
    if odd or len(names) > most_files:
        found = f"the name {odd[0]!r}" if odd else f"{len(names)} files"
        raise SourceError(f"{field}: {shown(url)}: expected a folder of at most {most_files} files below it, found {found}")
    for name in names:
        path = folder / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        below = f"{url.rstrip('/')}/{name}"
        _written(shown(below), _opener(below, field), path, field, progress)
    return folder / "folder"


def _files_in(url: str) -> list[str] | None:
    """Return the files in the folder behind the URL, relative to it; None for what is no folder. HTTP has none."""
    import fsspec  # type: ignore[import-untyped]

    scheme = protocol(url)
    if scheme in ("http", "https"):
        return None
    files, path = fsspec.core.url_to_fs(scheme + url[len(scheme) :], skip_instance_cache=True)
    if not files.isdir(path):
        return None
    return sorted(name.removeprefix(path).lstrip("/") for name in files.find(path))


def _written(
    name: str, opener: Callable[[], tuple[Any, int | None]], path: Path, field: str, progress: Progress
) -> tuple[Digest, bytes]:
    """Write what is opened to `path`; return its digest and its first bytes. Nothing is left of what fails."""
    for attempt in range(1, ATTEMPTS + 1):
        body = _Body(opener, name, progress)
        try:
            return write_file(path, body), body.head
        except _BrokenError as broken:  # whose cause may hold secrets, and is left behind
            path.unlink(missing_ok=True)
            if broken.passing and attempt < ATTEMPTS:
                time.sleep(PAUSE_SECONDS * attempt)
                continue
            again = f" ({attempt} attempts)" if attempt > 1 else ""
            hint = broken.hint or "it is not in the cache; build again when the network is there, or name a local file"
            raise SourceError(f"{field}: cannot fetch {name}: {broken.reason}{again}", hint) from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    raise AssertionError("the last attempt returns or raises")


class _BrokenError(Exception):
    """What went wrong at the other end.

    Attributes:
        reason: Without secrets.
        hint: What to do, where more is known than that the network failed.
        passing: Whether trying again may help.
    """

    def __init__(self, reason: str, hint: str = "", passing: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.passing = reason, hint, passing


class _Body:
    """The chunks of one attempt; keeps the first bytes, to say what a wrong file is."""

    def __init__(self, opener: Callable[[], tuple[Any, int | None]], name: str, progress: Progress) -> None:
        self.head = b""
        self._opener = opener
        self._name = name
        self._progress = progress

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        with ExitStack() as stack:
            try:
                file, total = self._opener()
            except Exception as error:
                raise _broken(error, 0, None) from None
            stack.callback(file.close)
            while True:
                self._progress(self._name, done, total)
                try:
                    chunk = file.read(CHUNK_BYTES)
                except Exception as error:
                    raise _broken(error, done, total) from None
                if not chunk:
                    return
                self.head = self.head or bytes(chunk[:200])
                done += len(chunk)
                yield chunk


def _opener(url: str, field: str) -> Callable[[], tuple[Any, int | None]]:
    """Return what opens the URL for reading, and tells its size where that is known."""
    import fsspec

    scheme = protocol(url)
    url = scheme + url[len(scheme) :]
    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError:
        known = fsspec.available_protocols()
        raise ConfigError(f"{field}: unknown protocol {scheme}:// in {shown(url)}", did_you_mean(scheme, known)) from None
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        hint = f'pip install "mlkit-build[{extra}]"' if extra else str(error)
        raise ConfigError(f"{field}: {shown(url)} needs a package that is not installed", hint) from None

    def over_http() -> tuple[Any, int | None]:
        # One streamed GET. The usual way asks HEAD first, which signed URLs refuse, and takes every failure for a 404.
        files = fsspec.filesystem(scheme, get_client=_session, encoded="%" in url, skip_instance_cache=True)
        file = files.open(url, block_size=0, size=1)
        length = file.r.headers.get("Content-Length", "")
        return file, int(length) if length.isdecimal() else None

    def over_others() -> tuple[Any, int | None]:
        files, path = fsspec.core.url_to_fs(url, skip_instance_cache=True)
        file = files.open(path, "rb", block_size=_BLOCK_BYTES)
        return file, getattr(file, "size", None)

    return over_http if scheme in ("http", "https") else over_others


async def _session(**options: Any) -> Any:
    """Return an HTTP session that gives the bytes as they are stored and does not wait for ever.

    Proxies and ~/.netrc are respected, and what the user states in `FSSPEC_HTTP` (`client_kwargs`) comes first.
    """
    import aiohttp

    headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    # An answer that is an error is let go at once: fsspec keeps its connection, which aiohttp later complains of on stderr.
    ours = {"headers": headers, "timeout": timeout, "auto_decompress": False, "trust_env": True, "raise_for_status": True}
    return aiohttp.ClientSession(**{**ours, **options})


def _broken(error: Exception, done: int, total: int | None) -> _BrokenError:
    """Return the error in a few words, whoever raised it: fsspec, aiohttp, botocore, the socket."""
    import aiohttp

    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        hint = "check the URL; a folder or a checkpoint is fetched as an archive: tar://PLACE::URL or zip://PLACE::URL"
        return _BrokenError("it is not there", hint)
    if isinstance(error, IsADirectoryError):
        return _BrokenError("it is a folder", "put it into an archive, and write tar://PLACE::URL or zip://PLACE::URL")
    if isinstance(error, PermissionError) or status in (401, 403):
        hint = "the credentials are missing, wrong or expired; state them as that service's own tools expect, not in the recipe"
        return _BrokenError(f"access denied{f' (status {status})' if status else ''}", hint)
    if isinstance(error, aiohttp.TooManyRedirects):
        return _BrokenError("too many redirects", "check the URL")
    if status:
        text = f"the server answered {status} {getattr(error, 'message', '')}".rstrip()
        return _BrokenError(text, "" if status >= 500 else "check the URL", status in _PASSING)
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = getattr(error, "certificate_error", None) or error.os_error
        text = redacted(cause.strerror or str(cause))
        if text.startswith("Connect call failed"):  # asyncio's, which hides the reason in the number
            text = os.strerror(cause.errno or 0)
        return _BrokenError(f"cannot connect to {error.host}: {text}")
    if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
        return _BrokenError(f"cannot connect: {error.strerror}")
    so_far = f" after {done} of {total} bytes" if total else f" after {done} bytes" if done else ""
    if isinstance(error, TimeoutError):
        return _BrokenError(f"the server fell silent{so_far}", passing=True)
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError)):
        return _BrokenError(f"the connection broke off{so_far}", passing=True)
    if type(error).__name__ == "NoCredentialsError":
        hint = "state them as for the `aws` command line; for a public bucket set FSSPEC_S3_ANON=true"
        return _BrokenError("there are no credentials", hint)
    text = redacted(str(error)).strip()
    return _BrokenError(f"{type(error).__name__}{f': {text}' if text else ''}{so_far}")


def _what_it_is(head: bytes) -> str:
    """Return what to do about a file with another digest, with a guess at what came instead."""
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page: a log-in or an error perhaps; use the address that the download itself has"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; use the address of the file itself"
    return "if the file was changed on purpose, look at it and state its new sha256"
