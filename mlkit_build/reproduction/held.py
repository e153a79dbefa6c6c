"""A build that another process holds by its standard input: it ends as if interrupted when that lets go, or is killed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

_CODE = "import sys; sys.path.append({!r}); from mlkit_build.reproduction.held import main; main()"


def code() -> str:
    """Return what a fresh Python runs to be such a build: mlkit-build with the arguments that follow."""
    return _CODE.format(str(Path(__file__).resolve().parents[2]))


def main() -> None:
    """Run mlkit-build for as long as somebody holds the other end of standard input.

    A pipe closes whatever its holder dies of, on every system. The build hears of it as of a SIGTERM, so that it removes its
    folders and takes its own processes along.
    """
    line, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # nobody else may wait for that end
    os.close(nothing)
    threading.Thread(target=_end_with, args=(line,), name="mlkit-build-held", daemon=True).start()
    from mlkit_build.cli import main as build

    build()


def _end_with(line: int) -> None:
    while os.read(line, 1):
        pass
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    signal.pthread_kill(main_thread, signal.SIGTERM)  # not just to any thread: the main one may wait for a lock
