"""The truth check: reads the quantized flatbuffer back and compares it with what was asked. Returning is not enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlkit_build.errors import StageError
from mlkit_build.quantization.findings import Findings
from mlkit_build.quantization.kernels import wrong_for_kernel
from mlkit_build.quantization.reading import (
    is_boundary,
    is_constant,
    kind_of,
    producers,
    tensors_read,
    weights_of,
)
from mlkit_build.quantization.selection import place_of
from mlkit_build.recipe import Quantization
from mlkit_build.records import dataclass
from mlkit_build.tflite import FLEX
from mlkit_build.tflite.model import operator_name, schema, tensor_name, type_name


@dataclass(frozen=True)
class Truth:
    """What a model is made of.

    Attributes:
        operators: Operator -> how many.
        integer_operators: Operators whose data are all integers, without those that only convert.
        float_operators: Operators that compute with floating point.
        hybrid_operators: Of those, the ones with integer weights.
        integer_share: Integer operators among all that compute, 0..1.
        weight_bytes: Constant bytes by type.
        integer_bytes_share: Constant bytes of integer types among all, 0..1.
        weight_scales: How the weights of operators share scales -> how many: `per_tensor`, `per_channel axis 0`, `blockwise_32`.
        quantize_pairs: DEQUANTIZE operators whose result is quantized again.
        unread_bytes: Constant bytes that no operator reads.
        inputs: Types of the inputs.
        outputs: Types of the outputs.
        left_float: Operators whose weights could be stored smaller in the mode asked for, and are not.
        warning: What the user should know; empty when the model is what the mode promises.
    """

    operators: Mapping[str, int]
    integer_operators: int
    float_operators: int
    hybrid_operators: int
    integer_share: float
    weight_bytes: Mapping[str, int]
    integer_bytes_share: float
    weight_scales: Mapping[str, int]
    quantize_pairs: int
    unread_bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    left_float: tuple[str, ...] = ()
    warning: str = ""


def read_truth(model: Any) -> Truth:
    """Return what is in the model."""
    operators: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    scales: Counter[str] = Counter()
    pairs = 0
    constants: dict[int, tuple[str, bool]] = {}
    for graph in model.subgraphs:
        made, read = producers(model, graph), tensors_read(graph)
        for operator in graph.operators:
            name = operator_name(model.operatorCodes[operator.opcodeIndex])
            operators[name] += 1
            if not is_boundary(model, graph, operator):
                kinds.update([kind_of(model, graph, operator)])
                found = weights_of(model, graph, operator, made)
                scales.update([found.scales] if found and found.scales else [])
            pairs += name == "QUANTIZE" and made.get(int(operator.inputs[0]), ("", None))[0] == "DEQUANTIZE"
        for index, tensor in enumerate(graph.tensors):
            if is_constant(model, tensor):  # tensors may share one buffer, also across subgraphs
                constants[tensor.buffer] = type_name(tensor), index in read or constants.get(tensor.buffer, ("", False))[1]
    sizes = {buffer: len(model.buffers[buffer].data) for buffer in constants}
    for buffer, (type_, _) in constants.items():
        weights[type_] += sizes[buffer]
    main = model.subgraphs[0]
    integers = sum(size for name, size in weights.items() if "int" in name)
    return Truth(
        operators=dict(sorted(operators.items())),
        integer_operators=kinds["integer"],
        float_operators=kinds["float"] + kinds["hybrid"],
        hybrid_operators=kinds["hybrid"],
        integer_share=_share(kinds["integer"], sum(kinds.values())),
        weight_bytes=dict(sorted(weights.items())),
        integer_bytes_share=_share(integers, sum(weights.values())),
        weight_scales=dict(sorted(scales.items())),
        quantize_pairs=pairs,
        unread_bytes=sum(sizes[buffer] for buffer, (_, is_read) in constants.items() if not is_read),
        inputs=tuple(type_name(main.tensors[index]) for index in main.inputs),
        outputs=tuple(type_name(main.tensors[index]) for index in main.outputs),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def check(
    model: Any,
    quantization: Quantization,
    float_inputs: tuple[str, ...],
    float_outputs: tuple[str, ...],
    allow_select_ops: bool = False,
) -> Truth:
    """Compare the model with what was asked.

    Args:
        quantization: What was asked.
        float_inputs: Types of the float model's inputs; integer ones keep their type whatever `io` says.
        float_outputs: Types of the float model's outputs.
        allow_select_ops: Whether Flex operators may be in it.

    Raises:
        StageError: The model is not what was asked; names the operators or tensors.
    """
    truth = read_truth(model)
    io = quantization.io
    _check_builtin(model, allow_select_ops)
    _check_scales(model)
    for what, found, before in (("inputs", truth.inputs, float_inputs), ("outputs", truth.outputs, float_outputs)):
        expected = tuple(io if type_ == "float32" else type_ for type_ in before)
        if found != expected:
            raise StageError(
                f"quantize: the {what} are {', '.join(found)}; asked for {', '.join(expected)}", _io_hint(quantization)
            )
    _check_kernels(model)
    findings = Findings(model, quantization)
    findings.check_integers()
    findings.check_floats()
    left_float, warnings = findings.check_weights()
    return replace(truth, left_float=tuple(left_float), warning="; ".join(warnings))


def _io_hint(quantization: Quantization) -> str:
    """Return what to do where a rule is why inputs or outputs are not of the type asked for."""
    modes = sorted(quantization.modes - {"int8"})
    if not quantization.rules or not modes:
        return ""
    named = f"{', '.join(modes[:-1])} or {modes[-1]}" if len(modes) > 1 else modes[0]
    return (
        f"only operators in int8 read or make {quantization.io}, and a rule gives those there {named}: "
        "use quantization.io=float32, or leave these operators out of the rule"
    )


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


def _check_kernels(model: Any) -> None:
    """Refuse scales that LiteRT loads and computes wrongly with."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            wrong = wrong_for_kernel(model, graph, operator)
            if wrong:
                raise StageError(f"quantize: {place_of(model, graph, operator)} has weights with {wrong}")
