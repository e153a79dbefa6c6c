"""What a `.tflite` says of itself to ML Kit: how images are normalized, what its classes are called, who made it.

TensorFlow Lite Model Metadata: a flatbuffer in a buffer of the model that its `metadata` calls TFLITE_METADATA, with the label
files in a zip archive behind the model (`metadata_schema.fbs` in tensorflow/tflite-support).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mlkit_build.errors import SourceError, StageError
from mlkit_build.mlkit import metadata_schema as schema
from mlkit_build.mlkit.associated_files import DamagedArchiveError, appended, extracted
from mlkit_build.mlkit.flatbuffer import DamagedError, Reader, decode, elements, encode, read_text
from mlkit_build.mlkit.metadata_schema import ColorSpace, FileType

__all__ = ["LABELS", "ColorSpace", "Metadata", "Tensor", "attach", "read"]

LABELS = "labels.txt"
"""What the label file inside the model is called."""
_PARSER = "1.0.0"
"""The first version of the format, which has all that is written here."""
_MODEL = b"TFL3"
_BUFFERS, _METADATA = 4, 6
"""Places in the table Model (`schema.fbs` in tensorflow/tensorflow)."""
_DATA, _OFFSET, _SIZE = 0, 1, 2
"""Places in the table Buffer."""
_NAME, _BUFFER = 0, 1
"""Places in the table Metadata of a model."""


@dataclass(frozen=True)
class Tensor:
    """An input or an output.

    Attributes:
        name: The recipe's name for it.
        description: What it holds.
        color: The color space of an image; None for what is none.
        mean: Of `(pixel - mean) / std`, one for all channels or one for each; empty where nothing is normalized.
        std: As many.
        min: The least value, or one for each channel.
        max: The greatest, likewise.
        labels: What the classes along its last axis are called, in order.
    """

    name: str
    description: str = ""
    color: ColorSpace | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """What a model says of itself.

    Attributes:
        inputs: In the order of the model's inputs.
        outputs: In the order of the model's outputs.
        min_parser_version: The oldest parser that understands it.
    """

    name: str
    description: str
    version: str
    author: str
    license: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    min_parser_version: str = _PARSER


def attach(model: bytes, metadata: Metadata) -> bytes:
    """Return the model with the metadata and its labels, in place of any it had. Equal arguments, equal bytes.

    Args:
        model: A `.tflite` without large buffers behind it, as every stage writes it.
        metadata: Inputs and outputs may be in any order if their names are those of the model's signature.

    Raises:
        StageError: The model has other inputs or outputs.
    """
    import numpy as np

    from mlkit_build.tflite import model as tflite

    content = tflite.parsed(model)
    graph = content.subgraphs[0]
    signed = content.signatureDefs[0] if content.signatureDefs else None
    ordered = replace(
        metadata,
        inputs=_ordered(metadata.inputs, graph.inputs, signed.inputs if signed else (), "input"),
        outputs=_ordered(metadata.outputs, graph.outputs, signed.outputs if signed else (), "output"),
    )
    tables, files = _tables(ordered)
    entry = next((entry for entry in content.metadata or () if tflite.text(entry.name) == schema.NAME), None)
    if entry is None:
        entry = tflite.schema().MetadataT()
        entry.name = schema.NAME
        entry.buffer = len(content.buffers)
        content.buffers.append(tflite.schema().BufferT())
        content.metadata = [*(content.metadata or ()), entry]
    content.buffers[entry.buffer].data = np.frombuffer(encode(tables, schema.IDENTIFIER), np.uint8)
    return appended(tflite.packed(content), files)


def read(model: bytes) -> Metadata:
    """Return what a `.tflite` by anyone says of itself.

    Of several label files of an output, the one without a locale counts, else the first.

    Raises:
        SourceError: It is no such file, has no metadata, or they are damaged.
    """
    try:
        tables = decode(schema.ModelMetadata, _stored(model), schema.IDENTIFIER)
    except DamagedError as error:
        raise SourceError(f"metadata: damaged: {error}", "attach the metadata again") from error
    if not tables.subgraph_metadata:
        raise SourceError("metadata: expected those of a subgraph, found none", "attach the metadata again")
    graph = tables.subgraph_metadata[0]
    try:
        outputs = tuple(_tensor(tensor, model) for tensor in graph.output_tensor_metadata)
        inputs = tuple(_tensor(tensor, model) for tensor in graph.input_tensor_metadata)
    except DamagedArchiveError as error:
        raise SourceError(f"metadata: {error}", "attach the metadata again") from error
    return Metadata(
        name=tables.name,
        description=tables.description,
        version=tables.version,
        author=tables.author,
        license=tables.license,
        inputs=inputs,
        outputs=outputs,
        min_parser_version=tables.min_parser_version,
    )


def _ordered(tensors: tuple[Tensor, ...], indices: Iterable[int], signed: Iterable[object], what: str) -> tuple[Tensor, ...]:
    """Return one tensor per index, by the signature's names where the model has one. Raises StageError."""
    from mlkit_build.tflite.model import text

    names = {int(entry.tensorIndex): text(entry.name) for entry in signed}  # type: ignore[attr-defined]
    given = {tensor.name: tensor for tensor in tensors}
    wanted = [names.get(int(index), "") for index in indices]
    if sorted(wanted) == sorted(given):
        return tuple(given[name] for name in wanted)
    if len(wanted) == len(tensors) and not any(wanted):
        return tensors
    raise StageError(f"metadata: the model's {what}s are {', '.join(wanted)}, found metadata of {', '.join(given)}")


