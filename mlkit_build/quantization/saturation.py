"""Ranges that need not be held: what only TANH or LOGISTIC read says nothing more once the function is at its end.

A convolution of raw pixels reached -343..450 before its tanh; quantized over that range, one step is 3.5 and the tanh could
only tell the sign: an MNIST net that someone else trained fell from 83.1% to 81.5%.
"""

from __future__ import annotations

import math
from typing import Any

from mlkit_build.tflite.model import operator_name, tensor_name

_LIMITS = {"TANH": 4.0, "LOGISTIC": 8.0}
"""Beyond it, either way, the function moves by less than half a step of its int8 result: 1/256 and 1/512."""

_CARRIES = {"EXPAND_DIMS", "RESHAPE", "SLICE", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK"}
"""Operators whose results are values of their one input that is not a constant, in the same scale."""


def saturation_limits(model: Any) -> dict[str, float]:
    """Return tensor name -> the magnitude beyond which its value changes no result."""
    limits: dict[str, float] = {}
    for graph in model.subgraphs:
        found = {int(index): math.inf for index in graph.outputs}
        for operator in reversed(graph.operators):
            name = operator_name(model.operatorCodes[operator.opcodeIndex])
            limit = _LIMITS.get(name, math.inf)
            if name in _CARRIES:
                limit = max(found.get(int(index), 0.0) for index in operator.outputs)
            for index in operator.inputs:
                found[int(index)] = max(found.get(int(index), 0.0), limit)
        limits |= {tensor_name(graph.tensors[index]): limit for index, limit in found.items() if 0 < limit < math.inf}
    return limits
