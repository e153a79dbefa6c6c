"""The truth check: reads the quantized flatbuffer back and compares it with what was asked. Returning is not enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlkit_build.errors import StageError
from mlkit_build.tflite import FLEX
from mlkit_build.tflite.model import operator_name, schema, tensor_name, type_name

_BOUNDARY = {"QUANTIZE", "DEQUANTIZE"}
_WEIGHTED = {
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "TRANSPOSE_CONV",
    "CONV_3D",
    "BATCH_MATMUL",
    "EMBEDDING_LOOKUP",
}


@dataclass(frozen=True)
class Truth:
    """What a model is made of.

    Attributes:
        operators: Operator -> how many.
        integer_operators: Operators whose data are all integers, without those that only convert.
        float_operators: Operators that compute with floating point.
        hybrid_operators: Of those, the ones with integer weights.
        weight_bytes: Constant bytes by type.
        inputs: Types of the inputs.
        outputs: Types of the outputs.
        left_float: Operators whose weights could be stored smaller in the mode asked for, and are not.
        warning: What the user should know; empty when the model is what the mode promises.
    """

    operators: Mapping[str, int]
    integer_operators: int
    float_operators: int
    hybrid_operators: int
    weight_bytes: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    left_float: tuple[str, ...] = ()
    warning: str = ""


def read_truth(model: Any) -> Truth:
    """Return what is in the model."""
    operators: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = operator_name(model.operatorCodes[operator.opcodeIndex])
            operators[name] += 1
            if not _is_boundary(model, graph, operator):
                kinds.update(_kinds(model, graph, operator))
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                weights[type_name(tensor)] += len(data)
    main = model.subgraphs[0]
    return Truth(
        operators=dict(sorted(operators.items())),
        integer_operators=kinds["integer"],
        float_operators=kinds["float"],
        hybrid_operators=kinds["hybrid"],
        weight_bytes=dict(sorted(weights.items())),
        inputs=tuple(type_name(main.tensors[index]) for index in main.inputs),
        outputs=tuple(type_name(main.tensors[index]) for index in main.outputs),
    )


def check(
    model: Any,
    mode: str,
    io: str,
    float_inputs: tuple[str, ...],
    float_outputs: tuple[str, ...],
    allow_select_ops: bool = False,
) -> Truth:
    """Compare the model with what was asked.

    Args:
        float_inputs: Types of the float model's inputs; integer ones keep their type whatever `io` says.
        float_outputs: Types of the float model's outputs.
        allow_select_ops: Whether Flex operators may be in it.

    Raises:
        StageError: The model is not what was asked; names the operators or tensors.
    """
    truth = read_truth(model)
    _check_builtin(model, allow_select_ops)
    _check_scales(model)
    _check_ends("inputs", truth.inputs, tuple(io if found == "float32" else found for found in float_inputs))
    _check_ends("outputs", truth.outputs, tuple(io if found == "float32" else found for found in float_outputs))
    if mode == "int8":
        _check_full_integer(model, truth)
        return truth
    return _check_weights(model, mode, truth)


def _is_boundary(model: Any, graph: Any, operator: Any) -> bool:
    """Return whether the operator only converts: QUANTIZE and its like, or the CAST of an input that is made of integers.

    A model that was trained on uint8 pixels casts them to float itself; its QUANTIZE follows.
    """
    name = operator_name(model.operatorCodes[operator.opcodeIndex])
    return name in _BOUNDARY or (
        name == "CAST"
        and operator.inputs[0] in graph.inputs
        and type_name(graph.tensors[operator.inputs[0]]) in ("uint8", "int8", "int16", "int32", "int64")
    )


def _kinds(model: Any, graph: Any, operator: Any) -> list[str]:
    types = [type_name(graph.tensors[index]) for index in [*operator.inputs, *operator.outputs] if index >= 0]
    if not any(name in ("float32", "float16") for name in types):
        return ["integer"]
    name = operator_name(model.operatorCodes[operator.opcodeIndex])
    constants = [
        type_name(graph.tensors[index]) for index in operator.inputs if index >= 0 and _is_constant(model, graph.tensors[index])
    ]
    return ["float", "hybrid"] if name in _WEIGHTED and any(kind in ("int8", "int4") for kind in constants) else ["float"]


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _check_builtin(model: Any, allow_select_ops: bool) -> None:
    custom = [
        operator_name(code)
        for code in model.operatorCodes
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema().BuiltinOperator.CUSTOM
        and not (allow_select_ops and operator_name(code).startswith(FLEX))
    ]
    if custom:
        raise StageError(f"quantize: the model has operators that are not built in: {', '.join(custom)}")


def _check_scales(model: Any) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            scales = tensor.quantization.scale if tensor.quantization is not None else None
            if scales is None:
                continue
            bad = [float(scale) for scale in scales if not math.isfinite(scale) or scale <= 0]
            if bad:
                raise StageError(
                    f"quantize: the tensor {tensor_name(tensor)} has the scale {bad[0]}; expected a positive number",
                    "look at the calibration samples: a tensor that never changes, or is infinite, has no range",
                )


def _check_ends(what: str, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if found != expected:
        raise StageError(f"quantize: the {what} are {', '.join(found)}; asked for {', '.join(expected)}")


def _check_full_integer(model: Any, truth: Truth) -> None:
    left = [
        f"{operator_name(model.operatorCodes[operator.opcodeIndex])} ({tensor_name(graph.tensors[operator.outputs[0]])})"
        for graph in model.subgraphs
        for operator in graph.operators
        if not _is_boundary(model, graph, operator) and "float" in _kinds(model, graph, operator)
    ]
    if left:
        raise StageError(
            f"quantize: asked for int8, but {len(left)} of {sum(truth.operators.values())} operators stayed float: "
            + _listed(left),
            "use quantization=dynamic_range or quantization=float16 for this model",
        )
    if not truth.integer_operators:
        raise StageError("quantize: asked for int8, but the model has no operator that computes")


def _check_weights(model: Any, mode: str, truth: Truth) -> Truth:
    """A mode about weights holds where there are none; where there are, it must have reached them."""
    weighted, left = [], []
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = operator_name(model.operatorCodes[operator.opcodeIndex])
            if name in _WEIGHTED:
                label = f"{name} ({tensor_name(graph.tensors[operator.outputs[0]])})"
                weighted.append(label)
                constants = [index for index in operator.inputs[:2] if index >= 0 and _is_constant(model, graph.tensors[index])]
                left += [label for index in constants if type_name(graph.tensors[index]) == "float32"]
    if not weighted:
        return replace(truth, warning=f"no operator has weights, so {mode} changes nothing: this is the float32 model")
    if len(left) == len(weighted):
        raise StageError(
            f"quantize: asked for {mode}, but all {len(left)} operators with weights kept them as float32: {_listed(left)}",
            "use quantization=float32, which says what it is",
        )
    warning = f"{len(left)} of {len(weighted)} operators with weights kept them as float32: {_listed(left)}" if left else ""
    return replace(truth, left_float=tuple(left), warning=warning)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
