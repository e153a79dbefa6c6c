from __future__ import annotations

from typing import Any

import pytest

from mlkit_build.quantization.modes import recipe_for
from mlkit_build.quantization.offers import OFFERS
from mlkit_build.recipe import Quantization, Rule
from mlkit_build.tflite import model as flatbuffer
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
