"""A model in the interpreter of another environment, whose process takes chunks of samples and answers with their outputs.

Whatever happens to that process ends as an answer: what the runtime says of the model, or a StageError where it is no fault of
the model's.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import StageError
from mlkit_build.runtimes import PACKAGES, Requirement, interpreting

CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP}
"""How a process ends by itself: it will do so again."""


class RefusedError(Exception):
    """What the runtime does instead of computing the model, in words that follow its name. It will do so again."""


class Isolated:
    """One process with the model; a context manager.

    Args:
        requirement: What runs it, for messages.
        python: Of its environment.
        model: The `.tflite`.
        inputs: The inputs' names.
        outputs: The outputs' names.
        folder: Where samples and outputs are handed over.
    """

    def __init__(
        self, requirement: Requirement, python: Path, model: Path, inputs: Sequence[str], outputs: Sequence[str], folder: Path
    ) -> None:
        self._requirement = requirement
        self._environment = python.parents[1]
        self._model = model
        self._outputs = len(outputs)
        self._folder = folder
        self._sent: list[tuple[str, int]] = []
        self._chunks = 0
        target = PACKAGES[requirement.package].interpreter
        arguments = [target, str(model), str(folder), json.dumps(list(inputs)), json.dumps(list(outputs))]
        self._process = subprocess.Popen(
            [str(python), "-IB", str(Path(interpreting.__file__).resolve()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._said = b""

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, inputs: Sequence[NDArray[Any]], first: int) -> None:
        """Hand over a chunk: `[samples, ...]` of every input in the model's own types, from the sample `first` on."""
        chunk = str(self._chunks)
        self._chunks += 1
        for index, values in enumerate(inputs):
            np.save(self._folder / f"{chunk}-in-{index}.npy", values)
        self._sent.append((chunk, first))
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{chunk}\n".encode())
        except OSError:  # it has ended, and `receive` finds out how
            return

    def receive(self, timeout_s: float) -> list[NDArray[Any]]:
        """Return the outputs of the chunk that was sent longest ago, `[samples, ...]` each, in the model's own types.

        Raises:
            RefusedError: The runtime does not compute the model.
            StageError: The environment does not work, the time is over, or the process was killed.
        """
        chunk, first = self._sent.pop(0)
        answer = self._answer(timeout_s, first)
        if "broken" in answer:
            raise StageError(
                f"{self._requirement} does not work: {answer['broken']}",
                f"remove {self._environment}, and the next build makes it anew; or choose another version",
            )
        if "refused" in answer:
            said = _one_line(str(answer["refused"]).replace(str(self._model), "the model"))
            later = answer.get("sample", 0) + first
            raise RefusedError(f"does not compute sample {later}: {said}" if later else f"refuses the model: {said}")
        found = []
        for index in range(self._outputs):
            path = self._folder / f"{chunk}-out-{index}.npy"
            found.append(np.load(path, allow_pickle=False))
        for path in self._folder.glob(f"{chunk}-*.npy"):
            path.unlink()
        return found

    def _answer(self, timeout_s: float, first: int) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._said:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise StageError(
                        f"{self._requirement} was not done with the samples from {first} on after {timeout_s:.0f} s",
                        "it may hang in the model, or the machine may be too busy: build again to tell",
                    )
                more = os.read(self._process.stdout.fileno(), 1 << 16)
                if not more:
                    self._ended(first)
                self._said += more
        line, _, self._said = self._said.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self, first: int) -> None:
        """Say why the process ended without an answer. Raises RefusedError or StageError, always."""
        status = self._process.wait()
        known = {number.value: number for number in signal.Signals}
        ended_by = known.get(-status)
        where = f" in the samples from {first} on"
        if ended_by in CRASHES:
            raise RefusedError(f"crashes with {ended_by.name}{where}")
        how = f"was killed by {ended_by.name}" if ended_by else f"ended with status {status}"
        out_of_memory = "; the system may have run out of memory" if ended_by is signal.SIGKILL else ""
        raise StageError(f"{self._requirement} {how}{where}{out_of_memory}")


def _one_line(said: str) -> str:
    return " ".join(said.split())[:500] or "without a word"
