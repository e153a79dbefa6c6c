"""validate: the shipped file in another version of the interpreter, as phones have them, against the newest one."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset, open_few
from mlkit_build.errors import StageError
from mlkit_build.metrics import Measurement
from mlkit_build.plain import from_plain, pretty
from mlkit_build.progress import tell
from mlkit_build.runtimes import Requirement
from mlkit_build.runtimes.environments import python_of
from mlkit_build.runtimes.isolated import Isolated, RefusedError
from mlkit_build.runtimes.verdicts import Findings
from mlkit_build.signature import FrozenSignature
from mlkit_build.stages.inference import Outputs, feeds, fill, ready
from mlkit_build.stages.measuring import Measuring, refuse_not_finite
from mlkit_build.stages.params import CODE_PREFIX, RuntimeParams
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.runner import Runner
from mlkit_build.tflite.versions import oldest_runtime

SAMPLES = 1000
"""At most so many samples: wrong kernels show in the first ones, and what they cost is told to a tenth of a point."""
HELD_BYTES = 1 << 28
"""The outputs of all samples are held, and stay within 256 MB."""
CHUNK_BYTES = 1 << 24
"""Samples are handed over 16 MB at a time, and 128 at most."""
CHUNK = 128
LEAST_TIMEOUT_S = 300.0
SLOWER = 100
"""Another runtime may take so many times as long as the newest one, and five minutes in any case."""


def runtime(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Run the `.tflite` in the environment and in the newest runtime, and write `runtime.json`: Findings.

    That a runtime refuses the model, crashes or gives NaN is among what is found.

    Raises:
        ConfigError: Samples, labels or outputs do not fit the metrics.
        StageError: The environment does not work, or the newest runtime does not compute the model.
    """
    request = from_plain(RuntimeParams, params)
    requirement = Requirement(request.package, request.version)
    environment = inputs["environment"]
    signature = FrozenSignature.read(inputs["signature.json"])
    most = HELD_BYTES // (4 * sum(spec.size for spec in signature.outputs))
    dataset = open_few(request.dataset, inputs["dataset"], "dataset", signature, max(1, min(SAMPLES, most)))
    references = [np.zeros((len(dataset), spec.size), np.float32) for spec in signature.outputs]
    code = {name.removeprefix(CODE_PREFIX): path for name, path in inputs.items() if name.startswith(CODE_PREFIX)}
    measuring = Measuring(
        request.metrics,
        request.output,
        signature.outputs,
        dataset,
        references,
        code,
        is_rounded=True,
        scores_of=request.scores_of,
    )
    newest = _Newest(inputs["model"], request, signature, dataset, references)
    names = [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]
    metrics: dict[str, Measurement] = {}
    refused = ""
    with (
        tempfile.TemporaryDirectory() as folder,
        Isolated(requirement, python_of(environment), inputs["model"], *names, Path(folder)) as other,
    ):
        try:
            for batch, computed in _computed(newest, other):
                _check_finite(signature, computed, batch.first)
                measuring.add(batch, computed)
            metrics, _ = measuring.result()
        except RefusedError as error:
            refused = str(error)
    found = Findings(
        package=request.package,
        version=request.version,
        installed=json.loads(environment.read_bytes())["packages"],
        samples=len(dataset),
        refused=refused,
        oldest_runtime=oldest_runtime(flatbuffer.read(inputs["model"])),
        metrics=metrics,
    )
    (outputs / "runtime.json").write_bytes(pretty(found))


class _Newest:
    """The newest runtime, which is this process's: what it is fed, and its outputs, which go to the references."""

    def __init__(
        self,
        model: Path,
        request: RuntimeParams,
        signature: FrozenSignature,
        dataset: Dataset,
        references: list[NDArray[np.float32]],
    ) -> None:
        self._signature = signature
        self._dataset = dataset
        self._references = references
        self.samples = len(dataset)
        self._feeds = feeds(dataset, signature, request.inputs)
        try:
            self._runner = Runner(model, signature)
        except (ValueError, RuntimeError) as error:
            raise StageError(f"runtime: LiteRT cannot run the model: {str(error).splitlines()[0]}") from error

    def chunks(self) -> Iterator[tuple[Batch, list[NDArray[Any]], float]]:
        """Yield samples, `[n, *shape]` of every input as the interpreter takes them, and how many seconds it took."""
        sample_bytes = sum(4 * spec.size for spec in (*self._signature.inputs, *self._signature.outputs))
        for batch in self._dataset.batches(max(1, min(CHUNK, CHUNK_BYTES // max(1, sample_bytes)))):
            started = time.monotonic()
            fed: list[list[NDArray[Any]]] = [[] for _ in self._signature.inputs]
            for row in range(len(batch)):
                for spec, column in zip(self._signature.inputs, fed, strict=True):
                    feed, raw = self._feeds[spec.name], batch.features[spec.name][row : row + 1]
                    fill(self._runner, spec, feed, ready(self._runner, spec, feed, raw, batch.first + row), 1)
                    column.append(self._runner.buffer(spec.name).copy())
                for table, found in zip(self._references, self._runner.invoke(), strict=True):
                    table[batch.first + row] = found.reshape(-1)
            for spec, table in zip(self._signature.outputs, self._references, strict=True):
                found_here = table[batch.first : batch.first + len(batch)]
                refuse_not_finite("runtime: the model's", spec, found_here, batch.first, self._dataset)
            yield batch, [np.stack(column) for column in fed], time.monotonic() - started

    def decode(self, found: list[NDArray[Any]]) -> Outputs:
        """Return outputs in the model's types, `[n, ...]` each, as real values."""
        return [
            port.decode(values).reshape(len(values), -1).astype(np.float32, copy=False)
            for port, values in zip(self._runner.outputs, found, strict=True)
        ]


def _computed(newest: _Newest, other: Isolated) -> Iterator[tuple[Batch, Outputs]]:
    """Yield every chunk with the other runtime's outputs, which it computes while the newest is at the next chunk.

    Raises:
        RefusedError: It does not.
    """
    done = 0
    waiting: list[tuple[Batch, float]] = []

    def received() -> tuple[Batch, Outputs]:
        batch, seconds = waiting.pop()
        return batch, newest.decode(other.receive(max(LEAST_TIMEOUT_S, SLOWER * seconds)))

    for batch, fed, seconds in newest.chunks():
        if waiting:
            yield received()
        other.send(fed, batch.first)
        waiting.append((batch, seconds))
        done += len(batch)
        tell(done, newest.samples)
    yield received()


def _check_finite(signature: FrozenSignature, found: Outputs, first: int) -> None:
    """Raise RefusedError for a value that is not finite: the newest runtime gave none."""
    for spec, values in zip(signature.outputs, found, strict=True):
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            raise RefusedError(
                f"gives values that are not finite in the output {spec.name!r} of sample {first + int(np.nonzero(wrong)[0][0])}"
            )
