"""What is packaged for ML Kit computes the same in the runtime 2.14, or is refused by name with a way out that works.

In that runtime itself, which pip installs where `MLKIT_BUILD_OLD_RUNTIME` says that its registry has it.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from mlkit_build.job import JobReport
from mlkit_build.quantization.offers import OFFERS
from tests.conftest import Workspace
from tests.promises.conftest import Command

LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
"""Run every mode of the image recipe in the old runtime, too, not only those that differ from the digits' in kind."""
ANY = "package.min_runtime=any"
OLD = 'validation.runtimes=["tflite_runtime==2.14"]'
FEW = ("dataset.samples=400", "validation.hops=0", "validation.latency.runs=0", "validation.gates={}")
VARIANTS = [
    *((backend, mode, f"io={io}") for backend, modes in OFFERS.items() for mode, offer in modes.items() for io in offer.io),
    *((backend, "dynamic_range", "granularity=per_tensor") for backend in OFFERS),
    ("litert", "dynamic_range_int4", "granularity=per_tensor"),
    ("litert", "weight_only_int4", "granularity=per_tensor"),
]
"""Every mode of every backend with every type of inputs and outputs, and those that one scale per layer changes."""
REFUSED = {
    ("dynamic_range", "io=float32"): "FULLY_CONNECTED",
    ("weight_only_int4", "io=float32"): "DEQUANTIZE",
    ("weight_only_int4", "granularity=per_tensor"): "DEQUANTIZE",
}
"""Mode and option -> the operator that the runtime 2.14 lacks, whatever the backend."""


def overrides(recipe: str, backend: str, mode: str, option: str) -> list[str]:
    return [f"recipe={recipe}", f"quantization={mode}", f"quantization.backend={backend}", f"quantization.{option}", *FEW]


def check(workspace: Workspace, asked: list[str], operator: str | None) -> None:
    """Build a variant for any runtime and run it in the old one; then build it for ML Kit, and compare the two."""
    target = [] if "quantization.io=int8" not in asked else ["target=custom", "package.min_runtime=2.14.0"]
    measured = workspace.build(*asked, *target[:1], ANY, OLD)
    (verdict,) = measured.runtimes
    packaged = workspace.build(*asked, *target)
    if operator is None:
        assert verdict.passed, verdict.problem
        top1 = verdict.metrics["top1"]
        assert top1.reference is not None
        assert abs(top1.value - top1.reference) <= 0.005
        assert packaged.exit_code == 0, packaged.error
        return
    said = re.match(r"refuses the model: (Didn't find op for builtin opcode '(\w+)' version '\d+')", verdict.problem)
    assert said is not None, verdict.problem
    assert said[2] == operator
    assert (packaged.status, packaged.bundle) == ("gate_failed", None)
    assert packaged.error is not None
    assert f"the model must run in the runtime 2.14, but {operator} (" in packaged.error.message
    assert packaged.error.message.endswith(f"in the app ML Kit would say: {said[1]}")
    assert "evaluate" not in workspace.ran(packaged)


@pytest.mark.parametrize(("backend", "mode", "option"), VARIANTS)
def test_every_mode_computes_the_same_in_the_old_runtime_or_is_refused_by_name(
    warm_workspace: Workspace, environments: Path, backend: str, mode: str, option: str
) -> None:
    (warm_workspace.cache / "v1" / "runtimes").symlink_to(environments)
    check(warm_workspace, overrides("mnist", backend, mode, option), REFUSED.get((mode, option)))


IMAGE_VARIANTS = [
    ("int8", "io=uint8"),
    ("dynamic_range_int4", "granularity=blockwise_32"),
    *([(mode, "io=float32") for mode in OFFERS["litert"]] if LONG else []),
]


def test_modes_of_the_image_recipe_too(workspace: Workspace, environments: Path) -> None:
    (workspace.cache / "v1").mkdir(parents=True)
    (workspace.cache / "v1" / "runtimes").symlink_to(environments)
    refused = {**REFUSED, ("dynamic_range_int4", "granularity=blockwise_32"): "FULLY_CONNECTED"}
    for mode, option in IMAGE_VARIANTS:
        check(workspace, overrides("flags", "litert", mode, option), refused.get((mode, option)))


