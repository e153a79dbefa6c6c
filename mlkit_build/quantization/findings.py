"""Every operator of a quantized model beside the mode that it was to have."""

from __future__ import annotations

from typing import Any

from mlkit_build.errors import StageError
from mlkit_build.quantization.offers import OFFERS
from mlkit_build.quantization.reading import Weights, is_boundary, is_constant, kind_of, producers, weights_of
from mlkit_build.quantization.selection import IN_PLACE_OF_INT4, LOOKUPS, Place, Selection, place_of
from mlkit_build.recipe import STATIC_MODES, Quantization
from mlkit_build.records import dataclass
from mlkit_build.tflite.model import type_name

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
class _Operator:
    """One operator that computes: what it is to be, and what it is."""

    place: Place
    mode: str
    kind: str
    types: frozenset[str]
    weights: Weights | None

    def __str__(self) -> str:
        return str(self.place)


class Findings:
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

    def check_weights(self) -> tuple[list[str], list[str]]:
        """Refuse weights of another type than asked, unless only some are; return which, and what the user should know.

        A mode about weights holds where there are none; where there are, it must have reached them.
        """
        warnings: list[str] = []
        left_float: list[str] = []
        if self._quantization.mode in STATIC_MODES and all(_is_float(item) for item in self._operators):
            warnings.append("the rules leave every operator float: this is the float32 model")
        for mode, stored in _STORED.items():
            weighted = [item for item in self._operators if item.mode == mode and item.weights and not _is_rotation(item)]
            if mode == self._quantization.mode and not weighted:
                less = IN_PLACE_OF_INT4.get(mode)
                others = any(item.mode == less and item.weights is not None for item in self._operators)
                same = f"this is the {less} model" if others else "this is the float32 model"
                warnings.append(f"no operator has weights that {mode} reaches, so it changes nothing: {same}")
            left = [str(item) for item in weighted if item.weights is not None and item.weights.stored == "float32"]
            other = [item for item in weighted if item.weights is not None and item.weights.stored not in ("float32", stored)]
            if weighted and len(left) == len(weighted):
                raise StageError(
                    f"quantize: asked for {self._asked(mode)}, but all {len(left)} operators with weights kept them as float32: "
                    f"{_listed(left)}",
                    "use quantization=float32, which says what it is" + self._other_backend(mode),
                )
            if other:
                raise StageError(
                    f"quantize: asked for {self._asked(mode)}, but {len(other)} operators have weights of another type than "
                    f"{stored}: {_listed(other)}"
                )
            self._check_widened(mode, [item for item in weighted if item.weights and item.weights.stored == stored])
            if left:
                warnings.append(f"{len(left)} of {len(weighted)} operators with weights kept them as float32: {_listed(left)}")
                left_float += left
        self._check_granularity()
        shared = [item for item in self._operators if item.weights is not None and item.weights.shares]
        if shared and self._quantization.granularity == "per_channel":
            warnings.append(f"{len(shared)} operators have one scale for all channels of their weights: {_listed(shared)}")
        return left_float, warnings

    def _asked(self, mode: str) -> str:
        """Return what the recipe calls the mode: what is not int4 in a mode of int4 weights is int8."""
        stated = self._quantization.modes
        wider = [name for name, less in IN_PLACE_OF_INT4.items() if less == mode and name in stated]
        return wider[0] if wider and mode not in stated else mode

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


def _is_rotation(operator: _Operator) -> bool:
    """Whether an operator is the rotation that the algorithm `hadamard` puts before a dense layer, in float32."""
    weights = operator.weights
    return weights is not None and weights.stored == "float32" and operator.place.tensors[0].endswith("_rotated")


def _is_float(operator: _Operator) -> bool:
    """Whether nothing of an operator is quantized."""
    return operator.kind == "float" and (operator.weights is None or operator.weights.stored == "float32")


def _is_quantized(operator: _Operator) -> bool:
    """Whether an operator has quantized activations, or weights where there should be none smaller than float32."""
    integers = operator.kind == "integer" and bool(operator.types & set(_ACTIVATIONS.values()))
    if operator.place.operator in LOOKUPS and operator.weights is not None and operator.mode in _STORED:
        return False  # what it picks is widened behind it
    weights = operator.mode == "float32" and operator.weights is not None and operator.weights.stored != "float32"
    return integers or weights


def _listed(found: list[Any]) -> str:
    return ", ".join(str(item) for item in found[:5]) + (", ..." if len(found) > 5 else "")
