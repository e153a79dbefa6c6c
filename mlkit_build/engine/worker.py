"""The fork server: imports a runtime once, then forks one pristine child per action.

It reads requests as JSON lines on standard input and answers on standard output. A child changes nothing that the next one
sees: no Keras name counters, no TensorFlow state, and a native abort ends that child alone. The C++ log and everything
printed go to the action's log file. When standard input ends, so do all children.

Measured with TensorFlow 2.21 on Linux: after the import the process has one thread, so forking is safe. Where forking is
not (macOS), the server imports nothing and spawns a fresh interpreter per action.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import selectors
import signal
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from mlkit_build import progress
from mlkit_build.errors import MlkitBuildError, cut, message_of

PRELOADS = {
    "tensorflow": (
        "tensorflow",
        "ai_edge_litert.schema_py_generated",
        "mlkit_build.stages.freeze",
        "mlkit_build.stages.convert",
    ),
    "litert": (
        "numpy",
        "ai_edge_litert.interpreter",
        "ai_edge_litert.schema_py_generated",
        "mlkit_build.stages.validate",
        "mlkit_build.stages.package",
        "mlkit_build.stages.app",
    ),
    "quantizer": (
        "numpy",
        "ai_edge_litert.interpreter",
        "ai_edge_litert.schema_py_generated",
        "ai_edge_quantizer.quantizer",
        "mlkit_build.stages.calibrate",
        "mlkit_build.stages.quantize",
        "mlkit_build.stages.attribute",
    ),
    "jinja2": (),
    "python": (),
}

REQUEST_FILE = "request.json"
RESULT_FILE = "result.json"
SCRATCH = "tmp"
_PR_SET_PDEATHSIG = 1


def serve(preload: str, forks: bool) -> None:
    """Answer requests until standard input ends.

    Args:
        preload: A name from PRELOADS.
        forks: False spawns a fresh interpreter per action, for platforms where forking after an import is not safe.
    """
    requests, answers, server = os.dup(0), os.dup(1), os.getpid()
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.dup(2)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    try:
        for module in PRELOADS[preload] if forks else ():
            import_module(module)
    except BaseException as error:
        _send(answers, {"id": None, "error": f"{type(error).__name__}: {error}"})
        raise
    gc.collect()
    gc.freeze()  # children share what was imported instead of walking it again and again
    os.dup2(errors, 2)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, tuple[Any, float]] = {}
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == wake_read:
                    os.read(wake_read, 4096)
                    continue
                chunk = os.read(requests, 1 << 16)
                if not chunk:
                    _kill(list(running))
                    return
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    request = json.loads(line)
                    started = time.monotonic()
                    child = os.fork() if forks else _spawn(request)
                    if child == 0:
                        for descriptor in (requests, answers, wake_read, wake_write, errors):
                            os.close(descriptor)
                        _child(request, server)
                    running[child] = (request["id"], started)
            for child, status in _finished(running):
                identifier, started = running.pop(child)
                answer = {"id": identifier, "status": status, "seconds": time.monotonic() - started}
                _send(answers, answer)


def perform(request: dict[str, Any]) -> int:
    """Do one action in this process and write what came of it to the work folder; return the exit status."""
    work = Path(request["work"])
    try:
        module, _, name = request["function"].partition(":")
        inputs = {key: Path(value) for key, value in request["inputs"].items()}
        if request.get("timeout_s"):  # a thread outside of Python's lock, so that nothing can hang past it
            faulthandler.dump_traceback_later(request["timeout_s"], exit=True)
        getattr(import_module(module), name)(request["params"], inputs, work / "out")
        result: dict[str, Any] = {"ok": True}
    except MlkitBuildError as error:
        result = {"ok": False, "kind": type(error).__name__, "message": error.message, "hint": error.hint}
    except BaseException as error:
        traceback.print_exc()
        text = message_of(error).strip().splitlines()
        message = cut(f"{type(error).__name__}: {text[0] if text else 'no message'}")
        result = {"ok": False, "kind": "crash", "message": message, "hint": ""}
    faulthandler.cancel_dump_traceback_later()
    (work / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")
    return 0 if result["ok"] else 1


def _spawn(request: dict[str, Any]) -> int:
    """Start a fresh interpreter for one request, which a file hands over: arguments are short; return its process id."""
    file = Path(request["work"], REQUEST_FILE)
    file.write_text(json.dumps(request), encoding="utf-8")
    return os.posix_spawn(sys.executable, command_line("--request", str(file), str(os.getpid())), os.environ)


def command_line(*arguments: str) -> list[str]:
    """Return the command that runs this module in a fresh interpreter.

    `-P` keeps the current folder, which may hold anybody's `json.py`, out of the import path; the package's own folder comes
    last, so that it hides nothing.
    """
    package_parent = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.append({package_parent!r}); from mlkit_build.engine.worker import main; main(sys.argv[1:])"
    return [sys.executable, "-P", "-c", code, *arguments]


def main(arguments: list[str]) -> None:
    """Serve the runtime named first, or perform the one request after `--request`."""
    if arguments[0] == "--request":
        _child(json.loads(Path(arguments[1]).read_bytes()), int(arguments[2]))
    serve(arguments[0], forks=sys.platform == "linux" and "--spawn" not in arguments)


def _child(request: dict[str, Any], server: int) -> None:
    """Run one action in a child of the process `server`; never returns."""
    status = 1
    try:
        _die_with_parent(server)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(request["work"])
        progress.tell_to(Path(progress.FILE).absolute())
        _own_temporary_folder()
        status = perform(request)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _own_temporary_folder() -> None:
    """Make what libraries leave behind go with the work folder: AutoGraph's source files, which it removes only at an exit.

    And joblib's folders, which it makes in shared memory unless it is told where.
    """
    folder = Path(SCRATCH).absolute()
    folder.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = os.environ["JOBLIB_TEMP_FOLDER"] = tempfile.tempdir = str(folder)


def _finished(running: dict[int, Any]) -> list[tuple[int, int]]:
    """Return (child, status) of every child that ended; a negative status is the signal that killed it."""
    ended = []
    for child in list(running):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            ended.append((child, os.waitstatus_to_exitcode(status)))
    return ended


def _kill(children: list[int]) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _die_with_parent(server: int) -> None:
    """On Linux, ask to be killed when the fork server dies, whatever kills it; end at once if it is dead already."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _send(descriptor: int, message: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
