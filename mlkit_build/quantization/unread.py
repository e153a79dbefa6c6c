"""Operators that cut a tensor into parts of which some are never read, which static quantization cannot take.

Unrolled LSTMs have them: at the first step the state is zero, the converter folds `0 * forget gate`, and one output of the
step's SPLIT is left over. ai-edge-quantizer 0.10 then fails to calibrate (`Tensor data is null`: XNNPACK gives an unread
tensor no memory), or leaves that output float beside quantized ones, which the operator's kernel refuses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlkit_build.tflite.model import add_operator_code, drop_unused_codes, operator_name, schema, tensor_name

_CUTS = ("SPLIT", "SPLIT_V", "UNPACK")


def without_unread_parts(model: Any) -> bool:
    """Replace, in place, each such operator by one STRIDED_SLICE for each part that is read; return whether there was one.

    Values and the names of all tensors that are read stay as they are.
    """
    changed = False
    for number, graph in enumerate(model.subgraphs):
        read = {index for operator in graph.operators for index in operator.inputs} | set(graph.outputs)
        operators = []
        for operator in graph.operators:
            cut = operator_name(model.operatorCodes[operator.opcodeIndex]) in _CUTS
            if cut and not read.issuperset(operator.outputs):
                operators += _slices(model, graph, operator, read)
                changed = True
            else:
                operators.append(operator)
        graph.operators = operators
        if changed:
            _drop_unused_tensors(model, number)
    if changed:
        drop_unused_codes(model)
    return changed


def _slices(model: Any, graph: Any, operator: Any, read: set[int]) -> list[Any]:
    """Return what computes the outputs of `operator` that are read."""
    name = operator_name(model.operatorCodes[operator.opcodeIndex])
    source = int(operator.inputs[1 if name == "SPLIT" else 0])
    rank = len(graph.tensors[source].shape)
    if name == "UNPACK":
        axis = operator.builtinOptions.axis
    else:
        axis = int(_constant(model, graph, operator.inputs[0 if name == "SPLIT" else 2])[0])
    axis %= rank
    sizes = [1 if name == "UNPACK" else int(graph.tensors[index].shape[axis]) for index in operator.outputs]
    ends = np.cumsum(sizes)
    return [
        _slice(model, graph, source, int(output), axis, (int(end) - size, int(end)), shrink=name == "UNPACK")
        for output, size, end in zip(operator.outputs, sizes, ends, strict=True)
        if output in read
    ]


def _slice(model: Any, graph: Any, source: int, output: int, axis: int, part: tuple[int, int], shrink: bool) -> Any:
    """Return an operator that writes `part` of `source` along `axis` to `output`, whatever the other dimensions are."""
    rank = len(graph.tensors[source].shape)
    begin, end = np.zeros(rank, np.int32), np.zeros(rank, np.int32)
    begin[axis], end[axis] = part
    bounds = {"begin": begin, "end": end, "strides": np.ones(rank, np.int32)}
    name = tensor_name(graph.tensors[output])
    options = schema().StridedSliceOptionsT()
    options.beginMask = options.endMask = ((1 << rank) - 1) & ~(1 << axis)
    options.shrinkAxisMask = 1 << axis if shrink else 0
    operator = schema().OperatorT()
    operator.opcodeIndex = add_operator_code(model, schema().BuiltinOperator.STRIDED_SLICE)
    operator.inputs = [source, *(_add_constant(model, graph, f"{name}/{what}", value) for what, value in bounds.items())]
    operator.outputs = [output]
    operator.builtinOptionsType = schema().BuiltinOptions.StridedSliceOptions
    operator.builtinOptions = options
    return operator


def _drop_unused_tensors(model: Any, number: int) -> None:
    """Take tensors that no operator knows out of a subgraph: observing one of them fails."""
    graph = model.subgraphs[number]
    signatures = [definition for definition in model.signatureDefs or [] if definition.subgraphIndex == number]
    ends = [entry for definition in signatures for entry in [*definition.inputs, *definition.outputs]]
    mentions = [(graph, "inputs"), (graph, "outputs")]
    mentions += [(operator, name) for operator in graph.operators for name in ("inputs", "outputs", "intermediates")]
    mentions = [(part, name) for part, name in mentions if getattr(part, name) is not None]
    used = {int(index) for part, name in mentions for index in getattr(part, name)} | {int(entry.tensorIndex) for entry in ends}
    kept = sorted(used - {-1})
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]
    for part, name in mentions:
        setattr(part, name, [place[int(index)] for index in getattr(part, name)])
    for entry in ends:
        entry.tensorIndex = place[int(entry.tensorIndex)]


def _constant(model: Any, graph: Any, index: int) -> Any:
    return np.frombuffer(bytes(model.buffers[graph.tensors[index].buffer].data), np.int32)


def _add_constant(model: Any, graph: Any, name: str, value: Any) -> int:
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(value.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema().TensorT()
    tensor.name = name.encode()
    tensor.shape = list(value.shape)
    tensor.type = schema().TensorType.INT32
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
