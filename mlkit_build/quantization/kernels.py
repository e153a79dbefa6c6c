"""What LiteRT's kernels demand of quantized operators and neither quantizer knows.

Each demand was measured: without it LiteRT 2.3 computes wrongly and says nothing, or refuses the model.
"""

from __future__ import annotations

from typing import Any

from mlkit_build.tflite.model import operator_name, type_name

NO_INT16 = {"ARG_MAX", "ARG_MIN", "DEPTH_TO_SPACE", "ELU", "L2_NORMALIZATION", "PRELU", "RELU_N1_TO_1"}
"""Operators of the table in `rules` that no kernel computes in int16: LiteRT refuses them, PRELU it computes wrongly."""

ONE_SCALE = {"BATCH_MATMUL"}
"""Operators whose integer kernels take the first scale of the weights for all: half the range of the results was wrong."""

AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "EMBEDDING_LOOKUP": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""Operator -> the axis of its weights that may have a scale per channel."""


def fit_to_kernels(model: Any) -> None:
    """Write the same quantization as the kernels want it, in place."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = operator_name(model.operatorCodes[operator.opcodeIndex])
            types = [type_name(graph.tensors[index]) for index in [*operator.inputs[:2], operator.outputs[0]] if index >= 0]
            if name == "DEPTHWISE_CONV_2D" and types == ["float32", "int8", "float32"]:
                _spread(graph.tensors[operator.inputs[1]], AXES[name])
            if name in ("ADD", "SUB") and "int16" in types and operator.builtinOptions is not None:
                operator.builtinOptions.potScaleInt16 = False


def wrong_for_kernel(model: Any, graph: Any, operator: Any) -> str:
    """Return what is wrong with the scales of an operator's weights, which its kernel would take for others; usually nothing."""
    name = operator_name(model.operatorCodes[operator.opcodeIndex])
    if (name not in AXES and name not in ONE_SCALE) or len(operator.inputs) < 2:
        return ""
    data, weights = (graph.tensors[index] for index in operator.inputs[:2])
    scales = weights.quantization.scale if weights.quantization is not None else None
    count = 0 if scales is None else len(scales)
    axis = weights.quantization.quantizedDimension if count > 1 else 0
    if name in ONE_SCALE:
        integer = type_name(data) in ("int8", "int16")
        return f"{count} scales, where its kernel reads one" if integer and count > 1 else ""
    if count > 1 and axis != AXES[name]:
        return f"a scale for each channel of axis {axis}, where its kernel reads axis {AXES[name]}"
    channels = int(weights.shape[AXES[name]])
    if name == "DEPTHWISE_CONV_2D" and type_name(data) == "float32" and count == 1 < channels:
        return f"one scale, where its kernel reads {channels}"
    return ""


def _spread(tensor: Any, axis: int) -> None:
    """Repeat the one scale of a tensor for every channel: the hybrid kernel reads that many, past the end of a list of one."""
    quantization, channels = tensor.quantization, int(tensor.shape[axis])
    if quantization is not None and quantization.scale is not None and len(quantization.scale) == 1 < channels:
        quantization.scale = [float(quantization.scale[0])] * channels
        quantization.zeroPoint = [0] * channels
        quantization.quantizedDimension = axis
