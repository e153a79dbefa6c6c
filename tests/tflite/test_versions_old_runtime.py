"""Quantized models in an old runtime: computed as in the new one, or refused by the operator's name; never wrong in silence.

The old runtime is tflite-runtime 2.14 in an environment of its own, whose Python `MLKIT_BUILD_OLD_RUNTIME` names.
"""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.versions import miscomputed, set_versions
from tests.sources.tf1 import request
from tests.stages.built import converted, frozen, weights

RUN = """
import pickle, sys
import numpy as np
import tflite_runtime
from tflite_runtime.interpreter import Interpreter

print(tflite_runtime.__version__)
answers = {}
for path, samples in pickle.load(open(sys.argv[1], "rb")).items():
    try:
        runner = Interpreter(model_path=path, num_threads=1).get_signature_runner("serving_default")
        answers[path] = np.stack([runner(x=sample)["y"] for sample in samples])
    except (RuntimeError, ValueError) as error:
        answers[path] = str(error)
pickle.dump(answers, open(sys.argv[1], "wb"))
"""

LAYERS: dict[str, tuple[list[int], Callable[[Any, Any], Any]]] = {
    "dense": ([1, 128], lambda tf1, x: tf1.matmul(x, tf1.constant(weights(128, 32))) + tf1.constant(weights(32))),
    "dense, one output": ([1, 128], lambda tf1, x: tf1.matmul(x, tf1.constant(weights(128, 1)))),
    "dense, three dimensions": (
        [1, 4, 128],
        lambda tf1, x: tf1.einsum("abc,cd->abd", x, tf1.constant(weights(128, 32))) + tf1.constant(weights(32)),
    ),
    "convolution": ([1, 8, 8, 32], lambda tf1, x: tf1.nn.conv2d(x, tf1.constant(weights(3, 3, 32, 16)), [1, 1, 1, 1], "SAME")),
    "grouped": ([1, 8, 8, 64], lambda tf1, x: tf1.nn.conv2d(x, tf1.constant(weights(3, 3, 32, 16)), [1, 1, 1, 1], "SAME")),
    "depthwise": (
        [1, 8, 8, 64],
        lambda tf1, x: tf1.nn.depthwise_conv2d(x, tf1.constant(weights(3, 3, 64, 1)), [1, 1, 1, 1], "SAME"),
    ),
    "transposed": (
        [1, 4, 4, 32],
        lambda tf1, x: tf1.nn.conv2d_transpose(x, tf1.constant(weights(3, 3, 16, 32)), [1, 8, 8, 16], [1, 2, 2, 1], "SAME"),
    ),
    "matrices": ([4, 3, 32], lambda tf1, x: tf1.matmul(x, tf1.constant(weights(4, 32, 16)))),
}

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "float16": ("add_weight_only_config", {"num_bits": 16, "algorithm_key": "float_casting"}),
    "dynamic_range": ("add_dynamic_config", {"num_bits": 8}),
    "dynamic_range per tensor": ("add_dynamic_config", {"num_bits": 8, "granularity": "TENSORWISE"}),
    "dynamic_range_int4": ("add_dynamic_config", {"num_bits": 4}),
    "dynamic_range_int4 blockwise": ("add_dynamic_config", {"num_bits": 4, "granularity": "BLOCKWISE_32"}),
    "weight_only_int8": ("add_weight_only_config", {"num_bits": 8}),
    "weight_only_int8 per tensor": ("add_weight_only_config", {"num_bits": 8, "granularity": "TENSORWISE"}),
    "weight_only_int4": ("add_weight_only_config", {"num_bits": 4}),
    "int8": ("add_static_config", {"activation_num_bits": 8, "weight_num_bits": 8}),
    "int16x8": ("add_static_config", {"activation_num_bits": 16, "weight_num_bits": 8}),
}

SAME = {"float16", "weight_only_int8", "weight_only_int8 per tensor", "int8"}
"""Modes that the old runtime computes whatever the layer."""

REFUSED = ("'FULLY_CONNECTED'", "'CONV_2D'", "'DEQUANTIZE'", "(FULLY_CONNECTED)", "(TRANSPOSE_CONV)", "(BATCH_MATMUL)")
"""How the old runtime names what it refuses: its version when it loads the model, or the node when it prepares its kernel."""

WRONG = {("dynamic_range", "matrices"), ("dynamic_range per tensor", "depthwise")}
"""What the old runtime computes wrongly in any version that the new one has: `miscomputed` must tell it."""

TOLD = {
    *WRONG,
    ("dynamic_range_int4", "convolution"),
    ("dynamic_range_int4", "grouped"),
    ("int8", "matrices"),
    ("int16x8", "matrices"),
}
"""What some runtime computes wrongly: of the other four this one refuses three, and int8 matrices are equally wrong in both."""

