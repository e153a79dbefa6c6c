"""The order of operators that TensorFlow's quantizer leaves to chance, made the same in every build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlkit_build.tflite.model import operator_name


def put_in_order(model: Any) -> None:
    """Put neighbouring QUANTIZE operators in the order of the tensors that they read, in place; `model` is a `ModelT`.

    TensorFlow's quantizer inserts one where a value is read with another scale than it was written with. Where an operator has
    many outputs, as UNPACK of an unrolled loop, it inserts them in the order of a hash table of addresses: measured, ten builds
    of an LSTM in int8 gave ten files, equal but for that order. Places, names and
    buffers of the tensors stay, which is all that the order decides; types and scales move.
    """
    for graph in model.subgraphs:
        for start, end in _runs(model, graph):
            _sort(graph, start, end)


def _runs(model: Any, graph: Any) -> Iterator[tuple[int, int]]:
    """Yield where neighbouring QUANTIZE operators begin and end; none of them reads what another wrote."""
    operators = graph.operators or []
    start = 0
    written: set[int] = set()
    for index, operator in enumerate(operators):
        quantizes = operator_name(model.operatorCodes[operator.opcodeIndex]) == "QUANTIZE"
        if not quantizes or int(operator.inputs[0]) in written:
            if index - start > 1:
                yield start, index
            start, written = (index, set()) if quantizes else (index + 1, set())
        if quantizes:
            written.add(int(operator.outputs[0]))
    if len(operators) - start > 1:
        yield start, len(operators)


def _sort(graph: Any, start: int, end: int) -> None:
    """Sort the operators, and let what they write change places with them."""
    before = graph.operators[start:end]
    after = sorted(before, key=lambda operator: _key(graph, operator))
    if all(one is other for one, other in zip(before, after, strict=True)):
        return
    places = sorted(int(operator.outputs[0]) for operator in before)
    moved = {int(operator.outputs[0]): place for operator, place in zip(after, places, strict=True)}
    outer = {place: (graph.tensors[place].name, graph.tensors[place].buffer) for place in places}
    tensors = {place: graph.tensors[old] for old, place in moved.items()}
    for place, tensor in tensors.items():
        graph.tensors[place] = tensor
        tensor.name, tensor.buffer = outer[place]
    graph.operators[start:end] = after
    for holder, field in _indices(graph):
        listed = getattr(holder, field)
        setattr(holder, field, np.array([moved.get(int(index), int(index)) for index in listed], np.int32))


def _key(graph: Any, operator: Any) -> tuple[Any, ...]:
    """Return what an operator reads, and what it makes of it where several read the same."""
    written = graph.tensors[operator.outputs[0]]
    quantization = written.quantization
    parts = (() if part is None else tuple(map(float, part)) for part in (quantization.scale, quantization.zeroPoint))
    return (int(operator.inputs[0]), int(written.type), *parts)


def _indices(graph: Any) -> Iterator[tuple[Any, str]]:
    """Yield where tensors are named by their place."""
    places = [(graph, "inputs"), (graph, "outputs")]
    for operator in graph.operators:
        places += [(operator, "inputs"), (operator, "outputs"), (operator, "intermediates")]
    return (place for place in places if getattr(*place) is not None)
