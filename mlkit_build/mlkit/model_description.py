"""What there is to say about a `.tflite` by anyone: its ends, tensors, operators, quantization, metadata, and what can run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from mlkit_build.errors import SourceError
from mlkit_build.mlkit.appended_archive import Entry
from mlkit_build.mlkit.associated_files import DamagedArchiveError
from mlkit_build.mlkit.contract.runtime import requirement
from mlkit_build.mlkit.metadata import Metadata, read
from mlkit_build.mlkit.model_file import ModelFile, code_name, dtype_of, shape_of
from mlkit_build.mlkit.model_schema import Quantization, Tensor, TensorMap
from mlkit_build.mlkit.model_structure import content_of
from mlkit_build.records import dataclass

_BLOCKWISE = 2
_MIN_RUNTIME = "min_runtime_version"
_MOST = 2000
"""How many tensors, signatures, labels or files are listed, and how many letters a text has: enough for any model."""
_SCALES = 8

T = TypeVar("T")


@dataclass(frozen=True)
class QuantizationDescription:
    """How numbers stand for others: `scale * (number - zero_point)`.

    Attributes:
        scales: The first of them.
        zero_points: The first of them.
        count: How many scales there are.
        axis: Along which axis; None for one scale.
        blocks: Whether scales are those of blocks, and lie in a tensor of their own.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    count: int
    axis: int | None
    blocks: bool


