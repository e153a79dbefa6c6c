"""The quantization modes in ai-edge-quantizer's terms."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from mlkit_build.quantization.kernels import NO_INT16, ONE_SCALE
from mlkit_build.quantization.rules import RULES
from mlkit_build.quantization.selection import WEIGHTED, Selection, places
from mlkit_build.recipe import STATIC_MODES, Quantization

_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
"""What ai-edge-quantizer calls operators otherwise than the schema does."""
_Writer = Callable[[Any, str, Any, Any, Any], None]
"""(recipe manager, scope, operator, granularity, algorithm): adds an entry."""


def recipe_for(quantization: Quantization, model: Any) -> list[dict[str, Any]]:
    """Return an ai-edge-quantizer recipe for this float model.

    A static recipe quantizes inputs and outputs too; with float32 I/O they are left out, and the model quantizes on entry and
    dequantizes on exit. uint8 I/O starts from int8 and is changed afterwards. What no kernel computes in the mode is left float,
    for the truth check to name.
    """
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    _add(manager, ".*", "*", quantization.mode, quantization)
    if quantization.mode in STATIC_MODES and quantization.io == "float32":
        for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            manager.add_quantization_config(".*", end, None, AlgorithmName.NO_QUANTIZE)
    selection = Selection(quantization)
    for place in places(model):
        mode = selection.mode_of(place)
        if mode == "int16x8" and place.operator in NO_INT16:
            mode = "float32"
        if mode != quantization.mode:
            scope = f"^{re.escape(';'.join(place.tensors))};?$"
            _add(manager, scope, place.operator, "float32", quantization)  # what has no such mode has not the recipe's instead
            _add(manager, scope, place.operator, mode, quantization)
    recipe: list[dict[str, Any]] = manager.get_quantization_recipe()
    return recipe


def _add(manager: Any, scope: str, operator: str, mode: str, quantization: Quantization) -> None:
    """Say that the operators at `scope` are to have `mode`; `*` is all of them."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    if mode == "float32":
        if operator != "*":
            manager.add_quantization_config(scope, TFLOperationName.ALL_SUPPORTED, None, AlgorithmName.NO_QUANTIZE)
        return
    names = [operator] if operator != "*" else ["*", *WEIGHTED]
    for name in names:
        one_scale = name in ONE_SCALE and (mode in STATIC_MODES or mode.startswith("dynamic_range"))
        scales = "per_tensor" if one_scale else quantization.granularity
        stated, usual = (quantization.algorithm, scales), ("min_max", "per_channel")
        wishes = [usual] if name == "*" else [stated, ("min_max", scales), usual]
        for algorithm, granularity in wishes:
            with contextlib.suppress(ValueError):  # it has this algorithm, these scales or this mode for other operators only
                called = TFLOperationName(_NAMES.get(name, RULES.get(name, name)))
                _WRITERS[mode](manager, scope, called, _granularity(granularity), _algorithm(algorithm))
                break


def _static(bits: int) -> _Writer:
    return lambda manager, scope, operator, granularity, algorithm: manager.add_static_config(
        scope, operator, bits, 8, granularity, algorithm
    )


def _dynamic(bits: int) -> _Writer:
    return lambda manager, scope, operator, granularity, algorithm: manager.add_dynamic_config(
        scope, operator, bits, granularity, algorithm
    )


def _weight_only(bits: int) -> _Writer:
    return lambda manager, scope, operator, granularity, algorithm: manager.add_weight_only_config(
        scope, operator, bits, granularity, algorithm
    )


def _float16(manager: Any, scope: str, operator: Any, *_: Any) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    manager.add_quantization_config(scope, operator, config, AlgorithmName.FLOAT_CASTING)


_WRITERS: dict[str, _Writer] = {
    "float16": _float16,
    "dynamic_range": _dynamic(8),
    "dynamic_range_int4": _dynamic(4),
    "weight_only_int8": _weight_only(8),
    "weight_only_int4": _weight_only(4),
    "int8": _static(8),
    "int16x8": _static(16),
}


def _algorithm(name: str) -> Any:
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    names = {"min_max": "MIN_MAX_UNIFORM_QUANT", "hadamard": "DECOMPOSED_HADAMARD_ROTATION"}
    return AlgorithmName[names.get(name, name.upper())]


def _granularity(name: str) -> Any:
    from ai_edge_quantizer.qtyping import QuantGranularity

    return QuantGranularity[{"per_channel": "CHANNELWISE", "per_tensor": "TENSORWISE"}.get(name, name.upper())]
