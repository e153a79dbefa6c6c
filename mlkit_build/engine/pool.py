"""The parent's side of the fork servers: one per preload, started when a miss needs it, ended with the build."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from mlkit_build.engine.worker import PRELOADS, command_line
from mlkit_build.errors import StageError
from mlkit_build.records import dataclass

_STRIPPED = (
    "TF_", "KERAS_", "XLA_", "TFLITE_", "OMP_", "MKL_", "OPENBLAS_", "DNNL_", "ONEDNN_", "NPY_", "GLIBC_TUNABLES", "CUDA_",
    "PYTHON", "LC_", "LANG",
)  # fmt: skip
"""Prefixes of environment variables that could change an action's bytes without being in its key."""

_FIXED = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "LC_ALL": "C",
    "TZ": "UTC",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "KERAS_BACKEND": "tensorflow",
}
"""The environment of every action, stated here and so part of what an action's version means."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status, negative for the signal that killed it, and how long it ran."""

    status: int
    seconds: float


class Pool:
    """Fork servers by preload. Threads may share it."""

    def __init__(self) -> None:
        self._servers: dict[str, _Server] = {}
        self._lock = threading.Lock()

    def warm(self, preload: str) -> None:
        """Start the server for `preload`, without waiting for its imports."""
        with self._lock:
            self._server(preload)

    def submit(self, preload: str, request: Mapping[str, Any]) -> Future[Ended]:
        """Have an action run; the future ends with the child. An action that needs no preload takes any server there is."""
        with self._lock:
            if not PRELOADS[preload]:
                preload = next((name for name, server in self._servers.items() if server.ready and not server.dead), "python")
            server = self._server(preload)
        return server.submit(request)

    def close(self) -> None:
        """Kill the servers and everything they forked."""
        with self._lock:
            for server in self._servers.values():
                server.close()
            self._servers.clear()

    def _server(self, preload: str) -> _Server:
        server = self._servers.get(preload)
        if server is None or server.dead:
            if server is not None:
                server.close()
            server = self._servers[preload] = _Server(preload)
        return server


class _Server:
    def __init__(self, preload: str) -> None:
        self.preload = preload
        self.ready = False
        self._waiting: dict[int, Future[Ended]] = {}
        self._lock = threading.Lock()
        self._next = 0
        self._failure = ""
        self._process = subprocess.Popen(
            command_line(preload),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"mlkit-build-{preload}", daemon=True)
        self._reader.start()

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    def submit(self, request: Mapping[str, Any]) -> Future[Ended]:
        future: Future[Ended] = Future()
        with self._lock:
            identifier = self._next
            self._next += 1
            self._waiting[identifier] = future
        line = json.dumps({"id": identifier, **request}).encode() + b"\n"
        try:
            assert self._process.stdin is not None
            with self._lock:
                self._process.stdin.write(line)
                self._process.stdin.flush()
        except (OSError, ValueError):  # ValueError: closed meanwhile
            self._fail()
        return future

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout:
                answer = json.loads(line)
                if answer["id"] is None:
                    self._failure = answer["error"]
                    continue
                self.ready = True
                with self._lock:
                    future = self._waiting.pop(answer["id"], None)
                if future is not None:
                    future.set_result(Ended(answer["status"], answer["seconds"]))
        self._fail()

    def _fail(self) -> None:
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        problem = self._failure or "it was killed"
        for future in waiting:
            if not future.done():
                future.set_exception(
                    StageError(
                        f"the {self.preload} worker process ended: {problem}",
                        "check that the package is installed whole (`pip check`) and that there is memory left",
                    )
                )


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_STRIPPED)}
    own_path = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    return {**kept, **_FIXED, **own_path}
