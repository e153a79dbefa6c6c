"""TensorFlow Lite Model Metadata as the Task Library looks at them: whether a field is there, and tables of every kind.

`metadata_schema` has what the project writes. Numbers of kinds are those of `metadata_schema.fbs` in tensorflow/tflite-support.
What is None is not in the file.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mlkit_build.mlkit.flatbuffer import Kind
from mlkit_build.mlkit.flatbuffer_fields import BYTE, FLOAT, Many, One
from mlkit_build.mlkit.metadata_schema import ImageProperties
from mlkit_build.mlkit.model_reader import FLOATS, NAME, Skipped, Tables, Tagged
from mlkit_build.records import dataclass

NORMALIZATION, CALIBRATION, THRESHOLDING = 1, 2, 3
"""ProcessUnitOptions."""
IMAGE = 2
CONTENTS = ("NONE", "FeatureProperties", "ImageProperties", "BoundingBoxProperties", "AudioProperties")
"""ContentProperties."""
AXIS_LABELS, SCORE_CALIBRATION = 2, 4
"""AssociatedFileType."""


@dataclass(frozen=True)
class Normalization:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (FLOATS, FLOATS)

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


@dataclass(frozen=True)
class Threshold:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (FLOAT,)

    threshold: float


@dataclass(frozen=True)
class Unit:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Tagged((Normalization, None, Threshold)),)

    options: tuple[int, Any]


@dataclass(frozen=True)
class Content:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Tagged((None, ImageProperties)),)

    properties: tuple[int, Any]


@dataclass(frozen=True)
class File:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (NAME, NAME, BYTE, NAME)

    name: str | None
    description: str | None
    type: int
    locale: str | None


@dataclass(frozen=True)
class Tensor:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (
        NAME, NAME, Skipped(), One(Content), Many(Unit), Skipped(), Many(File),
    )  # fmt: skip

    name: str | None
    description: str | None
    _dimension_names: None
    content: Content | None
    units: tuple[Unit, ...]
    _stats: None
    files: tuple[File, ...]


@dataclass(frozen=True)
class Graph:
    LAYOUT: ClassVar[tuple[Kind, ...]] = (Skipped(), Skipped(), Tables(Tensor), Tables(Tensor), Many(File))

    _name: None
    _description: None
    inputs: tuple[Tensor, ...] | None
    outputs: tuple[Tensor, ...] | None
    files: tuple[File, ...]


@dataclass(frozen=True)
class Stated:
    """The root of the metadata, as the Task Library looks at them."""

    LAYOUT: ClassVar[tuple[Kind, ...]] = (
        NAME, NAME, NAME, Tables(Graph), NAME, NAME, Many(File), NAME,
    )  # fmt: skip

    name: str | None
    description: str | None
    version: str | None
    graphs: tuple[Graph, ...] | None
    author: str | None
    license: str | None
    files: tuple[File, ...]
    min_parser_version: str | None
