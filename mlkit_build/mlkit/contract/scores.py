"""Whether an output can leave 0..1, told from the operators that make it."""

from __future__ import annotations

from mlkit_build.mlkit.model_file import ModelFile, code_name, dtype_of
from mlkit_build.mlkit.model_schema import Operator, Tensor

_BOUNDED = frozenset({"SOFTMAX", "LOGISTIC", "RELU_0_TO_1"})
_KEEPING = frozenset(
    {
        "AVERAGE_POOL_2D", "CAST", "CONCATENATION", "DEQUANTIZE", "EXPAND_DIMS", "GATHER", "GATHER_ND", "MAXIMUM", "MAX_POOL_2D",
        "MEAN", "MINIMUM", "PACK", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "REVERSE_V2", "SLICE", "SPLIT", "SPLIT_V",
        "SQUEEZE", "STRIDED_SLICE", "TOPK_V2", "TRANSPOSE", "UNPACK",
    }
)  # fmt: skip
"""Operators whose result is within the limits of what they are fed."""
_ALL_INPUTS = frozenset({"CONCATENATION", "MAXIMUM", "MINIMUM", "PACK"})
_SECOND_INPUT = frozenset({"SPLIT"})
"""Of most others the first input holds the values."""
_LEVELS = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
_ROUNDING = 1.01
"""A scale of 1/255 with a zero point of 0 ends at 1, and one that was rounded a little above."""


def makers(file: ModelFile) -> list[str]:
    """Return for each output the operator that lets it leave 0..1: empty where none does, `the input` where there is none."""
    made = {index: operator for operator in file.graph.operators or () for index in operator.outputs or ()}
    return [_unbounded(file, index, made) for index in file.graph.outputs or ()]


def _unbounded(file: ModelFile, output: int, made: dict[int, Operator]) -> str:
    waiting, seen = [output], {output}
    while waiting:
        index = waiting.pop()
        operator = made.get(index)
        if _within(file.tensors[index]):
            continue
        if operator is None:
            return "the input" if index in (file.graph.inputs or ()) else "a constant"
        name = code_name(file.model.codes[operator.code])
        if name in _BOUNDED:
            continue
        if name not in _KEEPING:
            return name
        fed = [index for index in operator.inputs or () if index >= 0]
        fed = fed if name in _ALL_INPUTS else fed[1:2] if name in _SECOND_INPUT else fed[:1]
        waiting += [index for index in fed if index not in seen]
        seen.update(fed)
    return ""


def _within(tensor: Tensor) -> bool:
    """Return whether its type and scale leave no value outside of 0..1."""
    levels, quantization = _LEVELS.get(dtype_of(tensor)), tensor.quantization
    if levels is None or quantization is None or len(quantization.scale or ()) != 1 or len(quantization.zero_point or ()) != 1:
        return False
    (scale,), (zero_point,) = quantization.scale or (), quantization.zero_point or ()
    return scale * (levels[0] - zero_point) >= 1 - _ROUNDING and scale * (levels[1] - zero_point) <= _ROUNDING