PER_TENSOR = "quantization.granularity=per_tensor"
RULE = "quantization.rules=[{operator:FULLY_CONNECTED,mode:weight_only_int8}]"


def ways(report: JobReport) -> list[list[str]]:
    """Return the overrides of every way out that the hint names."""
    assert report.error is not None
    first = report.error.hint.partition(";")[0]
    assert first.startswith("use ")
    return [shlex.split(way) for way in first.removeprefix("use ").split(" or ")]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["quantization=dynamic_range"], [PER_TENSOR, RULE, "quantization=weight_only_int8"]),
        (
            ["quantization=dynamic_range", "package.min_runtime=2.6.0"],
            [PER_TENSOR, f"quantization=weight_only_int8 {PER_TENSOR}"],
        ),
        (
            ["quantization=dynamic_range", "quantization.backend=converter"],
            [PER_TENSOR, "quantization=weight_only_int8 quantization.backend=litert"],
        ),
        (["quantization=weight_only_int4"], ["quantization=weight_only_int8"]),
        (
            ["quantization=weight_only_int8", "package.min_runtime=2.6.0"],
            [f"quantization=weight_only_int8 {PER_TENSOR}"],
        ),
        (["quantization=dynamic_range_int4", "package.min_runtime=2.7.0"], [RULE, "quantization=weight_only_int8"]),
        (["quantization=float16", "package.min_runtime=1.13.1"], ["quantization=float32"]),
    ],
)
def test_every_way_out_that_a_refusal_names_leads_out(warm_workspace: Workspace, asked: list[str], expected: list[str]) -> None:
    refused = warm_workspace.build("recipe=mnist", *asked, *FEW)
    assert refused.status == "gate_failed", refused.error
    found = ways(refused)
    assert [" ".join(way) for way in found] == expected
    newer = re.search(r"state it: (package\.min_runtime=[0-9.]+)$", refused.error.hint if refused.error else "")
    assert newer is not None
    for way in [*found, [newer[1]]]:
        report = warm_workspace.build("recipe=mnist", *asked, *way, *FEW)
        assert report.exit_code == 0, report.error


def test_any_other_target_demands_no_runtime_until_the_recipe_does(warm_workspace: Workspace, command: Command) -> None:
    asked = ("recipe=mnist", "quantization=dynamic_range", "target=custom", *FEW)
    assert warm_workspace.build(*asked).exit_code == 0
    code, _, err = command(*asked, 'package.min_runtime="2.16"', "ui=plain")
    assert code == 3
    assert "error: package.min_runtime: the model must run in the runtime 2.16, but FULLY_CONNECTED (" in err
    assert "an older runtime would say: Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'" in err


def test_another_limit_runs_nothing_but_the_check(warm_workspace: Workspace) -> None:
    report = warm_workspace.build("recipe=mnist", 'package.min_runtime="2.13"')
    assert report.exit_code == 0, report.error
    assert warm_workspace.ran(report) == {"describe"}


@pytest.mark.parametrize("stated", ["2", "2.x", "latest", "2.14.0.1", "-1.2", ""])
def test_a_limit_that_is_no_version_is_refused(workspace: Workspace, command: Command, stated: str) -> None:
    code, _, err = command("recipe=mnist", f'package.min_runtime="{stated}"', "ui=plain")
    assert code == 2
    assert "package.min_runtime: expected a version of TensorFlow Lite or `any`, found '" in err


def test_yaml_that_reads_20_as_2_is_told(warm_workspace: Workspace, command: Command) -> None:
    code, _, err = command("recipe=mnist", "quantization=dynamic_range", "package.min_runtime=2.20", *FEW, "ui=plain")
    assert code == 2
    assert "package.min_runtime: expected a text, found the number 2.2" in err
    assert "quote it" in err
