"""Read and write a `.tflite` as objects of the TensorFlow Lite schema (schema.fbs, version 3, identifier TFL3)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from mlkit_build.tflite import FLEX
from mlkit_build.tflite.node_defs import in_order

IDENTIFIER = b"TFL3"


@cache
def schema() -> Any:
    """Return the generated schema module."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def read(path: Path) -> Any:
    """Return the file as a `ModelT`, with every buffer's data in it."""
    return parsed(path.read_bytes())


def parsed(data: bytes) -> Any:
    """Return a file's bytes as a `ModelT`, with every buffer's data in it.

    ai-edge-quantizer appends large buffers to the flatbuffer and states where (schema.fbs, Buffer: `offset` and `size` count
    when `offset` is above 1); written back as objects, such a model would have lost them.
    """
    model = schema().ModelT.InitFromPackedBuf(bytearray(data), 0)
    for buffer in model.buffers or []:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def write(model: Any, path: Path) -> None:
    """Write a `ModelT` to `path`; equal models give equal bytes. What Flex operators say of themselves is put in order."""
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            if operator.customOptions is not None and operator_name(model.operatorCodes[operator.opcodeIndex]).startswith(FLEX):
                operator.customOptions = np.frombuffer(in_order(bytes(operator.customOptions)), np.uint8)
    path.write_bytes(packed(model))


def packed(model: Any) -> bytes:
    """Return a `ModelT` as the file's bytes."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


@cache
def _names(enum: str) -> dict[int, str]:
    return {value: name for name, value in vars(getattr(schema(), enum)).items() if not name.startswith("_")}


def operator_name(code: Any) -> str:
    """Return the name of an operator code, e.g. `CONV_2D`; a custom operator gives its own name."""
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    if builtin == schema().BuiltinOperator.CUSTOM:
        return text(code.customCode)
    return _names("BuiltinOperator").get(builtin, f"BUILTIN_{builtin}")


def type_name(tensor: Any) -> str:
    """Return NumPy's name of a tensor's type, e.g. `int8`."""
    return _names("TensorType").get(tensor.type, f"type{tensor.type}").lower()


def tensor_name(tensor: Any) -> str:
    """Return a tensor's name."""
    return text(tensor.name)


def text(value: Any) -> str:
    """Return a string of the flatbuffer; an absent one is empty."""
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def add_operator_code(model: Any, builtin: int, version: int = 1) -> int:
    """Return the index of the operator code for `builtin`, added when the model has none of at least `version`."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version >= version:
            return index
    code = schema().OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def drop_unused_codes(model: Any) -> None:
    """Take operator codes that no operator has out of the model, in place: runtimes demand a kernel for each."""
    operators = [operator for graph in model.subgraphs for operator in graph.operators or ()]
    used = sorted({operator.opcodeIndex for operator in operators})
    position = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = position[operator.opcodeIndex]
