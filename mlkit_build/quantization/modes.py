"""The quantization modes in ai-edge-quantizer's terms."""

from __future__ import annotations

from typing import Any

from mlkit_build.recipe import STATIC_MODES


def recipe_for(mode: str, io: str) -> Any:
    """Return an ai-edge-quantizer recipe.

    A static recipe quantizes inputs and outputs too; with float32 I/O they are left out, and the model quantizes on entry and
    dequantizes on exit. uint8 I/O starts from int8 and is changed afterwards.
    """
    from ai_edge_quantizer import qtyping, recipe, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    operation = qtyping.TFLOperationName
    if mode == "dynamic_range":
        return recipe.dynamic_wi8_afp32()
    manager = recipe_manager.RecipeManager()
    if mode == "float16":
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        )
        manager.add_quantization_config(".*", operation.ALL_SUPPORTED, config, AlgorithmName.FLOAT_CASTING)
        return manager.get_quantization_recipe()
    assert mode in STATIC_MODES, mode
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    if io == "float32":
        for end in (operation.INPUT, operation.OUTPUT):
            manager.add_quantization_config(".*", end, None, AlgorithmName.NO_QUANTIZE)
    return manager.get_quantization_recipe()
