"""Operator versions that their tensors need, which ai-edge-quantizer does not raise.

An older runtime trusts the version: given int8 per-channel weights under the version of a float operator, it computes with
them wrongly and says nothing (a keyword-spotting model fell from 91% to chance in the runtime 2.14). With the right version
it refuses to load and names the operator. Source: the version rules of `tensorflow/lite/tools/versioning/op_version.cc`.
"""

from __future__ import annotations

from typing import Any

from mlkit_build.tflite.model import add_operator_code, operator_name, schema, type_name

_HYBRID = {
    "FULLY_CONNECTED": (1, 3, 12),
    "CONV_2D": (1, 2, 5),
    "DEPTHWISE_CONV_2D": (1, 4, 6),
    "TRANSPOSE_CONV": (1, 2, 2),
    "BATCH_MATMUL": (1, 4, 4),
}
"""float results from int8 weights: (which input is the weights, version per tensor, version per channel)."""

_DEQUANTIZE = {"int8": 2, "float16": 3}


def raise_versions(model: Any) -> None:
    """Give every operator with float results from smaller weights the version that they need, in place."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            name = operator_name(code)
            needed = _needed(name, operator, graph)
            if code.version < needed:
                builtin = getattr(schema().BuiltinOperator, name)
                operator.opcodeIndex = add_operator_code(model, builtin, needed)
    _drop_unused_codes(model)


def _needed(name: str, operator: Any, graph: Any) -> int:
    if name == "DEQUANTIZE":
        return _DEQUANTIZE.get(type_name(graph.tensors[operator.inputs[0]]), 1)
    if name not in _HYBRID or type_name(graph.tensors[operator.outputs[0]]) != "float32":
        return 1
    position, per_tensor, per_channel = _HYBRID[name]
    weights = graph.tensors[operator.inputs[position]]
    if type_name(weights) != "int8":
        return 1
    scales = weights.quantization.scale if weights.quantization is not None else None
    return per_channel if scales is not None and len(scales) > 1 else per_tensor


def _drop_unused_codes(model: Any) -> None:
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    position = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = position[operator.opcodeIndex]
