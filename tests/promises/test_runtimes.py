"""The shipped file in the runtime 2.14, which pip installs where `MLKIT_BUILD_OLD_RUNTIME` says that its registry has it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.job import JobReport
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.recipe import Input, MetricChoice, Npz
from mlkit_build.runtimes.verdicts import Findings, RuntimeVerdict, judge_runtime
from mlkit_build.stages.params import RuntimeParams
from mlkit_build.stages.runtime import runtime
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import operator_name
from tests.conftest import Workspace
from tests.promises.conftest import Command

OLD = 'validation.runtimes=["tflite_runtime==2.14"]'
ANY = "package.min_runtime=any"
ACTION = "runtime-tflite_runtime-2.14"


@pytest.fixture
def old(warm_workspace: Workspace, environments: Path) -> Workspace:
    """A workspace that holds the mnist build and the environment."""
    (warm_workspace.cache / "v1" / "runtimes").symlink_to(environments)
    return warm_workspace


def manifest(workspace: Workspace, variant: str) -> tuple[str, Mapping[str, Any]]:
    text = (workspace.folder / "dist/mnist" / variant / "manifest.json").read_text()
    return text, json.loads(text)


def verdict_of(report: JobReport) -> RuntimeVerdict:
    (verdict,) = report.runtimes
    return verdict


@pytest.mark.parametrize(
    "options",
    [
        ["quantization=float32"],
        ["quantization=int8"],
        ["quantization=int8", "quantization.io=uint8"],
        ["quantization=dynamic_range", "quantization.granularity=per_tensor"],
    ],
)
def test_what_the_old_runtime_computes_as_the_newest_does_is_published_with_its_figures(
    old: Workspace, options: list[str]
) -> None:
    report = old.build("recipe=mnist", *options, OLD)
    assert report.exit_code == 0, report.error
    verdict = verdict_of(report)
    assert (verdict.runtime, verdict.samples, verdict.passed) == ("tflite_runtime 2.14", 1000, True)
    assert verdict.installed["tflite-runtime"] == "2.14.0"
    assert verdict.metrics["top1"].value == pytest.approx(verdict.metrics["top1"].reference, abs=0.002)
    assert verdict.metrics["top1_agreement"].value >= 0.998
    text, found = manifest(old, report.variant)
    assert found["runtimes"] == json.loads(json.dumps(to_plain(report.runtimes)))
    assert str(old.cache) not in text
    assert "In other runtimes" in (old.folder / "dist/mnist" / report.variant / "report.html").read_text()


def test_litert_by_its_present_name_is_a_runtime_too(old: Workspace, environments: Path, tmp_path: Path) -> None:
    (old.cache / "v1/runtimes").unlink()
    report = old.build("recipe=mnist", 'validation.runtimes=["ai_edge_litert==1.0.1"]')
    assert report.exit_code == 0, report.error
    assert verdict_of(report).installed["ai-edge-litert"] == "1.0.1"
    assert verdict_of(report).metrics["top1_agreement"].value >= 0.998


def test_what_it_refuses_is_not_published_and_the_operator_is_named(old: Workspace, command: Command) -> None:
    code, _, err = command("recipe=mnist", "quantization=dynamic_range", ANY, OLD, "ui=plain")
    assert code == 3
    assert "tflite_runtime 2.14 refuses the model: Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'" in err
    assert "the versions of its operators are those of 2.17.0; older runtimes compute float32" in err
    assert not (old.folder / "dist/mnist/dynamic_range").exists()
    code, _, err = command("recipe=mnist", "quantization=dynamic_range", ANY, "ui=plain")
    assert code == 0, err


def test_a_build_with_nothing_to_do_starts_no_process(old: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert old.build("recipe=mnist", OLD).exit_code == 0

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", fail)
    report = old.build("recipe=mnist", OLD)
    assert (report.status, old.ran(report)) == ("unchanged", set())
    assert verdict_of(report).passed


def test_where_the_environment_lies_is_in_no_key(old: Workspace, environments: Path, tmp_path: Path) -> None:
    assert old.build("recipe=mnist", OLD).exit_code == 0
    (old.cache / "v1/runtimes").unlink()
    shutil.copytree(environments, old.cache / "v1/runtimes", symlinks=True)
    assert old.build("recipe=mnist", OLD).status == "unchanged"
    shutil.rmtree(old.cache / "v1/ac")
    report = old.build("recipe=mnist", OLD)
    assert (report.status, ACTION in old.ran(report)) == ("unchanged", True)


def test_other_versions_in_the_environment_run_the_model_anew_and_other_gates_do_not(old: Workspace, environments: Path) -> None:
    assert old.build("recipe=mnist", OLD).exit_code == 0
    report = old.build("recipe=mnist", OLD, "validation.gates.top1.min=0.98")
    assert old.ran(report) == {"package"}
    (old.cache / "v1/runtimes").unlink()
    shutil.copytree(environments, old.cache / "v1/runtimes", symlinks=True)
    (record,) = (old.cache / "v1/runtimes").glob("*/environment.json")
    record.write_text(record.read_text().replace("1.26", "1.25"))
    assert old.ran(old.build("recipe=mnist", OLD)) >= {ACTION}


def test_operator_versions_that_are_too_low_are_found_out(old: Workspace, environments: Path, tmp_path: Path) -> None:
    assert old.build("recipe=mnist", "quantization=dynamic_range", ANY).exit_code == 0
    model = flatbuffer.read(old.folder / "dist/mnist/dynamic_range/mnist.tflite")
    for code in model.operatorCodes:
        if operator_name(code) in ("FULLY_CONNECTED", "CONV_2D"):
            code.version = {"FULLY_CONNECTED": 9, "CONV_2D": 5}[operator_name(code)]
    flatbuffer.write(model, tmp_path / "model.tflite")
    _, found = manifest(old, "dynamic_range")
    (tmp_path / "signature.json").write_text(json.dumps(found["signature"]))
    params = RuntimeParams(
        package="tflite_runtime",
        version="2.14",
        dataset=Npz(path="", features={"image": "images"}, label="labels"),
        inputs={"image": Input(mean=(0.0,), std=(255.0,))},
        metrics=(MetricChoice(name="top1"),),
        output=None,
    )
    (record,) = environments.glob("*/environment.json")
    dataset = next(path for path in old.copy("mnist").rglob("mnist_test.npz"))
    inputs = {"model": tmp_path / "model.tflite", "signature.json": tmp_path / "signature.json"}
    runtime(to_plain(params), {**inputs, "dataset": dataset, "environment": record}, tmp_path)
    verdict = judge_runtime(from_plain(Findings, json.loads((tmp_path / "runtime.json").read_bytes())), {}, {})
    # Without an error it guesses (9.6%), where the newest runtime has 99.4% of the digits right.
    assert verdict.metrics["top1"].value < 0.2
    assert (verdict.metrics["top1"].reference or 0) > 0.98
    assert not verdict.passed
    assert verdict.problem.startswith("computes something else: its outputs are not the newest runtime's on 1,000 samples")
    assert (verdict.oldest_runtime, verdict.note) == ("2.17.0", "")  # as its tensors foretold, whatever the versions say


def test_a_version_that_does_not_exist_names_what_pip_was_asked_and_what_it_said(old: Workspace, command: Command) -> None:
    code, _, err = command("recipe=mnist", 'validation.runtimes=["tflite_runtime==2.99"]', "ui=plain")
    assert code == 2
    assert "`pip install tflite-runtime==2.99 numpy<2` failed" in err
    assert "No matching distribution" in err or "Could not find a version" in err


def test_without_a_registry_the_build_ends_before_it_begins(
    warm_workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for name, value in {"INDEX_URL": f"http://127.0.0.1:{port}/simple", "CONFIG_FILE": "/dev/null", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = command("recipe=mnist", OLD, "ui=plain")
    assert code == 2
    assert "no connection to the registry" in err
    assert "Traceback" not in err
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    code, _, err = command("recipe=mnist", OLD, "ui=plain")
    assert (code, "(from versions: none)" in err) == (2, True)


def test_a_plan_installs_nothing_and_says_so(warm_workspace: Workspace, command: Command) -> None:
    code, _, err = command("plan", "recipe=mnist", OLD)
    assert code == 2
    assert "tflite_runtime 2.14 is not in the cache, and a plan installs nothing" in err
    assert not (warm_workspace.cache / "v1/runtimes").exists()


def test_a_plan_after_a_build_has_nothing_to_do(old: Workspace, command: Command) -> None:
    assert old.build("recipe=mnist", OLD).exit_code == 0
    code, out, _ = command("plan", "recipe=mnist", OLD)
    assert code == 0
    assert ACTION in out
    assert "15 of 15 actions are in the cache" in out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (['validation.runtimes=["tflite_rutime==2.14"]'], "did you mean 'tflite_runtime'?"),
        (["validation.runtimes=[tflite_runtime]"], "expected name==version, found 'tflite_runtime'"),
        (['validation.runtimes=["--index-url=http://127.0.0.1"]'], "expected name==version, found '--index-url"),
        ([OLD, "dataset=null", "validation.metrics=[]", "validation.gates={}"], "dataset: missing, and validation.runtimes"),
        (
            [OLD, "target=custom", "quantization=float16", "convert.allow_select_ops=true"],
            "validation.runtimes: runs the file in an interpreter alone",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_refused(workspace: Workspace, command: Command, overrides: list[str], said: str) -> None:
    code, _, err = command("recipe=mnist", *overrides, "ui=plain")
    assert code == 2
    assert said in err
    assert not (workspace.cache / "v1/runtimes").exists()
