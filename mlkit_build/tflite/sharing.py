"""Constants that are equal, held once. TensorFlow's converter does the same, in passes over the file of its own."""

from __future__ import annotations

import hashlib
from typing import Any


def share_equal_constants(model: Any) -> None:
    """Let the constants of a `ModelT` with equal bytes refer to one buffer, in place. What may be written keeps its own."""
    first: dict[tuple[int, bytes], int] = {}
    moved: dict[int, int] = {}
    constants = [tensor for graph in model.subgraphs for tensor in _constants(graph)]
    for tensor in constants:
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) == 0 or tensor.buffer in moved:
            continue
        key = (len(data), hashlib.sha256(memoryview(data)).digest())
        moved[tensor.buffer] = first.setdefault(key, tensor.buffer)
    for tensor in constants:
        kept = moved.get(tensor.buffer, tensor.buffer)
        if kept != tensor.buffer:
            model.buffers[tensor.buffer].data = None
            tensor.buffer = kept


def _constants(graph: Any) -> list[Any]:
    """Return the tensors that operators read and nothing writes."""
    read: set[int] = set()
    written = {int(index) for index in (*_listed(graph.inputs), *_listed(graph.outputs))}
    for operator in graph.operators or ():
        read.update(int(index) for index in _listed(operator.inputs) if index >= 0)
        written.update(int(index) for index in (*_listed(operator.outputs), *_listed(operator.intermediates)))
    return [graph.tensors[index] for index in sorted(read - written) if not graph.tensors[index].isVariable]


def _listed(indices: Any) -> Any:
    return () if indices is None else indices
