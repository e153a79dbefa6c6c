"""The truth check: reads the quantized flatbuffer back and compares it with what was asked. Returning is not enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlkit_build.errors import StageError
from mlkit_build.quantization.kernels import wrong_for_kernel
from mlkit_build.quantization.offers import OFFERS
from mlkit_build.quantization.reading import (
    Weights,
    is_boundary,
    is_constant,
    kind_of,
    producers,
    tensors_read,
    weights_of,
)
from mlkit_build.quantization.selection import IN_PLACE_OF_INT4, LOOKUPS, Place, Selection, place_of
from mlkit_build.recipe import STATIC_MODES, Quantization
from mlkit_build.tflite import FLEX
from mlkit_build.tflite.model import operator_name, schema, tensor_name, type_name

_STORED = {
    "float16": "float16",
    "dynamic_range": "int8",
    "dynamic_range_int4": "int4",
    "weight_only_int8": "int8",
    "weight_only_int4": "int4",
}
"""Mode -> the type that weights have in the file."""

_WIDENED = {"float16", "weight_only_int8", "weight_only_int4"}
"""Modes in which a DEQUANTIZE widens the weights, and the operator computes in floating point."""

_ACTIVATIONS = {"int8": "int8", "int16x8": "int16"}
"""Static mode -> the type that stands in place of float32."""


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
    hint = "a rule that leaves the operators there float keeps them float too: use quantization.io=float32" * bool(
        quantization.rules
    )
    for what, found, before in (("inputs", truth.inputs, float_inputs), ("outputs", truth.outputs, float_outputs)):
        expected = tuple(io if type_ == "float32" else type_ for type_ in before)
        if found != expected:
            raise StageError(f"quantize: the {what} are {', '.join(found)}; asked for {', '.join(expected)}", hint)
    _check_kernels(model)
    findings = _Findings(model, quantization)
    findings.check_integers()
    findings.check_floats()
    return findings.check_weights(truth)


@dataclass(frozen=True)
class _Operator:
    """One operator that computes: what it is to be, and what it is."""

    place: Place
    mode: str
    kind: str
    types: frozenset[str]
    weights: Weights | None

    def __str__(self) -> str:
        return str(self.place)


class _Findings:
    """Every operator that computes, beside the mode that it was to have."""

    def __init__(self, model: Any, quantization: Quantization) -> None:
        self._quantization = quantization
        selection = Selection(quantization)
        self._operators = []
        for graph in model.subgraphs:
            made = producers(model, graph)
            for operator in graph.operators:
                if is_boundary(model, graph, operator):
                    continue
                place = place_of(model, graph, operator)
                varying = [index for index in [*operator.inputs, *operator.outputs] if index >= 0]
                types = {type_name(graph.tensors[index]) for index in varying if not is_constant(model, graph.tensors[index])}
                self._operators.append(
                    _Operator(
                        place,
                        selection.mode_of(place),
                        kind_of(model, graph, operator),
                        frozenset(types),
                        weights_of(model, graph, operator, made),
                    )
                )

    def check_integers(self) -> None:
        """Refuse operators of a static mode that compute in floating point, or with integers of another size."""
        for mode, type_ in _ACTIVATIONS.items():
            asked = [operator for operator in self._operators if operator.mode == mode]
            left = [operator for operator in asked if operator.kind != "integer"]
            if left:
                rules = ", ".join(
                    f"{{operator: {name}, mode: float32}}" for name in sorted({item.place.operator for item in left})
                )
                backend = "quantization.backend=litert and " if self._quantization.backend == "converter" else ""
                raise StageError(
                    f"quantize: asked for {mode}, but {len(left)} of {len(asked)} operators stayed float: {_listed(left)}",
                    f"let them stay float with {backend}`quantization.rules: [{rules}]`, or use quantization=dynamic_range or "
                    "quantization=float16 for this model",
                )
            other = next(name for name in _ACTIVATIONS.values() if name != type_)
            wrong = [operator for operator in asked if type_ not in operator.types and other in operator.types]
            if wrong:
                raise StageError(
                    f"quantize: asked for {mode}, but {len(wrong)} of {len(asked)} operators compute in {other}: {_listed(wrong)}"
                )
        if self._quantization.mode in STATIC_MODES and not self._operators:
            raise StageError(f"quantize: asked for {self._quantization.mode}, but the model has no operator that computes")

    def check_floats(self) -> None:
        """Refuse operators that were to stay float and did not."""
        wrong = [operator for operator in self._operators if operator.mode not in STATIC_MODES and _is_quantized(operator)]
        if wrong:
            raise StageError(
                f"quantize: {len(wrong)} operators were to be {', '.join(sorted({item.mode for item in wrong}))}, but compute "
                f"with quantized integers: {_listed(wrong)}"
            )

    def check_weights(self, truth: Truth) -> Truth:
        """A mode about weights holds where there are none; where there are, it must have reached them."""
        warnings, left_float = [], []
        for mode, stored in _STORED.items():
            weighted = [item for item in self._operators if item.mode == mode and item.weights is not None]
            if mode == self._quantization.mode and not weighted:
                less = IN_PLACE_OF_INT4.get(mode)
                others = any(item.mode == less and item.weights is not None for item in self._operators)
                same = f"this is the {less} model" if others else "this is the float32 model"
                warnings.append(f"no operator has weights that {mode} reaches, so it changes nothing: {same}")
            left = [str(item) for item in weighted if item.weights is not None and item.weights.stored == "float32"]
            other = [item for item in weighted if item.weights is not None and item.weights.stored not in ("float32", stored)]
            if weighted and len(left) == len(weighted):
                raise StageError(
                    f"quantize: asked for {mode}, but all {len(left)} operators with weights kept them as float32: "
                    f"{_listed(left)}",
                    "use quantization=float32, which says what it is" + self._other_backend(mode),
                )
            if other:
                raise StageError(
                    f"quantize: asked for {mode}, but {len(other)} operators have weights of another type than {stored}: "
                    f"{_listed(other)}"
                )
            self._check_widened(mode, [item for item in weighted if item.weights and item.weights.stored == stored])
            if left:
                warnings.append(f"{len(left)} of {len(weighted)} operators with weights kept them as float32: {_listed(left)}")
                left_float += left
        self._check_granularity()
        shared = [item for item in self._operators if item.weights is not None and item.weights.shares]
        if shared and self._quantization.granularity == "per_channel":
            warnings.append(f"{len(shared)} operators have one scale for all channels of their weights: {_listed(shared)}")
        return replace(truth, left_float=tuple(left_float), warning="; ".join(warnings))

    def _check_widened(self, mode: str, reached: list[_Operator]) -> None:
        """Refuse integer weights that are computed with otherwise than asked: as they are, or widened to float32 first."""
        computing = [item for item in reached if item.place.operator not in LOOKUPS]
        wrong = [item for item in computing if item.weights and item.weights.widened != (mode in _WIDENED)]
        if wrong:
            how = "do not widen" if mode in _WIDENED else "widen"
            raise StageError(f"quantize: asked for {mode}, but {len(wrong)} operators {how} their weights: {_listed(wrong)}")

    def _other_backend(self, mode: str) -> str:
        """Return that the converter may do what ai-edge-quantizer did not: it knows other operators."""
        whole = self._quantization.backend == "litert" and not self._quantization.rules and mode in OFFERS["converter"]
        return ", or try quantization.backend=converter" if whole else ""

    def _check_granularity(self) -> None:
        """Refuse scales that are shared otherwise than asked: more of them cost size, fewer cost accuracy."""
        asked = self._quantization.granularity
        wrong = []
        for item in self._operators:
            if item.weights is None or item.mode in ("float32", "float16") or not item.weights.scales:
                continue
            if asked == "per_tensor" and item.weights.scales != "per_tensor":
                wrong.append(item)
            if asked.startswith("blockwise") and item.place.operator == "FULLY_CONNECTED" and item.weights.scales != asked:
                wrong.append(item)
        if wrong:
            raise StageError(
                f"quantize: asked for quantization.granularity={asked}, but the weights of {len(wrong)} operators are "
                f"{', '.join(sorted({item.weights.scales for item in wrong if item.weights}))}: {_listed(wrong)}",
                "their rows may be no multiple of the block; use quantization.granularity=per_channel",
            )


def _is_quantized(operator: _Operator) -> bool:
    """Whether an operator has quantized activations, or weights where there should be none smaller than float32."""
    integers = operator.kind == "integer" and bool(operator.types & set(_ACTIVATIONS.values()))
    if operator.place.operator in LOOKUPS and operator.weights is not None and operator.mode in _STORED:
        return False  # what it picks is widened behind it
    weights = operator.mode == "float32" and operator.weights is not None and operator.weights.stored != "float32"
    return integers or weights


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


def _listed(found: list[Any]) -> str:
    return ", ".join(str(item) for item in found[:5]) + (", ..." if len(found) > 5 else "")
