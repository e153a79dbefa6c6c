"""Operator versions: for every operator the one that its tensors and options need, which ai-edge-quantizer does not set.

A runtime that knows an operator's version computes with whatever tensors it is given. Under too low a version an older runtime
takes int8 per-channel weights for ones with a single scale, computes wrongly and says nothing (a keyword-spotting model fell
from 91% to chance in the runtime 2.14); under the right one it refuses to load and names the operator. Under too high a version
it refuses a model that it could run. So a version is raised to what the form needs and no further, and lowered to it where an
operator kept that of another. The rules are in `versions_rules`, the runtimes in `versions_runtimes`.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from mlkit_build.quantization.versions_rules import RULES, Operation, Tensor, needed
from mlkit_build.quantization.versions_runtimes import first_runtime, order
from mlkit_build.tflite.model import operator_name, schema, text, type_name

_METADATA = "min_runtime_version"
_METADATA_BYTES = 16
"""The length that readers of the metadata expect (flatbuffer_export.cc, `CreateMetadataVector`): the version, then zeros."""


def set_versions(model: Any) -> None:
    """Give every operator the version that it needs, in place; and the metadata, where there are any, the runtime that this takes.

    An operator without a rule keeps its version: nothing is known of what it needs.
    """
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            code = model.operatorCodes[operator.opcodeIndex]
            name = operator_name(code)
            if name in RULES:
                operator.opcodeIndex = _code_of(model, code, needed(name, _operation(model, graph, operator)))
    _drop_unused_codes(model)
    runtime = oldest_runtime(model)
    for metadata in model.metadata or ():
        if text(metadata.name) == _METADATA and runtime is not None:
            model.buffers[metadata.buffer].data = np.frombuffer(runtime.encode().ljust(_METADATA_BYTES, b"\0"), np.uint8)


raise_versions = set_versions


def oldest_runtime(model: Any) -> str | None:
    """Return the oldest runtime that knows every operator of the model in its version, e.g. `2.17.0`.

    Of custom and Flex operators nothing is said: they come with the app. None when TensorFlow does not say for an operator, or
    there is no operator.
    """
    names = {(operator_name(code), code.version) for code in _codes(model)}
    runtimes = [first_runtime(name, version) for name, version in names]
    known = [runtime for runtime in runtimes if runtime is not None]
    return max(known, key=order) if known and len(known) == len(runtimes) else None


def _codes(model: Any) -> list[Any]:
    """Return the codes of the built-in operators that the model uses."""
    used = {operator.opcodeIndex for graph in model.subgraphs for operator in graph.operators or ()}
    codes = [model.operatorCodes[index] for index in sorted(used)]
    return [code for code in codes if _builtin(code) != schema().BuiltinOperator.CUSTOM]


def _builtin(code: Any) -> int:
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _code_of(model: Any, like: Any, version: int) -> int:
    """Return the index of the code for the same operator in exactly this version, added where the model has none."""
    for index, code in enumerate(model.operatorCodes):
        if _builtin(code) == _builtin(like) and code.version == version:
            return index
    code = copy(like)
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _operation(model: Any, graph: Any, operator: Any) -> Operation:
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
        sparse=tensor.sparsity is not None,
    )


def _drop_unused_codes(model: Any) -> None:
    operators = [operator for graph in model.subgraphs for operator in graph.operators or ()]
    used = sorted({operator.opcodeIndex for operator in operators})
    position = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = position[operator.opcodeIndex]
