"""Whether what is in a model fits together: what points where, and how much is there. Runtimes ask before they run anything."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.model_schema import Buffer, Model, Operator, SubGraph, Tensor
from mlkit_build.tflite.names import type_name

VERSION = 3
"""Of the schema; the only one that runtimes take."""
_APPENDED = 1
"""A buffer whose `offset` is above it lies behind the flatbuffer (schema.fbs, Buffer)."""
_SIZES = {
    "float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "bool": 1, "int16": 2, "complex64": 8, "int8": 1,
    "float64": 8, "complex128": 16, "uint64": 8, "uint32": 4, "uint16": 2,
}  # fmt: skip
"""Bytes of a value; of types that are packed or have no size nothing is said."""


class UnsoundError(DamagedError):
    """The tables of a model do not fit together.

    Attributes:
        says: What the runtime logs, with gaps; empty where it says nothing of it, and crashes or computes with chance.
        values: What is in the gaps.
    """

    def __init__(self, found: str, says: str = "", values: tuple[Any, ...] = ()) -> None:
        super().__init__(found)
        self.says = says
        self.values = values


NO_SUBGRAPH = "No subgraph in the model."
OTHER_VERSION = "Invalid model version %d"
NO_BUFFER = "Tensor %s invalid buffer index: %d"
OTHER_SIZE = "Tensor %s requires %d bytes, but is allocated with %d bytes buffer"
NO_CODE = "Operator %d does not exist in model op codes"
SENTENCES = (NO_SUBGRAPH, OTHER_VERSION, NO_BUFFER, OTHER_SIZE, NO_CODE)
"""What the runtime logs (`verifier.cc` and `interpreter_builder.cc` in tensorflow/tensorflow)."""


def check(model: Model, size: int) -> None:
    """Compare what points where with what is there.

    Args:
        size: Of the file, in bytes.

    Raises:
        UnsoundError: Something does not fit.
    """
    if model.version != VERSION:
        raise UnsoundError(f"version {model.version} of the schema", OTHER_VERSION, (model.version,))
    if not model.subgraphs:
        raise UnsoundError("no subgraph", NO_SUBGRAPH)
    for buffer in model.buffers:
        if buffer.offset > _APPENDED and buffer.offset + buffer.size > size:
            raise UnsoundError(f"a buffer that ends at byte {buffer.offset + buffer.size} of {size}")
    for graph in model.subgraphs:
        _check_graph(graph, model)


def content_of(buffer: Buffer, data: bytes) -> memoryview:
    """Return what a buffer holds, in the flatbuffer or behind it; nothing where the file ends before it."""
    if buffer.data is not None:
        return buffer.data
    return memoryview(data)[buffer.offset : buffer.offset + buffer.size] if buffer.offset > _APPENDED else memoryview(b"")


def _check_graph(graph: SubGraph, model: Model) -> None:
    count = len(graph.tensors or ())
    for tensor in graph.tensors or ():
        _check_tensor(tensor, model)
    for operator in graph.operators or ():
        _check_operator(operator, model, count)
    _check_indices("the inputs", graph.inputs, count)
    _check_indices("the outputs", graph.outputs, count)


def _check_tensor(tensor: Tensor, model: Model) -> None:
    name = tensor.name or ""
    if tensor.buffer >= len(model.buffers):
        raise UnsoundError(f"{name!r} in buffer {tensor.buffer} of {len(model.buffers)}", NO_BUFFER, (name, tensor.buffer))
    buffer = model.buffers[tensor.buffer]
    held = len(buffer.data or ()) or (buffer.size if buffer.offset > _APPENDED else 0)
    each, shape = _SIZES.get(type_name(tensor.type)), tensor.shape or ()
    if tensor.buffer == 0 or not held or each is None or tensor.sparsity is not None or min(shape, default=1) < 0:
        return
    needed = prod(shape) * each
    if held != needed:
        raise UnsoundError(f"{name!r} of {needed} bytes in a buffer of {held}", OTHER_SIZE, (name, needed, held))


def _check_operator(operator: Operator, model: Model, tensors: int) -> None:
    if operator.code >= len(model.codes):
        raise UnsoundError(f"an operator of code {operator.code} of {len(model.codes)}", NO_CODE, (operator.code,))
    _check_indices("the inputs of an operator", operator.inputs, tensors, optional=True)
    _check_indices("the outputs of an operator", operator.outputs, tensors)


def _check_indices(what: str, indices: Iterable[int] | None, count: int, *, optional: bool = False) -> None:
    for index in indices or ():
        if not (0 <= index < count or (optional and index == -1)):
            raise UnsoundError(f"{what} naming tensor {index} of {count}")
