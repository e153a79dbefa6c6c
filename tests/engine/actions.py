"""Tiny actions that a real fork server runs for the engine's tests. `trace` names a file to which every run adds a line."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.errors import ConfigError, SourceError, StageError
from mlkit_build.progress import EVERY_S, tell

Params = Mapping[str, Any]
Inputs = Mapping[str, Path]

STATE: list[str] = []
"""What a former action would leave behind if children shared anything."""


def _trace(params: Params) -> None:
    if "trace" in params:
        with Path(params["trace"]).open("a", encoding="utf-8") as file:
            file.write(f"{params.get('label', '')} {os.getpid()}\n")


def join(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Write the inputs one after the other, and `text`, to every file of `writes`."""
    _trace(params)
    data = b"".join(inputs[name].read_bytes() for name in sorted(inputs)) + params.get("text", "").encode()
    for name in params.get("writes", ["out"]):
        (outputs / name).write_bytes(data)


def length(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Write the size of `in`: inputs that differ give equal outputs."""
    _trace(params)
    (outputs / "out").write_text(str(inputs["in"].stat().st_size), encoding="utf-8")


def slow(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Say that it began, wait until `release` exists, then be done."""
    _trace(params)
    while "release" in params and not Path(params["release"]).exists():
        time.sleep(0.01)
    join({**params, "trace": os.devnull}, inputs, outputs)


def fail(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Raise the error that `error` names."""
    _trace(params)
    print("the last words of a failing action")
    errors = {"ConfigError": ConfigError, "SourceError": SourceError, "StageError": StageError}
    if params["error"] in errors:
        raise errors[params["error"]]("what happened", "what to do")
    raise ValueError("first line\nsecond line")


def die(params: Params, inputs: Inputs, outputs: Path) -> None:
    """End without a result: by the signal `signal`, or with the status `status`."""
    _trace(params)
    print("the last words of a dying action", flush=True)
    if "signal" in params:
        os.kill(os.getpid(), getattr(signal, params["signal"]))
    os._exit(params["status"])


def nothing(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Forget to write anything."""
    print("nothing to say")


def rewrite(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Write the input while reading it, as a user who saves a file in the middle of a build."""
    data = inputs["in"].read_bytes()
    Path(params["path"]).write_bytes(b"saved again")
    (outputs / "out").write_bytes(data)


def look_around(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Write what a child can see, and leave traces for the next one."""
    seen = {
        "state": list(STATE),
        "left": os.environ.get("LEFT_BEHIND"),
        "hash": hash("mlkit"),
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "beside": sorted(path.name for path in Path.cwd().iterdir()),
        "outputs": str(outputs),
        "process": os.getpid(),
        "parent": os.getppid(),
        "tensorflow": "tensorflow" in sys.modules,
    }
    STATE.append("dirty")
    os.environ["LEFT_BEHIND"] = "dirty"
    print("printed")
    print("complained", file=sys.stderr)
    os.write(1, b"written by C\n")
    (outputs / "out").write_text(json.dumps(seen), encoding="utf-8")


def leave_temporary_file(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Leave a file where temporary files go, and write its name, as a library does that removes it at a regular exit."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        (outputs / "left").write_text(file.name, encoding="utf-8")


def count(params: Params, inputs: Inputs, outputs: Path) -> None:
    """Tell of `total` samples, and go on when somebody had the time to look."""
    for done in range(params["total"] + 1):
        tell(done, params["total"])
    time.sleep(3 * EVERY_S)
    (outputs / "out").write_bytes(b"")
