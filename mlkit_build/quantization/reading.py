"""Reads a quantized flatbuffer: which operators only convert, what the others compute with, and how weights are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlkit_build.quantization.selection import WEIGHTED
from mlkit_build.tflite.model import operator_name, schema, type_name

BOUNDARY = {"QUANTIZE", "DEQUANTIZE"}


@dataclass(frozen=True)
class Weights:
    """The constant that an operator multiplies with.

    Attributes:
        stored: Its type in the file, before a DEQUANTIZE where there is one.
        scales: What shares a scale: `per_tensor`, `per_channel axis 0`, `blockwise_32`; empty where there is none.
    """

    stored: str
    scales: str


def is_boundary(model: Any, graph: Any, operator: Any) -> bool:
    """Return whether the operator only converts: QUANTIZE and its like, or the CAST of an input that is made of integers.

    A model that was trained on uint8 pixels casts them to float itself; its QUANTIZE follows.
    """
    name = operator_name(model.operatorCodes[operator.opcodeIndex])
    return name in BOUNDARY or (
        name == "CAST"
        and operator.inputs[0] in graph.inputs
        and type_name(graph.tensors[operator.inputs[0]]) in ("uint8", "int8", "int16", "int32", "int64")
    )


def kind_of(model: Any, graph: Any, operator: Any) -> str:
    """Return `integer`, `hybrid` (floating point with integer weights) or `float`."""
    types = [type_name(graph.tensors[index]) for index in [*operator.inputs, *operator.outputs] if index >= 0]
    if not any(name in ("float32", "float16") for name in types):
        return "integer"
    name = operator_name(model.operatorCodes[operator.opcodeIndex])
    constants = [
        type_name(graph.tensors[index]) for index in operator.inputs if index >= 0 and is_constant(model, graph.tensors[index])
    ]
    return "hybrid" if name in WEIGHTED and any(kind in ("int8", "int4") for kind in constants) else "float"


def producers(model: Any, graph: Any) -> dict[int, tuple[str, Any]]:
    """Return tensor -> the name of the operator that makes it, and the operator."""
    return {
        int(index): (operator_name(model.operatorCodes[operator.opcodeIndex]), operator)
        for operator in graph.operators
        for index in operator.outputs
    }


def weights_of(model: Any, graph: Any, operator: Any, made: dict[int, tuple[str, Any]]) -> Weights | None:
    """Return the operator's weights, or None where it has none."""
    name = operator_name(model.operatorCodes[operator.opcodeIndex])
    if name not in WEIGHTED:
        return None
    for index in operator.inputs[:2]:
        source = int(index)
        maker, converting = made.get(source, ("", None))
        if maker == "DEQUANTIZE":
            source = int(converting.inputs[0])
        if source >= 0 and is_constant(model, graph.tensors[source]) and type_name(graph.tensors[source]) != "int32":
            tensor = graph.tensors[source]
            return Weights(type_name(tensor), _scales(tensor))
    return None


def _scales(tensor: Any) -> str:
    quantization = tensor.quantization
    if quantization is None:
        return ""
    if quantization.detailsType == schema().QuantizationDetails.BlockwiseQuantization:
        return f"blockwise_{quantization.details.blockSize}"
    count = 0 if quantization.scale is None else len(quantization.scale)
    if count == 0:
        return ""
    return "per_tensor" if count == 1 else f"per_channel axis {quantization.quantizedDimension}"


def is_constant(model: Any, tensor: Any) -> bool:
    """Return whether the tensor's value stands in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
