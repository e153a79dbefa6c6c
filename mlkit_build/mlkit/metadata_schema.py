"""The tables of TensorFlow Lite Model Metadata, as far as classifiers need them.

Fields and their order are those of `tensorflow_lite_support/metadata/metadata_schema.fbs` in tensorflow/tflite-support, file
identifier M001.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from mlkit_build.mlkit.flatbuffer import BYTE, FLOAT, INT, NUMBERS, TEXT, TEXTS, UINT, Kind, Many, One, Union

IDENTIFIER = b"M001"
NAME = "TFLITE_METADATA"
"""The entry of a model's `metadata` whose buffer holds these tables."""


class FileType(IntEnum):
    """AssociatedFileType."""

    UNKNOWN = 0
    TENSOR_AXIS_LABELS = 2


class ColorSpace(IntEnum):
    """ColorSpaceType."""

    UNKNOWN = 0
    RGB = 1
    GRAYSCALE = 2


@dataclass(frozen=True)
class AssociatedFile:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (TEXT, TEXT, BYTE, TEXT)

    name: str = ""
    description: str = ""
    type: int = 0
    locale: str = ""


@dataclass(frozen=True)
class FeatureProperties:
    LAYOUT: ClassVar[tuple[Kind, ...]] = ()


@dataclass(frozen=True)
class ImageSize:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (UINT, UINT)

    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class ImageProperties:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (BYTE, One(ImageSize))

    color_space: int = 0
    default_size: ImageSize | None = None


@dataclass(frozen=True)
class ValueRange:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (INT, INT)

    min: int = 0
    max: int = 0


@dataclass(frozen=True)
class Content:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Union((FeatureProperties, ImageProperties)), One(ValueRange))

    content_properties: FeatureProperties | ImageProperties | None = None
    range: ValueRange | None = None


@dataclass(frozen=True)
class NormalizationOptions:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (NUMBERS, NUMBERS)

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class ScoreCalibrationOptions:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (BYTE, FLOAT)

    score_transformation: int = 0
    default_score: float = 0.0


@dataclass(frozen=True)
class ScoreThresholdingOptions:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (FLOAT,)

    global_score_threshold: float = 0.0


@dataclass(frozen=True)
class ProcessUnit:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Union((NormalizationOptions, ScoreCalibrationOptions, ScoreThresholdingOptions)),)

    options: NormalizationOptions | ScoreCalibrationOptions | ScoreThresholdingOptions | None = None


@dataclass(frozen=True)
class Stats:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (NUMBERS, NUMBERS)

    max: tuple[float, ...] = ()
    min: tuple[float, ...] = ()


@dataclass(frozen=True)
class TensorMetadata:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (TEXT, TEXT, TEXTS, One(Content), Many(ProcessUnit), One(Stats), Many(AssociatedFile))

    name: str = ""
    description: str = ""
    dimension_names: tuple[str, ...] = ()
    content: Content | None = None
    process_units: tuple[ProcessUnit, ...] = ()
    stats: Stats | None = None
    associated_files: tuple[AssociatedFile, ...] = ()


@dataclass(frozen=True)
class SubGraphMetadata:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (TEXT, TEXT, Many(TensorMetadata), Many(TensorMetadata), Many(AssociatedFile))

    name: str = ""
    description: str = ""
    input_tensor_metadata: tuple[TensorMetadata, ...] = ()
    output_tensor_metadata: tuple[TensorMetadata, ...] = ()
    associated_files: tuple[AssociatedFile, ...] = ()


@dataclass(frozen=True)
class ModelMetadata:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (TEXT, TEXT, TEXT, Many(SubGraphMetadata), TEXT, TEXT, Many(AssociatedFile), TEXT)

    name: str = ""
    description: str = ""
    version: str = ""
    subgraph_metadata: tuple[SubGraphMetadata, ...] = ()
    author: str = ""
    license: str = ""
    associated_files: tuple[AssociatedFile, ...] = ()
    min_parser_version: str = ""