@dataclass(frozen=True)
class TensorDescription:
    """A tensor.

    Attributes:
        shape: Batch first.
        open_shape: As its author stated it, -1 for what is open; None where nothing is.
        size_bytes: Of its constant; 0 where it is computed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    open_shape: tuple[int, ...] | None
    quantization: QuantizationDescription | None
    size_bytes: int


@dataclass(frozen=True)
class SignatureDescription:
    """A signature: its names and the tensors they stand for."""

    key: str
    inputs: dict[str, TensorDescription]
    outputs: dict[str, TensorDescription]


@dataclass(frozen=True)
class OperatorDescription:
    """The operators of one name, version and types.

    Attributes:
        types: `float32, float32 -> float32`; empty for custom operators.
        runtime: The oldest that computes it rightly; None when none is known.
    """

    name: str
    version: int
    count: int
    types: str
    runtime: str | None


@dataclass(frozen=True)
class Description:
    """A file.

    Attributes:
        description: As the converter left it.
        inputs: Of the subgraph that runs.
        outputs: Likewise.
        subgraphs: How many there are.
        operators: Of all subgraphs.
        tensor_count: How many tensors the subgraph that runs has.
        types: Type -> how many of them have it.
        quantized: How many of them have a scale.
        tensors: They themselves, in order, as far as they are listed.
        runtime: The oldest that computes the whole model rightly; None when none is known.
        stated_runtime: What the file says of that; empty where it says nothing.
        metadata: What the file says of itself; None where it says nothing that can be read.
        metadata_problem: Why it cannot be read.
        files: What lies behind the model.
        files_problem: Why that cannot be read.
    """

    size_bytes: int
    description: str
    signatures: tuple[SignatureDescription, ...]
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    subgraphs: int
    operators: tuple[OperatorDescription, ...]
    tensor_count: int
    types: dict[str, int]
    quantized: int
    tensors: tuple[TensorDescription, ...]
    runtime: str | None
    stated_runtime: str
    metadata: Metadata | None
    metadata_problem: str
    files: tuple[Entry, ...]
    files_problem: str


def described(file: ModelFile) -> Description:
    """Return what there is to say. Lists and texts are bounded, whatever the file holds."""
    needs, model = requirement(file), file.model
    operators = [
        OperatorDescription(each.name, each.version, len(each.tensors), each.types, each.runtime) for each in needs.operators
    ]
    listed = Counter(operator.code for graph in model.subgraphs for operator in graph.operators or ())
    custom = [(code_name(model.codes[index]), model.codes[index].version, count) for index, count in listed.items()]
    operators += [OperatorDescription(*each, "", None) for each in custom if each[0] in needs.custom]
    metadata, metadata_problem = _metadata(file)
    try:
        files, files_problem = file.entries, ""
    except DamagedArchiveError as error:
        files, files_problem = (), str(error)
    tensors = file.tensors
    found = Description(
        size_bytes=len(file.data),
        description=model.description or "",
        signatures=tuple(
            SignatureDescription(each.key or "", _named(each.inputs, file), _named(each.outputs, file))
            for each in model.signatures[:_MOST]
        ),
        inputs=tuple(_tensor(tensors[index], file) for index in (file.graph.inputs or ())[:_MOST]),
        outputs=tuple(_tensor(tensors[index], file) for index in (file.graph.outputs or ())[:_MOST]),
        subgraphs=len(model.subgraphs),
        operators=tuple(operators),
        tensor_count=len(tensors),
        types=dict(Counter(map(dtype_of, tensors)).most_common()),
        quantized=sum(_quantization(tensor.quantization) is not None for tensor in tensors),
        tensors=tuple(_tensor(tensor, file) for tensor in tensors[:_MOST]),
        runtime=needs.runtime,
        stated_runtime=_stated_runtime(file),
        metadata=metadata,
        metadata_problem=metadata_problem,
        files=files,
        files_problem=files_problem,
    )
    return _bounded(found)


def _metadata(file: ModelFile) -> tuple[Metadata | None, str]:
    if file.identifier is None:
        return None, ""
    try:
        return read(file.data), ""
    except SourceError as error:
        return None, error.message


def _named(maps: Iterable[TensorMap], file: ModelFile) -> dict[str, TensorDescription]:
    return {each.name or "": _tensor(file.tensors[each.tensor], file) for each in maps if each.tensor < len(file.tensors)}


def _tensor(tensor: Tensor, file: ModelFile) -> TensorDescription:
    is_open = tensor.shape_signature is not None and -1 in tensor.shape_signature
    return TensorDescription(
        name=tensor.name or "",
        dtype=dtype_of(tensor),
        shape=shape_of(tensor),
        open_shape=tensor.shape_signature if is_open else None,
        quantization=_quantization(tensor.quantization),
        size_bytes=len(content_of(file.model.buffers[tensor.buffer], file.data)) if tensor.buffer else 0,
    )


def _quantization(stated: Quantization | None) -> QuantizationDescription | None:
    if stated is None or (not stated.scale and stated.details != _BLOCKWISE):
        return None
    scales, points = stated.scale or (), stated.zero_point or ()
    axis = stated.axis if len(scales) > 1 else None
    return QuantizationDescription(scales[:_SCALES], points[:_SCALES], len(scales), axis, stated.details == _BLOCKWISE)


def _stated_runtime(file: ModelFile) -> str:
    for entry in file.model.metadata or ():
        if entry.name == _MIN_RUNTIME and entry.buffer < len(file.model.buffers):
            data = bytes(content_of(file.model.buffers[entry.buffer], file.data)[:16])
            return data.partition(b"\0")[0].decode("latin-1")
    return ""


def _bounded(value: T) -> T:
    """Return the value with texts and lists that are too long cut off: names may repeat one long text very often."""
    found: Any = value
    if isinstance(value, str):
        found = value if len(value) <= _MOST else f"{value[: _MOST - 3]}..."
    elif isinstance(value, tuple):
        found = tuple(map(_bounded, value[:_MOST]))
    elif isinstance(value, dict):
        found = {_bounded(key): _bounded(item) for key, item in list(value.items())[:_MOST]}
    elif is_dataclass(value) and not isinstance(value, type):
        found = replace(value, **{field.name: _bounded(getattr(value, field.name)) for field in fields(value)})
    return found  # type: ignore[no-any-return]
