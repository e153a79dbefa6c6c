from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlkit_build.quantization.modes import recipe_for
from mlkit_build.quantization.offers import OFFERS
from mlkit_build.recipe import Quantization, Rule
from mlkit_build.recipe.quantization import ALGORITHMS
from mlkit_build.tflite import model as flatbuffer
from tests.quantization.models import Tower, quantized
from tests.stages.conftest import Built


@pytest.fixture(scope="module")
def model(built: Built) -> Any:
    return flatbuffer.read(built.files["float.tflite"])


@pytest.mark.parametrize("mode", [mode for mode in OFFERS["litert"] if mode != "float32"])
def test_every_mode_but_float32_has_a_recipe(model: Any, mode: str) -> None:
    for io in OFFERS["litert"][mode].io:
        assert recipe_for(Quantization(mode=mode, io=io), model)


def test_float32_ends_are_left_out_of_a_static_recipe(model: Any) -> None:
    recipe = recipe_for(Quantization(mode="int8"), model)
    assert {entry["operation"] for entry in recipe if entry["algorithm_key"] == "no_quantize"} == {"INPUT", "OUTPUT"}
    recipe = recipe_for(Quantization(mode="int8", io="int8"), model)
    assert not [entry for entry in recipe if entry["algorithm_key"] == "no_quantize"]


def test_a_rule_reaches_the_operators_that_it_names_and_no_others(model: Any) -> None:
    rules = (Rule(operator="CONV_2D", mode="float32"),)
    recipe = recipe_for(Quantization(mode="dynamic_range", rules=rules), model)
    (entry,) = [entry for entry in recipe if entry["algorithm_key"] == "no_quantize"]
    assert "Relu" in entry["regex"]


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
@pytest.mark.parametrize("mode", ["dynamic_range", "dynamic_range_int4"])
def test_an_algorithm_chooses_other_weights_than_min_max(tower: Tower, tmp_path: Path, mode: str, algorithm: str) -> None:
    plain, _ = quantized(tower, Quantization(mode=mode), tmp_path / "plain")
    other, _ = quantized(tower, Quantization(mode=mode, algorithm=algorithm), tmp_path / "other")
    before, after = (dense_weights(path) for path in (plain, other))
    assert set(before) == set(after) == {"body", "head"}
    for name in before:
        assert before[name] != after[name], name


def test_gptq_keeps_the_scales_of_min_max(tower: Tower, tmp_path: Path) -> None:
    scales = [
        dense_weights(quantized(tower, Quantization(mode="dynamic_range", algorithm=name), tmp_path / name)[0])["body"][0]
        for name in ("min_max", "gptq")
    ]
    assert scales[0] == scales[1]


def dense_weights(path: Path) -> dict[str, tuple[bytes, bytes]]:
    """Return scope -> the scales and the values of the weights of its dense layer; rotations have none that are integers."""
    model = flatbuffer.read(path)
    (graph,) = model.subgraphs
    found = {}
    for operator in graph.operators:
        if flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex]) == "FULLY_CONNECTED":
            tensor = graph.tensors[operator.inputs[1]]
            if flatbuffer.type_name(tensor) in ("int8", "int4"):
                scope = flatbuffer.tensor_name(graph.tensors[operator.outputs[0]])[:4]
                found[scope] = bytes(tensor.quantization.scale), bytes(model.buffers[tensor.buffer].data)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_an_algorithm_does_not_know_takes_min_max(tower: Tower, tmp_path: Path, algorithm: str) -> None:
    # Convolutions are all that ai-edge-quantizer's GPTQ and Hadamard rotation leave out.
    path, summary = quantized(tower, Quantization(mode="dynamic_range", algorithm=algorithm), tmp_path)
    assert summary["weight_scales"]["per_channel axis 3"] == 1
    assert summary["weight_bytes"]["int8"] == 3 * 3 * 3 * 64 + 3 * 3 * 64 + 256 * 256 + 256 * 4
    assert path.is_file()