AS_WRITTEN_SUFFIX = " in the versions that ai-edge-quantizer writes"
AS_WRITTEN = f"dynamic_range{AS_WRITTEN_SUFFIX}"


@dataclass(frozen=True)
class Answers:
    """What both runtimes answered, [samples, ...]; or the old one's words of refusal. And what `miscomputed` says."""

    new: Any
    old: Any
    told: tuple[str, ...]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Answers]:
    """Every layer in every mode, in both runtimes."""
    python = os.environ.get("MLKIT_BUILD_OLD_RUNTIME")
    if not python:
        pytest.skip(
            "no old runtime: set MLKIT_BUILD_OLD_RUNTIME to the python of an environment with tflite-runtime==2.14 numpy<2"
        )
    folder = tmp_path_factory.mktemp("old_runtime")
    models: dict[tuple[str, str], tuple[Path, Any, tuple[str, ...]]] = {}
    for layer in LAYERS:
        shape = LAYERS[layer][0]
        files = converted(frozen(graph_of(layer), request({"x": "x:0"}, {"y": "y:0"}), folder / layer), folder / layer)
        samples = np.random.default_rng(1).normal(0, 1, (5, *shape)).astype(np.float32)
        for mode in (*RECIPES, AS_WRITTEN):
            path = folder / f"{layer} {mode}.tflite"
            model = flatbuffer.parsed(quantized(files["float.tflite"], mode.removesuffix(AS_WRITTEN_SUFFIX), samples))
            if mode != AS_WRITTEN:
                set_versions(model)
            flatbuffer.write(model, path)
            models[mode, layer] = path, samples, miscomputed(model)
    old = in_old_runtime(python, {str(path): samples for path, samples, _ in models.values()}, folder)
    return {key: Answers(in_new_runtime(path, samples), old[str(path)], told) for key, (path, samples, told) in models.items()}


def graph_of(layer: str) -> Callable[[Any], None]:
    shape, build = LAYERS[layer]

    def graph(tf1: Any) -> None:
        tf1.identity(build(tf1, tf1.placeholder("float32", shape, name="x")), name="y")

    return graph


def quantized(float_model: Path, mode: str, samples: Any) -> bytes:
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager

    method, options = RECIPES[mode]
    manager = RecipeManager()
    getattr(manager, method)(".*", "*", **options)
    for end in ("INPUT", "OUTPUT"):
        manager.add_quantization_config(".*", end, algorithm_key="no_quantize")
    quantizer = Quantizer(str(float_model), manager.get_quantization_recipe())
    ranges = quantizer.calibrate({"serving_default": [{"x": sample} for sample in samples]}) if "static" in method else None
    return bytes(quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def in_new_runtime(path: Path, samples: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner("serving_default")
    return np.stack([runner(x=sample)["y"] for sample in samples])


def in_old_runtime(python: str, asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    file = folder / "asked.pickle"
    file.write_bytes(pickle.dumps(asked))
    done = subprocess.run([python, "-c", RUN, str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2.14"), f"tests are of the runtime 2.14, not {done.stdout}"
    return dict(pickle.loads(file.read_bytes()))


@pytest.mark.parametrize("mode", RECIPES)
def test_an_old_runtime_computes_the_same_or_names_the_operator_it_refuses(
    mode: str, answers: dict[tuple[str, str], Answers]
) -> None:
    for layer in LAYERS:
        found = answers[mode, layer]
        assert bool(found.told) == ((mode, layer) in TOLD), (layer, found.told)
        if isinstance(found.old, str):
            assert mode not in SAME, (layer, found.old)
            assert any(operator in found.old for operator in REFUSED), (layer, found.old)
        elif (mode, layer) not in WRONG:
            np.testing.assert_allclose(found.old, found.new, atol=0.03 * np.ptp(found.new), err_msg=layer)


def test_without_the_right_versions_the_old_runtime_is_wrong_and_says_nothing(answers: dict[tuple[str, str], Answers]) -> None:
    found = answers[AS_WRITTEN, "dense"]
    assert np.abs(found.old - found.new).max() > 0.2 * np.ptp(found.new)


def test_the_dense_layers_that_an_old_runtime_took_for_ones_with_a_single_scale_are_refused(
    answers: dict[tuple[str, str], Answers],
) -> None:
    for layer in ("dense", "dense, three dimensions"):
        assert "'FULLY_CONNECTED' version '12'" in answers["dynamic_range", layer].old
    assert not isinstance(answers["dynamic_range", "dense, one output"].old, str)
    assert not isinstance(answers["dynamic_range per tensor", "dense"].old, str)
