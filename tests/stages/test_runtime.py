"""The action `runtime`: whatever another interpreter does to a model ends as a finding or as an error that names it.

The other interpreters are the newest one with something done to it, in an environment that this Python plays.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.metrics import Measurement
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.recipe import Gate, MetricChoice, Npz
from mlkit_build.runtimes import PACKAGES, isolated
from mlkit_build.runtimes.verdicts import Findings, RuntimeVerdict, judge_runtime
from mlkit_build.stages import runtime as stage
from mlkit_build.stages.params import RuntimeParams
from tests.stages.built import IMAGE, pictures
from tests.stages.conftest import Built

SAMPLES = 150
"""More than a chunk."""

BASE = """
import os, signal, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter as Newest

class Interpreter(Newest):
    def get_signature_runner(self, key):
        compute, calls = Newest.get_signature_runner(self, key), iter(range(10**6))
        return lambda **inputs: self.changed(next(calls), compute(**inputs))

    def changed(self, call, outputs):
        return outputs
"""


def environment(folder: Path, changed: str, *, base: str = BASE) -> Path:
    """Make what looks like an environment whose `tflite_runtime` does what the code says; return its record."""
    place = folder / "environment"
    package = place / "site" / "tflite_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text(base + textwrap.indent(textwrap.dedent(changed), "    "))
    code = f"import runpy, sys; sys.path.insert(0, {str(place / 'site')!r}); sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    (place / "bin").mkdir()
    python = place / "bin" / "python"
    python.write_text(f'#!/bin/sh\nshift\nexec {shlex.quote(sys.executable)} -B -c {shlex.quote(code)} "$@"\n')
    python.chmod(0o755)
    record = place / "environment.json"
    record.write_text(json.dumps({"packages": {"tflite-runtime": "2.14.0"}}))
    return record


def found_by(
    built: Built,
    folder: Path,
    changed: str = "",
    *,
    package: str = "tflite_runtime",
    model: tuple[str, str] = ("float16", "float32"),
    base: str = BASE,
    metric: str = "top1",
) -> Findings:
    """Run the action with an interpreter that was changed so."""
    images = pictures(SAMPLES, seed=3)
    np.savez(folder / "data.npz", images=images, classes=np.arange(SAMPLES) % 4)
    params = RuntimeParams(
        package=package,
        version="2.14",
        dataset=Npz(path="", features={"picture": "images"}, label="classes"),
        inputs={"picture": IMAGE},
        metrics=(MetricChoice(name=metric),),
        output=None,
        scores_of="samples",
    )
    inputs = {"model": built.models[model], "signature.json": built.files["signature.json"], "dataset": folder / "data.npz"}
    inputs["environment"] = environment(folder, changed, base=base)
    stage.runtime(to_plain(params), inputs, folder)
    return from_plain(Findings, json.loads((folder / "runtime.json").read_bytes()))


@pytest.mark.parametrize("metric", ["log_loss", "calibration_error"])
def test_probabilities_that_a_quantized_model_rounds_are_measured_there_too(built: Built, tmp_path: Path, metric: str) -> None:
    found = found_by(built, tmp_path, model=("int8", "float32"), metric=metric)
    assert found.metrics is not None
    assert found.metrics[metric].value == found.metrics[metric].reference


def judged(found: Findings, **gates: Gate) -> RuntimeVerdict:
    whole = {name: replace(value, paired=None) for name, value in (found.metrics or {}).items()}
    return judge_runtime(found, gates, whole)


@pytest.mark.parametrize("model", [("float16", "float32"), ("int8", "int8"), ("int8", "uint8")])
def test_the_same_interpreter_computes_the_same(built: Built, tmp_path: Path, model: tuple[str, str]) -> None:
    found = found_by(built, tmp_path, model=model)
    assert (found.refused, found.samples, found.installed) == ("", SAMPLES, {"tflite-runtime": "2.14.0"})
    assert found.metrics is not None
    assert found.metrics["max_abs_error"].value == 0
    assert found.metrics["top1"].value == found.metrics["top1"].reference
    assert judged(found).passed


@pytest.mark.parametrize("package", sorted(PACKAGES.keys() - {"tflite_runtime"}))
def test_every_other_interpreter_of_the_table_is_found_by_its_name(built: Built, tmp_path: Path, package: str) -> None:
    assert judged(found_by(built, tmp_path, package=package, model=("int8", "int8"))).passed


def test_what_it_prints_is_no_answer(built: Built, tmp_path: Path) -> None:
    found = found_by(built, tmp_path, "def changed(self, call, outputs):\n    print('{}'); os.write(1, b'x\\n'); return outputs")
    assert judged(found).passed


def test_kernels_that_round_otherwise_pass_and_those_that_compute_something_else_do_not(built: Built, tmp_path: Path) -> None:
    for size, passes in ((0.001, True), (1.0, False)):
        folder = tmp_path / str(size)
        folder.mkdir()
        noise = f"""
        def changed(self, call, outputs):
            random = np.random.default_rng(call)
            return {{name: value + ({size} * random.normal(size=value.shape)).astype("f4") for name, value in outputs.items()}}
        """
        verdict = judged(found_by(built, folder, noise))
        assert verdict.passed == passes, verdict
        if not passes:
            assert str(verdict).startswith(
                "tflite_runtime 2.14 computes something else: its outputs are not the newest runtime's on 150"
            )
            assert "expected at least 20 dB" in verdict.problem
            assert verdict.note == "the versions of its operators say that 1.15.0 and later compute it"


def test_a_few_lost_samples_break_a_gate_that_allows_none(built: Built, tmp_path: Path) -> None:
    lost = """
    def changed(self, call, outputs):
        return {name: value[..., ::-1].copy() if call < 3 else value for name, value in outputs.items()}
    """
    found = found_by(built, tmp_path, lost)
    assert found.metrics is not None
    assert found.metrics["top1_agreement"].value == pytest.approx(1 - 3 / SAMPLES, abs=1 / SAMPLES)
    worse = found.metrics["top1"]
    found = replace(found, metrics={**found.metrics, "top1": Measurement(0.90, 0.92), "sqnr_db": Measurement(30.0)})
    whole = {"top1": Measurement(0.95, reference=0.955)}
    assert worse.reference is not None
    assert judge_runtime(found, {"top1": Gate(min=0.93, max_drop=0.025)}, whole).passed
    verdict = judge_runtime(found, {"top1": Gate(min=0.94, max_drop=0.02)}, whole)
    # What is lost here, 0.02, comes off the whole dataset's 0.95, and onto its drop of 0.005.
    assert [(each.limit, each.value, each.passed) for each in verdict.gates] == [("min", 0.93, False), ("max_drop", 0.025, False)]
    assert "top1: 0.93, expected at least 0.94 (90.00% on 150 samples, 92.00% in the newest runtime)" in str(verdict)


INSTEAD = {
    "refuses the model: Could not open the model": """
        def __init__(self, **kwargs):
            raise ValueError("Could not open " + kwargs["model_path"])
        """,
    "refuses the model: Node number 3 (CONV_2D) failed": """
        def get_signature_runner(self, key):
            raise RuntimeError("Node number 3\\n(CONV_2D) failed")
        """,
    "does not compute sample 140: overflow": """
        def changed(self, call, outputs):
            if call == 140:
                raise RuntimeError("overflow")
            return outputs
        """,
    "crashes with SIGABRT in the samples from 0 on": """
        def changed(self, call, outputs):
            os.abort()
        """,
    "crashes with SIGSEGV in the samples from 128 on": """
        def changed(self, call, outputs):
            if call == 140:
                os.kill(os.getpid(), signal.SIGSEGV)
            return outputs
        """,
    "gives values that are not finite in the output 'classes' of sample 131": """
        def changed(self, call, outputs):
            return {name: value / (call != 131) for name, value in outputs.items()}
        """,
}

ERRORS = {
    "was killed by SIGKILL in the samples from 0 on; the system": "os.kill(os.getpid(), signal.SIGKILL)",
    "ended with status 7 in the samples from 0 on": "os._exit(7)",
    "was not done with the samples from 0 on after 3 s": "time.sleep(600)",
}


@pytest.mark.parametrize("said", INSTEAD)
def test_what_it_does_instead_is_a_finding(built: Built, tmp_path: Path, said: str) -> None:
    found = found_by(built, tmp_path, INSTEAD[said])
    assert found.refused == said
    verdict = judged(found, top1=Gate(min=0.1))
    assert (verdict.passed, str(verdict).startswith(f"tflite_runtime 2.14 {said}")) == (False, True)
    assert str(tmp_path) not in (tmp_path / "runtime.json").read_text()


@pytest.mark.parametrize("said", ERRORS)
def test_what_is_no_fault_of_the_model_is_an_error_and_not_remembered(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(stage, "LEAST_TIMEOUT_S", 3.0)
    monkeypatch.setattr(stage, "SLOWER", 0)
    with pytest.raises(StageError, match=f"tflite_runtime 2.14 {said}"):
        found_by(built, tmp_path, f"def changed(self, call, outputs):\n    {ERRORS[said]}")
    assert not (tmp_path / "runtime.json").exists()


@pytest.mark.parametrize(
    ("changed", "base", "said"),
    [
        ("", "import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def get_signature_runner(self, key):\n    raise SystemError('NumPy')", BASE, "SystemError: NumPy"),
        ("def changed(self, call, outputs):\n    raise TypeError('NumPy')", BASE, "TypeError: NumPy"),
    ],
)
def test_an_environment_that_does_not_work_is_to_be_removed(
    built: Built, tmp_path: Path, changed: str, base: str, said: str
) -> None:
    with pytest.raises(StageError) as caught:
        found_by(built, tmp_path, changed, base=base)
    assert caught.value.message == f"tflite_runtime 2.14 does not work: {said}"
    assert caught.value.hint.startswith(f"remove {tmp_path / 'environment'}, and the next build makes it anew")


def test_nothing_is_left_of_its_process_and_of_what_it_was_handed(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[Any] = []
    popen = isolated.subprocess.Popen
    monkeypatch.setattr(
        isolated.subprocess, "Popen", lambda *args, **kwargs: processes.append(popen(*args, **kwargs)) or processes[-1]
    )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(stage.tempfile, "tempdir", None)
    found_by(built, tmp_path)
    (process,) = processes
    assert process.poll() is not None
    assert sorted(os.listdir(tmp_path)) == ["data.npz", "environment", "runtime.json"]  # noqa: PTH208


def test_versions_of_operators_that_foretold_otherwise_are_noted() -> None:
    sqnr = {"sqnr_db": Measurement(40.0), "max_abs_error": Measurement(0.1)}
    found = Findings("tflite_runtime", "2.14", {}, 10, oldest_runtime="2.17.0", metrics=sqnr)
    assert judge_runtime(found, {}, {}).note == "the versions of its operators say that only 2.17.0 and later compute it"
    assert judge_runtime(replace(found, oldest_runtime="2.14.0"), {}, {}).note == ""
    assert judge_runtime(replace(found, oldest_runtime=None), {}, {}).note == ""
    refused = replace(found, refused="refuses the model: no", metrics=None)
    assert judge_runtime(refused, {}, {}).note == ""
    assert "the versions of its operators are those of 2.17.0" in judge_runtime(refused, {}, {}).hint
    assert judge_runtime(replace(refused, package="ai_edge_litert"), {}, {}).note == ""
