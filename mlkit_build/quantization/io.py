"""uint8 inputs and outputs for a model that computes in int8, as ML Kit feeds and reads them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mlkit_build.tflite.model import add_operator_code, operator_name, schema, type_name
from mlkit_build.tflite.signatures import signed_inputs

_OFFSET = 128
"""uint8 = int8 + 128, so zero points move by 128 and scales stay."""


def to_uint8(model: Any) -> None:
    """Put a QUANTIZE operator behind every int8 input and before every int8 output, in place.

    QUANTIZE between uint8 and int8 of equal scale adds 128 or takes it away, exactly.
    """
    graph = model.subgraphs[0]
    quantize = add_operator_code(model, schema().BuiltinOperator.QUANTIZE)
    before, after = [], []
    for position, inner in enumerate(graph.inputs):
        if type_name(graph.tensors[inner]) == "int8":
            outer = _uint8_twin(model, inner, "uint8_input")
            before.append(_operator(quantize, outer, inner))
            _rename(model, graph.inputs, position, inner, outer)
    for position, inner in enumerate(graph.outputs):
        if type_name(graph.tensors[inner]) == "int8":
            outer = _uint8_twin(model, inner, "uint8_output")
            after.append(_operator(quantize, inner, outer))
            _rename(model, graph.outputs, position, inner, outer)
    graph.operators = [*before, *graph.operators, *after]


def feed_pixels(model: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Let the uint8 inputs that images are fed to mean pixels, in place: 0..255 is exactly the range that normalization gives.

    TensorFlow's converter makes them mean what calibration saw. The QUANTIZE operator behind such an input converts from any
    scale.

    Args:
        ranges: Signature name -> the normalized values of the pixels 0 and 255.
    """
    graph = model.subgraphs[0]
    read_by = [operator_name(model.operatorCodes[operator.opcodeIndex]) for operator in graph.operators]
    for name, index in signed_inputs(model).items():
        tensor = graph.tensors[index]
        readers = {kind for kind, item in zip(read_by, graph.operators, strict=True) if index in item.inputs}
        if name in ranges and type_name(tensor) == "uint8" and readers == {"QUANTIZE"}:
            low, high = ranges[name]
            scale = (high - low) / 255
            tensor.quantization.scale = [scale]
            tensor.quantization.zeroPoint = [round(-low / scale)]


def _uint8_twin(model: Any, index: int, suffix: str) -> int:
    graph = model.subgraphs[0]
    original = graph.tensors[index]
    twin = copy.deepcopy(original)
    name = original.name if isinstance(original.name, bytes) else original.name.encode()
    twin.name = name + b"_" + suffix.encode()
    twin.type = schema().TensorType.UINT8
    twin.quantization.zeroPoint = [int(point) + _OFFSET for point in original.quantization.zeroPoint]
    model.buffers.append(schema().BufferT())
    twin.buffer = len(model.buffers) - 1
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def _operator(code: int, source: int, target: int) -> Any:
    operator = schema().OperatorT()
    operator.opcodeIndex = code
    operator.inputs = [source]
    operator.outputs = [target]
    operator.builtinOptionsType = schema().BuiltinOptions.QuantizeOptions
    operator.builtinOptions = schema().QuantizeOptionsT()
    return operator


def _rename(model: Any, ends: Any, position: int, inner: int, outer: int) -> None:
    ends[position] = outer
    for definition in model.signatureDefs or []:
        for entry in [*definition.inputs, *definition.outputs]:
            if entry.tensorIndex == inner:
                entry.tensorIndex = outer
