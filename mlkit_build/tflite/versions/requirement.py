"""Which runtime a model needs, told from the file alone: per operator, its version and the types of its tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlkit_build.records import dataclass
from mlkit_build.tflite.versions.conditions import ABSENT, Operation
from mlkit_build.tflite.versions.measured import FORMS, Form
from mlkit_build.tflite.versions.operations import Placed, operations
from mlkit_build.tflite.versions.rules import RULES
from mlkit_build.tflite.versions.runtimes import FIRST_OF_TYPES, first_runtime, newest, release

_SPREAD = {"DEPTHWISE_CONV_2D"}
"""Operators that have a scale per channel in the file whatever the granularity, because their kernel reads that many."""


@dataclass(frozen=True)
class OperatorRequirement:
    """What the operators of one name, version and types of tensors need.

    Attributes:
        name: E.g. `FULLY_CONNECTED`.
        version: As the file states it.
        needed: The version that its tensors and options need; more than `version` where the file states too little, which
            older runtimes then load, and may compute wrongly without a word.
        inputs: Types of the inputs in order, by NumPy's names; `absent` for one that is left out.
        outputs: Types of the outputs.
        runtime: The first that computes it rightly, e.g. `2.17.0`. None when none does, or nothing is known.
        silent: What some runtimes compute wrongly whatever the version says, e.g. `CONV_2D has int4 weights, which runtimes 2.15
            to 2.18 compute wrongly`; usually empty.
        tensors: The name of the first output of each such operator.
    """

    name: str
    version: int
    needed: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    runtime: str | None
    silent: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()

    @property
    def types(self) -> str:
        """The types of its tensors, e.g. `float32, int8, float32 -> float32`."""
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"

    @property
    def says(self) -> str:
        """What a runtime that does not know the version says (`op_resolver.h` and `interpreter_builder.cc` of LiteRT)."""
        return f"Didn't find op for builtin opcode '{self.name}' version '{self.version}'"

    def runs_in(self, runtime: str) -> bool:
        """Return whether a runtime, e.g. `2.14`, computes it rightly."""
        return self.runtime is not None and release(self.runtime) <= release(runtime)


@dataclass(frozen=True)
class Requirement:
    """What a whole model needs.

    Attributes:
        runtime: The oldest runtime that computes all of it rightly. None when there is none, when nothing is known of an
            operator, and of a model without operators.
        operators: What its operators need, in order, equal ones once.
        custom: The names of its custom and Flex operators, which come with the app: of them nothing is said.
    """

    runtime: str | None
    operators: tuple[OperatorRequirement, ...]
    custom: tuple[str, ...] = ()

    def beyond(self, runtime: str) -> tuple[OperatorRequirement, ...]:
        """Return the operators that a runtime, e.g. `2.14`, does not compute rightly, or of which that is not known."""
        return tuple(operator for operator in self.operators if not operator.runs_in(runtime))


def required_runtime(model: Any) -> Requirement:
    """Return what a `ModelT` (`mlkit_build.tflite.model`) by anyone needs to run.

    Operators that point at tensors or codes which the file has not are judged by what it has. No interpreter is asked: the
    versions are those of `runtimes`, and what they leave open is in `measured`.
    """
    found: dict[OperatorRequirement, list[str]] = {}
    custom: dict[str, None] = {}
    for placed in operations(model):
        if placed.custom:
            custom[placed.name] = None
        else:
            found.setdefault(_requirement(placed), []).append(placed.writes)
    needs = tuple(replace(each, tensors=tuple(tensors)) for each, tensors in found.items())
    return Requirement(newest({each.runtime for each in needs}), needs, tuple(custom))


def with_one_scale(model: Any) -> str | None:
    """Return the oldest runtime of the model, were the weights of each operator quantized with one scale; None as ever."""
    runtimes = set()
    for placed in operations(model):
        if not placed.custom:
            operation = placed.operation
            if placed.name not in _SPREAD and len(operation.input(1).scales) > 1:
                data, weights, *rest = operation.inputs
                operation = replace(operation, inputs=(data, replace(weights, scales=weights.scales[:1]), *rest))
            runtimes.add(_first(placed.name, {needed_version(placed.name, operation)}, operation))
    return newest(runtimes)


def needed_version(name: str, operation: Operation) -> int:
    """Return the version that an operator needs for its tensors and options; 1 where no rule is known."""
    version = next((version for version, condition in RULES.get(name, ()) if condition(operation)), 1)
    return max([version, *(form.version for form in forms(name, operation))])


def forms(name: str, operation: Operation) -> list[Form]:
    """Return what was measured of an operator."""
    return [form for form in FORMS if form.operator == name and form.holds(operation)]


def _requirement(placed: Placed) -> OperatorRequirement:
    """Return what one operator needs, without its tensors' names."""
    name, operation = placed.name, placed.operation
    version, needed = int(placed.code.version), needed_version(name, operation)
    inputs, outputs = (tuple(tensor.type for tensor in tensors) for tensors in (operation.inputs, operation.outputs))
    silent = tuple(
        f"{name} has {form.what}, which {form.silent} compute wrongly" for form in forms(name, operation) if form.silent
    )
    runtime = _first(name, {version, needed}, operation)
    return OperatorRequirement(name, version, needed, _shown(inputs), _shown(outputs), runtime, silent)


def _first(name: str, versions: set[int], operation: Operation) -> str | None:
    """Return the first runtime that knows an operator in all of the versions, and computes it rightly."""
    types = {tensor.type for tensor in (*operation.inputs, *operation.outputs)}
    return newest(
        {
            *(first_runtime(name, version) for version in versions),
            *(form.runtime for form in forms(name, operation)),
            *(FIRST_OF_TYPES[type_] for type_ in types if type_ in FIRST_OF_TYPES),
        }
    )


def _shown(types: tuple[str, ...]) -> tuple[str, ...]:
    """Return the types without the inputs that are left out at the end."""
    while types and types[-1] == ABSENT:
        types = types[:-1]
    return types
