"""What a model says of itself, as the rest of the project speaks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mlkit_build.mlkit.metadata_schema import ColorSpace, ScoreTransformation
from mlkit_build.records import dataclass


@dataclass(frozen=True)
class ScoreCalibration:
    """How the Task Library makes scores of different classes comparable, before it compares them with the threshold.

    Attributes:
        classes: Of each class `(scale, slope, offset)`, or with a least score as a fourth; empty for one that gets
            `default_score` always. The score becomes `scale / (1 + exp(-(slope * g(score) + offset)))`.
        transformation: Which function `g` is.
        default_score: What a score below the least one becomes.
    """

    classes: tuple[tuple[float, ...], ...]
    transformation: ScoreTransformation = ScoreTransformation.IDENTITY
    default_score: float = 0.0


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
        locales: Language -> what they are called in it, as many.
        score_threshold: Below it the app should show nothing; None where that is left to the app.
        score_calibration: What becomes of its scores; None for nothing.
    """

    name: str
    description: str = ""
    color: ColorSpace | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    locales: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    score_threshold: float | None = None
    score_calibration: ScoreCalibration | None = None


@dataclass(frozen=True)
class Metadata:
    """What a model says of itself.

    Attributes:
        inputs: In the order of the model's inputs.
        outputs: In the order of the model's outputs.
        min_parser_version: The oldest parser that understands it, as it was read; what is written states its own.
    """

    name: str
    description: str
    version: str
    author: str
    license: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    min_parser_version: str = "1.0.0"


def image_tensor(name: str, shape: tuple[int, ...], dtype: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return what is said of an image: its color space, how it is normalized, and what becomes of the pixels 0 and 255.

    Args:
        shape: `[batch, height, width, channels]`.
        dtype: Of the input as the file has it: a uint8 one takes the pixels themselves.
        mean: One for all channels or one for each; empty where nothing is normalized.
        std: Likewise.
    """
    colors = {1: ColorSpace.GRAYSCALE, 3: ColorSpace.RGB}
    channels = max(len(mean), len(std))
    mean, std = (values * channels if len(values) == 1 else values for values in (mean, std))
    ends = [[(pixel - center) / spread for pixel in (0, 255)] for center, spread in zip(mean, std, strict=True)]
    if dtype == "uint8":
        ends = [[0.0, 255.0]]
    return Tensor(
        name,
        color=colors.get(shape[-1]) if len(shape) == 4 else None,
        mean=mean,
        std=std,
        min=tuple(min(pair) for pair in ends),
        max=tuple(max(pair) for pair in ends),
    )
