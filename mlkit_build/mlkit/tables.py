"""From what a model says of itself to the tables and files in which it says it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from mlkit_build.mlkit import metadata_schema as schema
from mlkit_build.mlkit.associated_files import DamagedArchiveError
from mlkit_build.mlkit.description import Metadata, ScoreCalibration, Tensor
from mlkit_build.mlkit.metadata_schema import ColorSpace, FileType, ScoreTransformation
from mlkit_build.mlkit.parser_version import min_parser_version
from mlkit_build.mlkit.score_calibration import parsed, printed

LABELS = "labels.txt"
"""What the label file inside the model is called."""
CALIBRATION = "score_calibration.csv"
T = TypeVar("T")


def tables_of(metadata: Metadata) -> tuple[schema.ModelMetadata, dict[str, bytes]]:
    """Return the tables as they are stored, and the files that they name."""
    files: dict[str, bytes] = {}
    named = sum(bool(tensor.labels) for tensor in metadata.outputs) > 1
    outputs = []
    for index, tensor in enumerate(metadata.outputs):
        table, own = tensor_table(tensor, f"output{index}_" if named else "")  # its name may be that of a path
        outputs.append(table)
        files |= own
    graph = schema.SubGraphMetadata(
        input_tensor_metadata=tuple(tensor_table(tensor)[0] for tensor in metadata.inputs),
        output_tensor_metadata=tuple(outputs),
    )
    tables = schema.ModelMetadata(
        name=metadata.name,
        description=metadata.description,
        version=metadata.version,
        subgraph_metadata=(graph,),
        author=metadata.author,
        license=metadata.license,
    )
    return replace(tables, min_parser_version=min_parser_version(tables)), files


def tensor_table(tensor: Tensor, prefix: str = "") -> tuple[schema.TensorMetadata, dict[str, bytes]]:
    """Return the table of a tensor, and the files that it names.

    Args:
        prefix: Of the files' names.
    """
    properties = schema.FeatureProperties() if tensor.color is None else schema.ImageProperties(tensor.color)
    units: list[schema.Options] = [schema.NormalizationOptions(tensor.mean, tensor.std)] if tensor.mean else []
    files, listed = {}, []
    if tensor.labels:
        for locale, labels in {"": tensor.labels, **tensor.locales}.items():  # the first one counts where none is asked for
            name = prefix + (f"labels_{locale}.txt" if locale else LABELS)
            listed.append(schema.AssociatedFile(name, "The classes, one per line.", FileType.TENSOR_AXIS_LABELS, locale))
            files[name] = "".join(f"{label}\n" for label in labels).encode()
    if tensor.score_calibration is not None:
        calibration = tensor.score_calibration
        units.append(schema.ScoreCalibrationOptions(calibration.transformation, calibration.default_score))
        name = prefix + CALIBRATION
        listed.append(
            schema.AssociatedFile(name, "How the classes' scores are calibrated.", FileType.TENSOR_AXIS_SCORE_CALIBRATION)
        )
        files[name] = printed(calibration.classes)
    if tensor.score_threshold is not None:
        units.append(schema.ScoreThresholdingOptions(tensor.score_threshold))
    table = schema.TensorMetadata(
        name=tensor.name,
        description=tensor.description,
        content=schema.Content(properties),
        process_units=tuple(schema.ProcessUnit(unit) for unit in units),
        stats=schema.Stats(tensor.max, tensor.min) if tensor.max else None,
        associated_files=tuple(listed),
    )
    return table, files


def tensor_of(table: schema.TensorMetadata, files: Mapping[str, bytes]) -> Tensor:
    """Return what a table and its files say.

    Args:
        files: Those that `read_files` names, at least.

    Raises:
        DamagedArchiveError: A file is missing or damaged.
    """
    properties = table.content.content_properties if table.content else None
    normalization = options(table, schema.NormalizationOptions) or schema.NormalizationOptions()
    threshold = options(table, schema.ScoreThresholdingOptions)
    stats = table.stats or schema.Stats()
    listed = label_files(table)
    return Tensor(
        name=table.name,
        description=table.description,
        color=_known(ColorSpace, properties.color_space) if isinstance(properties, schema.ImageProperties) else None,
        mean=normalization.mean,
        std=normalization.std,
        min=stats.min,
        max=stats.max,
        labels=_labels(listed[0].name, files) if listed else (),
        locales={file.locale: _labels(file.name, files) for file in listed if file.locale},
        score_threshold=threshold.global_score_threshold if threshold else None,
        score_calibration=_calibration(table, files),
    )


def read_files(table: schema.TensorMetadata) -> list[str]:
    """Return the names of the files that `tensor_of` reads."""
    return [file.name for file in (*label_files(table), *_calibration_files(table))]


def options(table: schema.TensorMetadata, kind: type[T]) -> T | None:
    """Return the first process unit of a kind."""
    return next((unit.options for unit in table.process_units if isinstance(unit.options, kind)), None)


def label_files(table: schema.TensorMetadata) -> list[schema.AssociatedFile]:
    """Return the label files. The Task Library takes the first one, whatever its locale is, where an app asks for none."""
    return [file for file in table.associated_files if file.type == FileType.TENSOR_AXIS_LABELS]


def _calibration_files(table: schema.TensorMetadata) -> list[schema.AssociatedFile]:
    if options(table, schema.ScoreCalibrationOptions) is None:
        return []
    return [file for file in table.associated_files if file.type == FileType.TENSOR_AXIS_SCORE_CALIBRATION][:1]


def _calibration(table: schema.TensorMetadata, files: Mapping[str, bytes]) -> ScoreCalibration | None:
    stated = options(table, schema.ScoreCalibrationOptions)
    if stated is None:
        return None
    if not (found := _calibration_files(table)):
        raise DamagedArchiveError(
            "Found ScoreCalibrationOptions but missing required associated parameters file with type "
            "TENSOR_AXIS_SCORE_CALIBRATION."
        )
    return ScoreCalibration(
        parsed(_text(found[0].name, files)),
        _known(ScoreTransformation, stated.score_transformation),
        stated.default_score,
    )


def _labels(name: str, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the labels as the Task Library splits them: one newline at the end ends the last one."""
    if not (text := _text(name, files)):
        raise DamagedArchiveError("Expected non-empty labels file.")
    return tuple(text.removesuffix("\n").split("\n"))


def _text(name: str, files: Mapping[str, bytes]) -> str:
    if name not in files:
        raise DamagedArchiveError(f"No associated file with name: {name}")
    try:
        return files[name].decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedArchiveError(f"{name}: expected UTF-8 text, found byte {error.start} that is not") from error


def _known(kind: Any, number: int) -> Any:
    """Return the member of the enumeration; the first one for a number that is none."""
    return kind(number) if number in set(kind) else kind(0)
