"""Which mode each operator of a model is to have: the recipe's mode, and the last rule that fits the operator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.quantization.patterns import Pattern
from mlkit_build.recipe import STATIC_MODES, Quantization, Rule
from mlkit_build.records import dataclass
from mlkit_build.tflite.model import operator_name, tensor_name

WEIGHTED = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
    "CONV_3D": 1,
    "BATCH_MATMUL": 1,
    "EMBEDDING_LOOKUP": 1,
}
"""Operators that multiply by weights -> which input these are."""

LOOKUPS = {"EMBEDDING_LOOKUP": 1, "GATHER": 0}
"""Operators that pick rows of a table -> which input it is. Only where it is a constant, it is weights."""


INT4 = {
    "dynamic_range_int4": ("FULLY_CONNECTED", "EMBEDDING_LOOKUP"),
    "weight_only_int4": ("FULLY_CONNECTED", "EMBEDDING_LOOKUP", "CONV_2D", "BATCH_MATMUL"),
}
"""Mode -> operators whose weights become int4. A hybrid CONV_2D with int4 weights is NaN or garbage in runtimes 2.16 and 2.18."""

IN_PLACE_OF_INT4 = {"dynamic_range_int4": "dynamic_range", "weight_only_int4": "weight_only_int8"}
"""Mode -> the mode of all other operators."""


@dataclass(frozen=True)
class Place:
    """One operator of a model.

    Attributes:
        operator: LiteRT's name of it.
        tensors: Names of its output tensors.
    """

    operator: str
    tensors: tuple[str, ...]

    def __str__(self) -> str:
        # What was fused into an operator is in its name, behind semicolons: hundreds of letters.
        return f"{self.operator} ({self.tensors[0].partition(';')[0] if self.tensors else ''})"


def place_of(model: Any, graph: Any, operator: Any) -> Place:
    """Return what a rule may know an operator by."""
    code = model.operatorCodes[operator.opcodeIndex]
    return Place(operator_name(code), tuple(tensor_name(graph.tensors[index]) for index in operator.outputs))


def places(model: Any) -> Iterator[Place]:
    """Yield every operator of the model."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            yield place_of(model, graph, operator)


class Selection:
    """The recipe's choice of modes."""

    def __init__(self, quantization: Quantization) -> None:
        self.mode = quantization.mode
        self._rules = [
            (rule, Pattern(rule.tensor or "", f"quantization.rules[{index}].tensor"))
            for index, rule in enumerate(quantization.rules)
        ]

    def mode_of(self, place: Place) -> str:
        """Return the mode that an operator is to have."""
        fitting = [rule.mode for rule, pattern in self._rules if _fits(rule, pattern, place)]
        mode = fitting[-1] if fitting else self.mode
        return IN_PLACE_OF_INT4[mode] if mode in IN_PLACE_OF_INT4 and place.operator not in INT4[mode] else mode

    def check_rules(self, model: Any) -> None:
        """Refuse rules that fit no operator of the float model.

        Raises:
            ConfigError: Names the rule, and what the model has; or that its regular expression takes too long.
        """
        known = list(places(model))
        for index, (rule, pattern) in enumerate(self._rules):
            fitting = {place.operator for place in known if _fits(rule, pattern, place)}
            if fitting:
                if rule.mode not in ("float32", *STATIC_MODES) and not fitting & {*WEIGHTED, *LOOKUPS}:
                    listed = ", ".join(sorted(fitting))
                    raise ConfigError(
                        f"quantization.rules[{index}].mode: {rule.mode} is about weights, and {listed} has none",
                        f"use float32, {' or '.join(STATIC_MODES)}",
                    )
                continue
            operators = sorted({place.operator for place in known})
            if rule.operator is not None and rule.operator not in operators:
                raise ConfigError(
                    f"quantization.rules[{index}].operator: the model has no {rule.operator}; it has {', '.join(operators)}",
                    did_you_mean(rule.operator.upper(), operators),
                )
            names = [name for place in known if rule.operator in (None, place.operator) for name in place.tensors]
            near = get_close_matches(re.sub(r"[^\w/]", "", rule.tensor or ""), names, n=3, cutoff=0.2) or names[:3]
            raise ConfigError(
                f"quantization.rules[{index}].tensor: {rule.tensor!r} is found in no output tensor's name"
                + (f" of {rule.operator}" if rule.operator else ""),
                f"names are like {', '.join(near)}; `mlkit-build quantization-report` lists them",
            )


def _fits(rule: Rule, pattern: Pattern, place: Place) -> bool:
    return rule.operator in (None, place.operator) and any(map(pattern.found_in, place.tensors))
