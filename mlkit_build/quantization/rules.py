"""Operators that LiteRT computes in int8 and that ai-edge-quantizer 0.10 leaves float: each follows the rule of one it knows.

What an operator's kernel demands of the scales of its inputs and outputs is all that quantizing it takes, and there are few
such demands. Constants and results that are not float32, such as axes, are left alone by every rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlkit_build.tflite.model import schema

_EACH_ITS_OWN = "RELU"
_OUTPUT_AS_INPUT = "RESHAPE"
_INPUTS_AS_OUTPUT = "MAXIMUM"
_OUTPUT_OF_128THS = "TANH"

RULES = {
    "ABS": _EACH_ITS_OWN,
    "ARG_MAX": _EACH_ITS_OWN,
    "ARG_MIN": _EACH_ITS_OWN,
    "BATCH_TO_SPACE_ND": _OUTPUT_AS_INPUT,
    "DEPTH_TO_SPACE": _OUTPUT_AS_INPUT,
    "ELU": _EACH_ITS_OWN,
    "EXP": _EACH_ITS_OWN,
    "L2_NORMALIZATION": _OUTPUT_OF_128THS,
    "LEAKY_RELU": _EACH_ITS_OWN,
    "MINIMUM": _INPUTS_AS_OUTPUT,
    "PRELU": _EACH_ITS_OWN,
    "REDUCE_MAX": _OUTPUT_AS_INPUT,
    "RELU6": _EACH_ITS_OWN,
    "RELU_N1_TO_1": _EACH_ITS_OWN,
    "REVERSE_V2": _OUTPUT_AS_INPUT,
    "SPACE_TO_BATCH_ND": _OUTPUT_AS_INPUT,
    "SPLIT_V": _OUTPUT_AS_INPUT,
    "TILE": _OUTPUT_AS_INPUT,
}
"""Operator -> the operator that ai-edge-quantizer quantizes as this one wants it."""


@contextmanager
def rules_known() -> Iterator[None]:
    """Make ai-edge-quantizer take the operators of the table for those whose rule they follow, as long as the block runs."""
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils

    known = tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME
    codes = {getattr(schema().BuiltinOperator, name): TFLOperationName(rule) for name, rule in RULES.items()}
    tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME = {**codes, **known}
    try:
        yield
    finally:
        tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME = known
