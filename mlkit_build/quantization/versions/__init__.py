"""Operator versions: every operator gets the one that its tensors and options need, which ai-edge-quantizer does not set.

A runtime that knows an operator's version computes with whatever tensors it finds. Under too low a version an older one takes
weights with a scale per channel for weights with one scale, computes wrongly and says nothing (a keyword-spotting model fell
from 91% to chance in the runtime 2.14); under the right one it refuses to load and names the operator. Under too high a version
it refuses a model that it could run. So a version is raised to what the form needs and no further, and lowered to that where an
operator has that of another one.

`rules` are TensorFlow's, `measured` what they leave open, `runtimes` which runtime knows which version.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np

from mlkit_build.quantization.versions.conditions import Operation, Tensor
from mlkit_build.quantization.versions.measured import FORMS, Form
from mlkit_build.quantization.versions.rules import RULES
from mlkit_build.quantization.versions.runtimes import first_runtime, newest
from mlkit_build.tflite.model import drop_unused_codes, operator_name, schema, tensor_name, text, type_name

__all__ = ["miscomputed", "oldest_runtime", "set_versions"]

_METADATA = "min_runtime_version"
_METADATA_BYTES = 16
"""The length of the metadata, filled up with zeros (runtime_version.cc, `UpdateMinimumRuntimeVersionForModel`)."""


def set_versions(model: Any) -> None:
    """Give every operator the version that it needs, in place, and the metadata `min_runtime_version`, if any, what that takes.

    An operator without a rule keeps its version: nothing is known of what it needs.
    """
    for graph, operator in _operators(model):
        code = model.operatorCodes[operator.opcodeIndex]
        name = operator_name(code)
        if name in RULES:
            operator.opcodeIndex = _code_of(model, code, _needed(name, _operation(graph, operator)))
    drop_unused_codes(model)
    runtime = oldest_runtime(model)
    for metadata in model.metadata or ():
        if runtime is not None and text(metadata.name) == _METADATA:
            model.buffers[metadata.buffer].data = np.frombuffer(runtime.encode().ljust(_METADATA_BYTES, b"\0"), np.uint8)


def oldest_runtime(model: Any) -> str | None:
    """Return the oldest runtime that computes every operator of the model rightly, e.g. `2.17.0`, by the versions that they have.

    Of custom and Flex operators nothing is said: they come with the app. None when nothing is known of an operator, when no
    runtime computes it, and when there is none.
    """
    runtimes: set[str | None] = set()
    for graph, operator in _operators(model):
        code = model.operatorCodes[operator.opcodeIndex]
        if _builtin(code) != schema().BuiltinOperator.CUSTOM:
            runtimes.add(first_runtime(operator_name(code), code.version))
            runtimes.update(form.runtime for form in _forms(operator_name(code), _operation(graph, operator)))
    return newest(runtimes)


def miscomputed(model: Any) -> tuple[str, ...]:
    """Return what some runtimes load and compute wrongly whatever the version says, a line for each form of an operator."""
    found: dict[Form, list[str]] = {}
    for graph, operator in _operators(model):
        name = operator_name(model.operatorCodes[operator.opcodeIndex])
        for form in _forms(name, _operation(graph, operator)):
            if form.silent:
                found.setdefault(form, []).append(tensor_name(graph.tensors[operator.outputs[0]]))
    return tuple(
        f"{form.operator} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}) has {form.what}, which {form.silent} "
        "compute wrongly"
        for form, names in found.items()
    )


def _needed(name: str, operation: Operation) -> int:
    version = next((version for version, condition in RULES[name] if condition(operation)), 1)
    return max([version, *(form.version for form in _forms(name, operation))])


def _forms(name: str, operation: Operation) -> list[Form]:
    return [form for form in FORMS if form.operator == name and form.holds(operation)]


def _operators(model: Any) -> Iterator[tuple[Any, Any]]:
    return ((graph, operator) for graph in model.subgraphs for operator in graph.operators or ())


def _builtin(code: Any) -> int:
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _code_of(model: Any, like: Any, version: int) -> int:
    """Return the index of the code for the same operator in exactly this version, added where the model has none."""
    for index, code in enumerate(model.operatorCodes):
        if _builtin(code) == _builtin(like) and code.version == version:
            return index
    code = copy(like)
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _operation(graph: Any, operator: Any) -> Operation:
    inputs, outputs = (
        tuple(_tensor(graph.tensors[index]) if index >= 0 else Tensor() for index in indices)
        for indices in (operator.inputs, operator.outputs)
    )
    return Operation(inputs, outputs, operator.builtinOptions)


def _tensor(tensor: Any) -> Tensor:
    quantization = tensor.quantization
    scales = quantization.scale if quantization is not None else None
    return Tensor(
        type=type_name(tensor),
        shape=() if tensor.shape is None else tuple(map(int, tensor.shape)),
        scales=() if scales is None else tuple(map(float, scales)),
        blocks=quantization is not None and quantization.detailsType == schema().QuantizationDetails.BlockwiseQuantization,
        sparse=tensor.sparsity is not None,
    )
