from __future__ import annotations

import pytest

from mlkit_build.quantization.modes import recipe_for
from mlkit_build.recipe import IO_TYPES, MODES, STATIC_MODES


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "float32"])
def test_every_mode_but_float32_has_a_recipe(mode: str) -> None:
    for io in IO_TYPES if mode in STATIC_MODES else ("float32",):
        assert recipe_for(mode, io)


def test_float32_ends_are_left_out_of_a_static_recipe() -> None:
    left_out = {entry["operation"] for entry in recipe_for("int8", "float32") if entry["algorithm_key"] == "no_quantize"}
    assert left_out == {"INPUT", "OUTPUT"}
    assert not [entry for entry in recipe_for("int8", "int8") if entry["algorithm_key"] == "no_quantize"]
