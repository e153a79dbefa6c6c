"""Samples that no file holds as they are: a function yields them, or they are drawn, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlkit_build.recipe.mandatory import MANDATORY
from mlkit_build.records import dataclass


@dataclass(frozen=True, kw_only=True)
class PythonSamples:
    """Samples that a generator function of the recipe's folder yields. It runs as code, with the recipe's trust.

    Attributes:
        kind: `python`.
        function: `FILE.py:NAME`, relative to the recipe's folder. It yields a mapping of model inputs to arrays for every sample,
            without a batch dimension, and the same samples whenever it is called.
        arguments: What the function is called with, by name.
        files: What it reads, as paths or patterns relative to the recipe's folder. It runs in a copy of the folder that holds
            these files and the modules it imports, and nothing else. What it reads from elsewhere, and the packages it imports,
            are not in the key: a change there is not noticed.
        timeout_s: How long an action that reads it may take, in seconds, calibration, reference and evaluation each.
        features: Model input -> key of what the function yields.
        label: The key of the label, a number or an array of numbers; without it only parity can be measured.
        split: A part of the samples by content hash, e.g. `0:80%`.
        samples: How many samples to use, chosen by content hash; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "python"
    function: str = MANDATORY
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    timeout_s: float = 3600.0
    features: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    split: str | None = None
    samples: int | None = None
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)


@dataclass(frozen=True, kw_only=True)
class RandomInput:
    """What is drawn for a model input.

    Attributes:
        min: The least value.
        max: The greatest value.
        type: Of the numbers: `float32`, or an integer type such as `uint8`.
    """

    min: float = 0.0
    max: float = 255.0
    type: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Random:
    """Numbers drawn at random, evenly. They say how near two models are on noise, and nothing of how good a model is on data.

    Attributes:
        kind: `random`.
        features: Model input -> what is drawn, in the shape of the input.
        samples: How many samples.
        seed: Makes other numbers.
    """

    kind: str = "random"
    features: Mapping[str, RandomInput] = field(default_factory=dict)
    samples: int = MANDATORY  # type: ignore[assignment]
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)

    @property
    def label(self) -> None:
        """None: noise has no class."""

    @property
    def split(self) -> None:
        """None: another seed draws other samples."""
