"""Operator versions that their tensors need, which ai-edge-quantizer does not raise.

An older runtime trusts the version: given int8 per-channel weights under the version of a float operator, it computes with
them wrongly and says nothing (a keyword-spotting model fell from 91% to chance in the runtime 2.14). With the right version
it refuses to load and names the operator. Source: the version rules of `tensorflow/lite/tools/versioning/op_version.cc`.
"""

from __future__ import annotations

from typing import Any

from mlkit_build.tflite.model import add_operator_code, operator_name, schema, type_name

_HYBRID = {"FULLY_CONNECTED": (3, 12), "CONV_2D": (2, 5), "DEPTHWISE_CONV_2D": (4, 6)}
"""float activations with int8 weights: (version per tensor, version per channel)."""


def raise_versions(model: Any) -> None:
    """Give every hybrid operator the version that its weights need, in place."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            name = operator_name(code)
            if name not in _HYBRID or len(operator.inputs) < 2:
                continue
            activations, weights = (graph.tensors[index] for index in operator.inputs[:2])
            if type_name(activations) != "float32" or type_name(weights) != "int8":
                continue
            scales = weights.quantization.scale if weights.quantization is not None else None
            needed = _HYBRID[name][1 if scales is not None and len(scales) > 1 else 0]
            if code.version < needed:
                builtin = getattr(schema().BuiltinOperator, name)
                operator.opcodeIndex = add_operator_code(model, builtin, needed)
    _drop_unused_codes(model)


def _drop_unused_codes(model: Any) -> None:
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    position = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = position[operator.opcodeIndex]
