"""Runs a model on samples in the interpreter of the Python that runs this file, where nothing of mlkit-build is installed.

For Python 3.8 and later. The arguments are `module:attribute` of the interpreter, the model, a folder, and the inputs' and the
outputs' names as JSON. Each line on standard input names a chunk, whose inputs are `<chunk>-in-<index>.npy` in the folder, each
`[samples, ...]`; each line on standard output answers one: `{"done": chunk}`, when `<chunk>-out-<index>.npy` are there, or what
went wrong: `broken` when the environment is, `refused` when the interpreter does not take the model, or `sample` of the chunk.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from importlib import import_module
from operator import attrgetter
from typing import Any

REFUSALS = (RuntimeError, ValueError)
"""What interpreters raise of a model. Anything else is of the environment: NumPy 2 where the interpreter wants 1, for one."""


def main(target: str, model: str, folder: str, inputs: str, outputs: str) -> None:
    """Answer requests until standard input ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a model that hangs does not outlive its build
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer

    def answer(**said: Any) -> None:
        print(json.dumps(said), file=answers, flush=True)

    try:
        np = import_module("numpy")
        module, _, attribute = target.partition(":")
        interpreter_class = attrgetter(attribute)(import_module(module))
    except BaseException as error:
        answer(broken=f"{type(error).__name__}: {error}")
        return
    try:
        interpreter = interpreter_class(model_path=model, num_threads=1)
        run = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    except REFUSALS as error:
        answer(refused=str(error))
        return
    except Exception as error:
        answer(broken=f"{type(error).__name__}: {error}")
        return
    names = json.loads(inputs)
    for line in sys.stdin:
        chunk = line.strip()
        arrays = [np.load(os.path.join(folder, f"{chunk}-in-{index}.npy")) for index in range(len(names))]  # noqa: PTH118
        found: list[Any] = []
        try:
            for row in range(len(arrays[0])):
                found.append(run(**{name: values[row] for name, values in zip(names, arrays)}))  # noqa: B905 - Python 3.10's
        except REFUSALS as error:
            answer(refused=str(error), sample=len(found))
            return
        except Exception as error:
            answer(broken=f"{type(error).__name__}: {error}")
            return
        for index, name in enumerate(json.loads(outputs)):
            np.save(os.path.join(folder, f"{chunk}-out-{index}.npy"), np.stack([row[name] for row in found]))  # noqa: PTH118
        answer(done=chunk)


if __name__ == "__main__":
    main(*sys.argv[1:])
