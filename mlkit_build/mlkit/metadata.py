"""What a `.tflite` says of itself to ML Kit: how images are normalized, what its classes are called, who made it.

TensorFlow Lite Model Metadata: a flatbuffer in a buffer of the model that its `metadata` calls TFLITE_METADATA, with the label
files in a zip archive behind the model (`metadata_schema.fbs` in tensorflow/tflite-support).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlkit_build.errors import SourceError, StageError
from mlkit_build.mlkit import metadata_schema as schema
from mlkit_build.mlkit.associated_files import DamagedArchiveError, appended, cut, extracted
from mlkit_build.mlkit.description import Metadata, ScoreCalibration, Tensor
from mlkit_build.mlkit.flatbuffer import DamagedError, Reader, encode
from mlkit_build.mlkit.metadata_schema import ColorSpace, ScoreTransformation
from mlkit_build.mlkit.model_entry import ends, stored, with_entry
from mlkit_build.mlkit.tables import LABELS, read_files, tables_of, tensor_of
from mlkit_build.records import dataclass

__all__ = [
    "LABELS",
    "ColorSpace",
    "Metadata",
    "ScoreCalibration",
    "ScoreTransformation",
    "Stored",
    "Tensor",
    "attach",
    "attach_tables",
    "read",
    "read_tables",
]

_AGAIN = "attach the metadata again: `mlkit-build metadata FILE --existing replace --output OUT ...`"


@dataclass(frozen=True)
class Stored:
    """Metadata as they lie in a file.

    Attributes:
        tables: All of them.
        unknown: The tables in which a newer writer stated what is not known here.
    """

    tables: schema.ModelMetadata
    unknown: tuple[str, ...]


def attach(model: bytes, metadata: Metadata) -> bytes:
    """Return the model with the metadata and its labels, in place of any it had. Equal arguments, equal bytes.

    Args:
        model: A `.tflite`.
        metadata: Inputs and outputs may be in any order if their names are those of the model's signature.

    Raises:
        StageError: The model has other inputs or outputs.
        SourceError: It is no `.tflite` file, or a damaged one.
    """
    try:
        inputs, outputs = (tuple(end.name for end in side) for side in ends(model))
    except DamagedError as error:
        raise SourceError(f"the model is damaged: {error}") from error
    ordered = replace(
        metadata,
        inputs=_ordered(metadata.inputs, inputs, "input"),
        outputs=_ordered(metadata.outputs, outputs, "output"),
    )
    return attach_tables(model, *tables_of(ordered))


def attach_tables(model: bytes, tables: schema.ModelMetadata, files: Mapping[str, bytes]) -> bytes:
    """Return the model with the tables and the files, in place of any it had. Equal arguments, equal bytes.

    Raises:
        SourceError: It is no `.tflite` file, or a damaged one.
    """
    try:
        return appended(with_entry(cut(model), encode(tables, schema.IDENTIFIER)), files)
    except DamagedError as error:
        raise SourceError(f"the model is damaged: {error}") from error


def read(model: bytes) -> Metadata:
    """Return what a `.tflite` by anyone says of itself.

    Of several label files of an output the first one counts, as in the Task Library.

    Raises:
        SourceError: It is no such file, has no metadata, or they are damaged.
    """
    found = read_tables(model)
    if found is None:
        raise SourceError("metadata: the model has none", "`mlkit-build metadata FILE --output OUT ...` attaches them")
    tables = found.tables
    if not tables.subgraph_metadata:
        raise SourceError("metadata: expected those of a subgraph, found none", _AGAIN)
    graph = tables.subgraph_metadata[0]
    ends = (*graph.input_tensor_metadata, *graph.output_tensor_metadata)
    try:
        files = extracted(model, [name for table in ends for name in read_files(table)])
        tensors = tuple(tensor_of(table, files) for table in ends)
    except DamagedArchiveError as error:
        raise SourceError(f"metadata: {error}", _AGAIN) from error
    return Metadata(
        name=tables.name,
        description=tables.description,
        version=tables.version,
        author=tables.author,
        license=tables.license,
        inputs=tensors[: len(graph.input_tensor_metadata)],
        outputs=tensors[len(graph.input_tensor_metadata) :],
        min_parser_version=tables.min_parser_version,
    )


def read_tables(model: bytes) -> Stored | None:
    """Return the tables that a `.tflite` by anyone holds; None where it has none.

    Raises:
        SourceError: It is no such file, or the tables are damaged.
    """
    try:
        data = stored(model)
        if data is None:
            return None
        reader = Reader(data)
        tables = reader.table(schema.ModelMetadata, reader.root(schema.IDENTIFIER))
    except DamagedError as error:
        raise SourceError(f"metadata: damaged: {error}", _AGAIN) from error
    return Stored(tables, tuple(dict.fromkeys(reader.unknown)))


def _ordered(tensors: tuple[Tensor, ...], wanted: tuple[str, ...], what: str) -> tuple[Tensor, ...]:
    """Return one tensor per end of the model, by the signature's names where it has one. Raises StageError."""
    given = {tensor.name: tensor for tensor in tensors}
    if sorted(wanted) == sorted(given):
        return tuple(given[name] for name in wanted)
    if len(wanted) == len(tensors) and not any(wanted):
        return tensors
    raise StageError(f"metadata: the model's {what}s are {', '.join(wanted)}, found metadata of {', '.join(given)}")
