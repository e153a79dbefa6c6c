"""The tables of TensorFlow Lite Model Metadata, all of them: what others wrote is kept when something is added.

Fields and their order are those of `tensorflow_lite_support/metadata/metadata_schema.fbs` in tensorflow/tflite-support, version
1.5.0, file identifier M001.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, get_args

from mlkit_build.mlkit.flatbuffer import Kind
from mlkit_build.mlkit.flatbuffer_fields import BYTE, BYTES, FLOAT, INT, NUMBERS, TEXT, TEXTS, UINT, UINTS, Many, One, Union
from mlkit_build.records import dataclass

IDENTIFIER = b"M001"
NAME = "TFLITE_METADATA"
"""The entry of a model's `metadata` whose buffer holds these tables."""


class FileType(IntEnum):
    """AssociatedFileType."""

    UNKNOWN = 0
    DESCRIPTIONS = 1
    TENSOR_AXIS_LABELS = 2
    TENSOR_VALUE_LABELS = 3
    TENSOR_AXIS_SCORE_CALIBRATION = 4
    VOCABULARY = 5
    SCANN_INDEX_FILE = 6


class ScoreTransformation(IntEnum):
    """ScoreTransformationType: what becomes of a score before the sigmoid of its calibration."""

    IDENTITY = 0
    LOG = 1
    INVERSE_LOGISTIC = 2


class ColorSpace(IntEnum):
    """ColorSpaceType."""

    UNKNOWN = 0
    RGB = 1
    GRAYSCALE = 2


@dataclass(frozen=True)
class AssociatedFile:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (TEXT, TEXT, BYTE, TEXT, TEXT)

    name: str = ""
    description: str = ""
    type: int = 0
    locale: str = ""
    version: str = ""


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
class BoundingBoxProperties:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (UINTS, BYTE, BYTE)

    index: tuple[int, ...] = ()
    type: int = 0
    coordinate_type: int = 0


@dataclass(frozen=True)
class AudioProperties:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (UINT, UINT)

    sample_rate: int = 0
    channels: int = 0


@dataclass(frozen=True)
class ValueRange:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (INT, INT)

    min: int = 0
    max: int = 0


@dataclass(frozen=True)
class Content:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (
        Union((FeatureProperties, ImageProperties, BoundingBoxProperties, AudioProperties)),
        One(ValueRange),
    )

    content_properties: FeatureProperties | ImageProperties | BoundingBoxProperties | AudioProperties | None = None
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
class BertTokenizerOptions:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Many(AssociatedFile),)

    vocab_file: tuple[AssociatedFile, ...] = ()


@dataclass(frozen=True)
class SentencePieceTokenizerOptions:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Many(AssociatedFile), Many(AssociatedFile))

    sentence_piece_model: tuple[AssociatedFile, ...] = ()
    vocab_file: tuple[AssociatedFile, ...] = ()


@dataclass(frozen=True)
class RegexTokenizerOptions:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (TEXT, Many(AssociatedFile))

    delim_regex_pattern: str = ""
    vocab_file: tuple[AssociatedFile, ...] = ()


Options = (
    NormalizationOptions
    | ScoreCalibrationOptions
    | ScoreThresholdingOptions
    | BertTokenizerOptions
    | SentencePieceTokenizerOptions
    | RegexTokenizerOptions
)


@dataclass(frozen=True)
class ProcessUnit:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Union(get_args(Options)),)

    options: Options | None = None


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
class TensorGroup:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (TEXT, TEXTS)

    name: str = ""
    tensor_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class CustomMetadata:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (TEXT, BYTES)

    name: str = ""
    data: bytes = b""


@dataclass(frozen=True)
class SubGraphMetadata:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (
        TEXT,
        TEXT,
        Many(TensorMetadata),
        Many(TensorMetadata),
        Many(AssociatedFile),
        Many(ProcessUnit),
        Many(ProcessUnit),
        Many(TensorGroup),
        Many(TensorGroup),
        Many(CustomMetadata),
    )

    name: str = ""
    description: str = ""
    input_tensor_metadata: tuple[TensorMetadata, ...] = ()
    output_tensor_metadata: tuple[TensorMetadata, ...] = ()
    associated_files: tuple[AssociatedFile, ...] = ()
    input_process_units: tuple[ProcessUnit, ...] = ()
    output_process_units: tuple[ProcessUnit, ...] = ()
    input_tensor_groups: tuple[TensorGroup, ...] = ()
    output_tensor_groups: tuple[TensorGroup, ...] = ()
    custom_metadata: tuple[CustomMetadata, ...] = ()


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
