"""Reads a quantized flatbuffer: which operators only convert, what the others compute with, and how weights are stored."""

from __future__ import annotations

from typing import Any

from mlkit_build.quantization.kernels import AXES
from mlkit_build.quantization.selection import LOOKUPS, WEIGHTED
from mlkit_build.records import dataclass
from mlkit_build.tflite.model import operator_name, schema, type_name

BOUNDARY = {"QUANTIZE", "DEQUANTIZE"}

_STORED = {"float32", "float16", "bfloat16", "int16", "int8", "uint8", "int4", "int2"}
"""Types that weights can have; an int32 is a shape or an index."""


@dataclass(frozen=True)
class Weights:
    """The constant that an operator multiplies with, or picks rows of.

    Attributes:
        stored: Its type in the file, before a DEQUANTIZE where there is one.
        scales: What shares a scale: `per_tensor`, `per_channel axis 0`, `blockwise_32`; empty where there is none. One value
            that is written for every channel, as some kernels want it, is `per_tensor`.
        widened: Whether a DEQUANTIZE stands between them and the operator, which then computes in floating point.
        shares: Whether all of several channels have to do with one scale.
    """

    stored: str
    scales: str
    widened: bool = False
    shares: bool = False


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
    if name not in WEIGHTED and name not in LOOKUPS:
        return None
    for index in operator.inputs[:1] if name == "GATHER" else operator.inputs[:2]:
        source = int(index)
        maker, converting = made.get(source, ("", None))
        if maker == "DEQUANTIZE":
            source = int(converting.inputs[0])
        if source >= 0 and is_constant(model, graph.tensors[source]) and type_name(graph.tensors[source]) in _STORED:
            tensor = graph.tensors[source]
            return Weights(type_name(tensor), _scales(tensor), source != index, _shares(name, tensor))
    return None


def _scales(tensor: Any) -> str:
    quantization = tensor.quantization
    if quantization is None:
        return ""
    if quantization.detailsType == schema().QuantizationDetails.BlockwiseQuantization:
        return f"blockwise_{quantization.details.blockSize}"
    different = set() if quantization.scale is None else set(map(float, quantization.scale))
    if not different:
        return ""
    return "per_tensor" if len(different) == 1 else f"per_channel axis {quantization.quantizedDimension}"


def _shares(name: str, tensor: Any) -> bool:
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    return name in AXES and scales is not None and len(scales) == 1 and tensor.shape[AXES[name]] > 1


def tensors_read(graph: Any) -> set[int]:
    """Return the tensors that operators read, outputs, and those that hold the scales of others' blocks."""
    read = {int(index) for operator in graph.operators for index in operator.inputs} | {int(index) for index in graph.outputs}
    for tensor in graph.tensors:
        quantization = tensor.quantization
        if quantization is not None and quantization.detailsType == schema().QuantizationDetails.BlockwiseQuantization:
            read |= {int(quantization.details.scales), int(quantization.details.zeroPoints)}
    return read


def is_constant(model: Any, tensor: Any) -> bool:
    """Return whether the tensor's value stands in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