def _tables(metadata: Metadata) -> tuple[schema.ModelMetadata, dict[str, bytes]]:
    """Return the tables as they are stored, and the files that they name."""
    labelled = [tensor for tensor in metadata.outputs if tensor.labels]
    names = {tensor.name: LABELS if len(labelled) == 1 else f"{tensor.name}_{LABELS}" for tensor in labelled}
    graph = schema.SubGraphMetadata(
        input_tensor_metadata=tuple(_table(tensor, None) for tensor in metadata.inputs),
        output_tensor_metadata=tuple(_table(tensor, names.get(tensor.name)) for tensor in metadata.outputs),
    )
    tables = schema.ModelMetadata(
        name=metadata.name,
        description=metadata.description,
        version=metadata.version,
        subgraph_metadata=(graph,),
        author=metadata.author,
        license=metadata.license,
        min_parser_version=metadata.min_parser_version,
    )
    return tables, {names[tensor.name]: "".join(f"{label}\n" for label in tensor.labels).encode() for tensor in labelled}


def _table(tensor: Tensor, labels: str | None) -> schema.TensorMetadata:
    properties = schema.FeatureProperties() if tensor.color is None else schema.ImageProperties(tensor.color)
    units = (schema.ProcessUnit(schema.NormalizationOptions(tensor.mean, tensor.std)),) if tensor.mean else ()
    files = (schema.AssociatedFile(labels, "The classes, one per line.", FileType.TENSOR_AXIS_LABELS),) if labels else ()
    return schema.TensorMetadata(
        name=tensor.name,
        description=tensor.description,
        content=schema.Content(properties),
        process_units=units,
        stats=schema.Stats(tensor.max, tensor.min) if tensor.max else None,
        associated_files=files,
    )


def _tensor(table: schema.TensorMetadata, model: bytes) -> Tensor:
    """Return what a table says, with the labels that it names. Raises DamagedArchiveError."""
    properties = table.content.content_properties if table.content else None
    options = [unit.options for unit in table.process_units if isinstance(unit.options, schema.NormalizationOptions)]
    normalization = options[0] if options else schema.NormalizationOptions()
    stats = table.stats or schema.Stats()
    return Tensor(
        name=table.name,
        description=table.description,
        color=_color(properties.color_space) if isinstance(properties, schema.ImageProperties) else None,
        mean=normalization.mean,
        std=normalization.std,
        min=stats.min,
        max=stats.max,
        labels=_labels(table, model),
    )


def _color(number: int) -> ColorSpace:
    return ColorSpace(number) if number in set(ColorSpace) else ColorSpace.UNKNOWN


def _labels(table: schema.TensorMetadata, model: bytes) -> tuple[str, ...]:
    """Return the labels as the Task Library splits them: one newline at the end ends the last one."""
    files = [file for file in table.associated_files if file.type == FileType.TENSOR_AXIS_LABELS]
    if not files:
        return ()
    name = min(files, key=lambda file: bool(file.locale)).name
    try:
        text = extracted(model, [name])[name].decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedArchiveError(f"{name}: expected UTF-8 text, found byte {error.start} that is not") from error
    if not text:
        raise DamagedArchiveError("Expected non-empty labels file.")
    return tuple(text.removesuffix("\n").split("\n"))


def _stored(model: bytes) -> memoryview:
    """Return the flatbuffer of the metadata. Raises SourceError where there is none, DamagedError."""
    reader = Reader(model)
    try:
        root = reader.root(_MODEL)
    except DamagedError as error:
        raise SourceError(f"The model is not a valid Flatbuffer: {error}", "expected a .tflite file") from error
    for at in elements(reader, root, _METADATA):
        entry = reader.follow(at)
        name, index = reader.field(entry, _NAME), reader.field(entry, _BUFFER)
        if name is not None and read_text(reader, name) == schema.NAME:
            return _buffer(reader, model, root, 0 if index is None else int(reader.number("<I", index)))
    raise SourceError("metadata: the model has none", "build it with mlkit-build, or attach them")


def _buffer(reader: Reader, model: bytes, root: int, index: int) -> memoryview:
    """Return the content of a buffer of the model, which is in the flatbuffer or behind it."""
    places = elements(reader, root, _BUFFERS)
    if index >= len(places):
        raise DamagedError(f"they are in buffer {index} of {len(places)}")
    buffer = reader.follow(places[index])
    data, offset, size = (reader.field(buffer, slot) for slot in (_DATA, _OFFSET, _SIZE))
    if data is not None:
        return reader.bytes_at(data)
    start, length = (0 if at is None else int(reader.number("<Q", at)) for at in (offset, size))
    return memoryview(model)[start : start + length]
