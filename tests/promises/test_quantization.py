"""What the README promises of quantization, kept end to end on real models: every mode, both backends, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.config.roots import builtin
from mlkit_build.engine.pool import Pool
from mlkit_build.quantization.offers import OFFERS
from tests.conftest import Workspace, built_once
from tests.promises.conftest import Command

EVERY = [(backend, mode) for backend, modes in OFFERS.items() for mode in modes]
LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
ANY_RUNTIME = "package.min_runtime=any"
"""Whether the modes run in the runtimes of phones is for `test_min_runtime` to say."""
STORED = {
    "float16": "float16",
    "dynamic_range": "int8",
    "dynamic_range_int4": "int4",
    "weight_only_int8": "int8",
    "weight_only_int4": "int4",
    "int8": "int8",
    "int16x8": "int8",
}


def manifest_of(bundle: Path | None) -> dict[str, Any]:
    assert bundle is not None
    found: dict[str, Any] = json.loads((bundle / "manifest.json").read_bytes())
    return found


@pytest.mark.parametrize(("backend", "mode"), EVERY)
def test_every_mode_of_every_backend_builds_mnist_and_keeps_its_accuracy(
    warm_workspace: Workspace, backend: str, mode: str
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    report = warm_workspace.build("recipe=mnist", f"quantization={mode}", f"quantization.backend={backend}", ANY_RUNTIME)
    assert report.status == "built", report.error
    assert report.metrics is not None
    assert report.metrics["top1"].drop is not None
    assert report.metrics["top1"].drop <= 0.003  # 0.3 points; measured: 0.12 in int4, 0.01 and less in all others
    Interpreter(model_path=str(report.bundle / "mnist.tflite")).allocate_tensors()
    found = manifest_of(report.bundle)["quantization"]
    if mode == "float32":
        assert found is None
        return
    # Four layers: 5*5*1*16, 5*5*16*32, 1568*64 and 64*10 weights in two convolutions and two dense layers.
    stored = {name: size for name, size in found["weight_bytes"].items() if name == STORED[mode]}
    assert stored[STORED[mode]] > 50_000 * (0.5 if "int4" in mode else 1)
    integer = mode in ("int8", "int16x8")
    assert found["integer_share"] == (1.0 if integer else 0.0)
    assert (found["hybrid_operators"] > 0) == mode.startswith("dynamic_range")
    assert (found["calibration"] is not None) == integer
    assert (found["quantize_pairs"], found["unread_bytes"]) == (0, 0)


@pytest.mark.skipif(not LONG, reason="set MLKIT_BUILD_LONG_TESTS=1 to build the image recipe in more modes than int8")
@pytest.mark.parametrize(("backend", "mode"), EVERY)
def test_every_mode_of_every_backend_builds_the_image_recipe_or_fails_a_gate_and_says_which(
    flags_workspace: Workspace, backend: str, mode: str
) -> None:
    # Two hundred of its samples: int16x8 computes in reference kernels, and takes 10 s for all.
    asked = (f"quantization={mode}", f"quantization.backend={backend}", "dataset.samples=200", "validation.gates={}")
    report = flags_workspace.build("recipe=flags", *asked, ANY_RUNTIME)
    assert report.status == "built", report.error
    assert report.metrics is not None
    assert report.metrics["top1_agreement"].value >= (0.9 if "int4" in mode else 0.98)


@pytest.mark.parametrize("backend", OFFERS)
def test_int8_of_the_image_recipe_passes_its_gates(flags_workspace: Workspace, backend: str) -> None:
    report = flags_workspace.build("recipe=flags", "quantization=int8", f"quantization.backend={backend}")
    assert report.status == "built", report.error
    assert {verdict.metric for verdict in report.gates} == {"top1", "size_bytes"}


def test_a_mode_that_costs_too_much_accuracy_fails_its_gate(flags_workspace: Workspace) -> None:
    report = flags_workspace.build("recipe=flags", "quantization=weight_only_int4", ANY_RUNTIME)
    assert report.status == "gate_failed"
    assert "top1" in str(report.error)


@pytest.fixture(scope="session")
def flags_cache(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Path:
    """A cache in which the graph of `recipe=flags` was frozen and its reference computed."""
    folder = tmp_path_factory.mktemp("flags")
    for samples in ("null", "200") if LONG else ("null",):
        built_once(folder, pool, "recipe=flags", f"dataset.samples={samples}", "validation.gates={}")
    return folder / "cache"


@pytest.fixture
def flags_workspace(workspace: Workspace, flags_cache: Path) -> Workspace:
    shutil.copytree(flags_cache, workspace.cache)
    return workspace


@pytest.mark.parametrize("backend", OFFERS)
def test_raw_pixels_mean_exactly_what_the_normalization_says(warm_workspace: Workspace, backend: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    report = warm_workspace.build("recipe=mnist", "quantization.io=uint8", f"quantization.backend={backend}")
    assert report.status == "built", report.error
    assert report.bundle is not None
    runner = Interpreter(model_path=str(report.bundle / "mnist.tflite")).get_signature_runner()
    scale, zero_point = runner.get_input_details()["image"]["quantization"]
    assert (np.float32(scale), zero_point) == (np.float32(1 / 255), 0)
    assert runner.get_output_details()["scores"]["dtype"] == np.uint8


def test_rules_of_a_recipe_reach_the_file_and_the_manifest(warm_workspace: Workspace) -> None:
    warm_workspace.copy("mnist")
    rules = [{"operator": "CONV_2D", "mode": "float32"}, {"tensor": "^conv2/", "mode": "int16x8"}]
    warm_workspace.edit("mnist", {"quantization": {"rules": rules}})
    report = warm_workspace.build("recipe=mnist")
    assert report.status == "built", report.error
    manifest = manifest_of(report.bundle)
    assert manifest["variant"] == "int8_mixed"
    assert manifest["quantization"]["float_operators"] == 1
    assert [rule["mode"] for rule in manifest["recipe"]["quantization"]["rules"]] == ["float32", "int16x8"]


# What is refused, with exit code 2, before anything is quantized ------------------------------------------------------------


def refused(command: Command, *arguments: str) -> str:
    code, out, err = command(*arguments)
    assert code == 2, err
    assert "Traceback" not in out + err
    return next(line for line in err.splitlines() if line.startswith("error: ")).removeprefix("error: ")


def test_an_unknown_mode_lists_all_of_them(command: Command) -> None:
    said = refused(command, "recipe=mnist", "quantization=int4")
    for mode in OFFERS["litert"]:
        assert mode in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["quantization=dynamic_range", "quantization.granularity=blockwise_32"],
            "quantization.granularity: the backend 'litert'",
        ),
        (
            ["quantization=int8", "quantization.algorithm=gptq"],
            "quantization.algorithm: the backend 'litert' has no gptq in int8",
        ),
        (
            ["quantization=weight_only_int4", "quantization.backend=converter"],
            "quantization.mode: the backend 'converter' has no",
        ),
        (["quantization=int16x8", "quantization.io=uint8"], "quantization.io: 'uint8' needs full-integer int8"),
        (["quantization.io=int8"], "quantization.io: 'int8' is refused by ML Kit"),
        (["calibration=null"], "calibration: missing, and quantization.mode=int8 needs samples"),
        (
            ["quantization=dynamic_range", "quantization.algorithm=gptq", "calibration=null"],
            "calibration: missing, and quantization.algorithm=gptq needs samples",
        ),
        (
            ["quantization=dynamic_range", "quantization.rules=[{operator: CONV_2D, mode: int8}]", "calibration=null"],
            "calibration: missing, and quantization.rules[0].mode=int8 needs samples",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    command: Command, workspace: Workspace, overrides: list[str], said: str
) -> None:
    assert said in refused(command, "recipe=mnist", *overrides)
    assert not workspace.cache.exists()


@pytest.mark.parametrize("backend", OFFERS)
def test_more_samples_than_there_are_is_refused(warm_workspace: Workspace, command: Command, backend: str) -> None:
    said = refused(command, "recipe=mnist", f"quantization.backend={backend}", "calibration.samples=100000")
    assert "calibration.samples" in said
    assert "200" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
@pytest.mark.parametrize("backend", OFFERS)
def test_a_sample_that_would_kill_a_quantizer_is_refused_with_its_place(
    warm_workspace: Workspace, command: Command, backend: str, value: float
) -> None:
    grey = np.load(warm_workspace.copy("mnist") / "data/mnist_calibration.npz")["images"][:20]
    images = np.repeat(grey[..., None].astype(np.float32) / 255, 3, axis=-1)
    images[7, 3, 3] = value
    np.savez(warm_workspace.folder / "recipes/mnist/data/bad.npz", images=images)
    warm_workspace.edit("mnist", {"calibration.path": "data/bad.npz", "target": None, "signature.inputs.image.mean": None})
    warm_workspace.edit("mnist", {"signature.inputs.image.std": None, "dataset": None, "validation": {}})
    said = refused(command, "recipe=mnist", "target=custom", f"quantization.backend={backend}")
    assert "bad.npz, array 'images'" in said
    assert "sample 7" in said


def test_a_rule_that_fits_nothing_is_refused_with_what_there_is(warm_workspace: Workspace, command: Command) -> None:
    said = refused(command, "recipe=mnist", "quantization.rules=[{operator: LSTM, mode: float32}]")
    assert "quantization.rules[0].operator: the model has no LSTM; it has " in said
    assert "CONV_2D" in said


def test_a_rule_whose_pattern_would_never_end_is_refused(warm_workspace: Workspace, command: Command) -> None:
    said = refused(command, "recipe=mnist", r"quantization.rules=[{tensor: '([\w/;]+)+!', mode: float32}]")
    assert "quantization.rules[0].tensor: expected a regular expression that is searched for in moments" in said


def test_a_rule_that_keeps_an_end_from_the_integers_asked_for_is_named_by_its_mode(
    warm_workspace: Workspace, command: Command
) -> None:
    rules = "quantization.rules=[{operator: SOFTMAX, mode: int16x8}]"
    code, _, err = command("recipe=mnist", "quantization.io=uint8", rules)
    assert code == 1
    assert "only operators in int8 read or make uint8, and a rule gives those there int16x8: use quantization.io=float32" in err


def test_calibrating_on_other_data_than_is_measured_is_told_in_the_terminal_and_on_the_page(
    warm_workspace: Workspace, command: Command
) -> None:
    data = builtin("recipes") / "mnist/data/mnist_calibration.npz"
    warm_workspace.copy("mnist")
    np.savez(warm_workspace.folder / "recipes/mnist/data/dark.npz", images=np.load(data)["images"] // 100)
    warm_workspace.edit("mnist", {"calibration.path": "data/dark.npz", "validation.gates": {}})
    code, _, err = command("recipe=mnist")
    assert code == 0, err
    said = "the calibration samples of the input 'image' are in 0..0.007843, those of the dataset in 0..1"
    assert said in err
    page = (warm_workspace.folder / "dist/mnist/int8/report.html").read_text(encoding="utf-8")
    assert said[1:].replace("'", "&#39;") in page
    code, _, err = command("recipe=mnist", "calibration.path=data/mnist_calibration.npz")
    assert "the calibration samples" not in err
