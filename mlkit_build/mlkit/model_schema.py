"""The tables of a `.tflite`, as far as lint and inspect look at them.

Fields and their order are those of `tensorflow/compiler/mlir/lite/schema/schema.fbs` in tensorflow/tensorflow, identifier TFL3.
What is None is not in the file.
"""

from __future__ import annotations

from typing import ClassVar

from mlkit_build.mlkit.flatbuffer import Kind
from mlkit_build.mlkit.flatbuffer_fields import BYTE, INT, UINT, Many, One, Scalar
from mlkit_build.mlkit.model_reader import DATA, FLOATS, INTS, LONGS, NAME, PLACE, UNSIGNED_BYTE, UNSIGNED_LONG, Skipped, Tables
from mlkit_build.records import dataclass

IDENTIFIER = b"TFL3"


@dataclass(frozen=True)
class OperatorCode:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (BYTE, NAME, Scalar("<i", "PrependInt32Slot", 1), INT)

    old_builtin: int
    custom: str | None
    version: int
    builtin: int


@dataclass(frozen=True)
class Quantization:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (FLOATS, FLOATS, FLOATS, LONGS, UNSIGNED_BYTE, Skipped(), INT)

    min: tuple[float, ...] | None
    max: tuple[float, ...] | None
    scale: tuple[float, ...] | None
    zero_point: tuple[int, ...] | None
    details: int
    """0 for none, 2 for scales of blocks."""
    _details: None
    axis: int


@dataclass(frozen=True)
class Sparsity:
    LAYOUT: ClassVar[tuple[Kind, ...]] = ()


@dataclass(frozen=True)
class Tensor:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (
        INTS, BYTE, UINT, NAME, One(Quantization), Skipped(), One(Sparsity), INTS,
    )  # fmt: skip

    shape: tuple[int, ...] | None
    type: int
    buffer: int
    name: str | None
    quantization: Quantization | None
    _is_variable: None
    sparsity: Sparsity | None
    shape_signature: tuple[int, ...] | None


@dataclass(frozen=True)
class Operator:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (UINT, INTS, INTS, UNSIGNED_BYTE, PLACE)

    code: int
    inputs: tuple[int, ...] | None
    outputs: tuple[int, ...] | None
    options_type: int
    options: int | None
    """Where the table of its options is."""


@dataclass(frozen=True)
class SubGraph:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Tables(Tensor), INTS, INTS, Tables(Operator), NAME)

    tensors: tuple[Tensor, ...] | None
    inputs: tuple[int, ...] | None
    outputs: tuple[int, ...] | None
    operators: tuple[Operator, ...] | None
    name: str | None


@dataclass(frozen=True)
class Buffer:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (DATA, UNSIGNED_LONG, UNSIGNED_LONG)

    data: memoryview | None
    offset: int
    size: int


@dataclass(frozen=True)
class Entry:
    """An entry of a model's `metadata`."""

    LAYOUT: ClassVar[tuple[Kind, ...]] = (NAME, UINT)

    name: str | None
    buffer: int


@dataclass(frozen=True)
class TensorMap:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (NAME, UINT)

    name: str | None
    tensor: int


@dataclass(frozen=True)
class SignatureDef:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Many(TensorMap), Many(TensorMap), NAME, Skipped(), UINT)

    inputs: tuple[TensorMap, ...]
    outputs: tuple[TensorMap, ...]
    key: str | None
    _deprecated: None
    subgraph: int


@dataclass(frozen=True)
class Model:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (
        UINT, Many(OperatorCode), Many(SubGraph), NAME, Many(Buffer), Skipped(), Tables(Entry), Many(SignatureDef),
    )  # fmt: skip

    version: int
    codes: tuple[OperatorCode, ...]
    subgraphs: tuple[SubGraph, ...]
    description: str | None
    buffers: tuple[Buffer, ...]
    _metadata_buffer: None
    metadata: tuple[Entry, ...] | None
    signatures: tuple[SignatureDef, ...]
