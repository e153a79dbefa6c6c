"""What the actions that describe, look at and package a file are told. See `mlkit_build.stages.params`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mlkit_build.gates import Verdict
from mlkit_build.mlkit.labels import Reading
from mlkit_build.recipe import AnyDataset, Calibration, Input
from mlkit_build.records import dataclass
from mlkit_build.runtimes.verdicts import RuntimeVerdict


@dataclass(frozen=True)
class RuntimeLimit:
    """The oldest runtime that the file must run in, and what a refusal has to say.

    Attributes:
        runtime: E.g. `2.14`.
        stated: Whether the recipe states it; otherwise it is that of the target.
        mode: Which quantization.
        granularity: What shares one scale in the weights.
        backend: Which quantizer.
        rules: Whether the recipe has any.
    """

    runtime: str
    stated: bool
    mode: str
    granularity: str
    backend: str
    rules: bool


@dataclass(frozen=True)
class DescribeParams:
    """What decides what the model says of itself, besides the signature and the labels.

    Attributes:
        name: The recipe's name, and so on.
        task: The target.
        io: The type of inputs and outputs.
        inputs: Name -> mean and std.
        output: The output that the labels name; the first one when None.
        limit: The oldest runtime that it must run in; None where any will do.
        labels: How the labels are read; None without.
        score_threshold: Below it the app should show nothing.
        score_calibration: What becomes of the scores; without the place of its parameters.
    """

    name: str
    version: str
    description: str
    author: str
    license: str
    task: str
    io: str
    inputs: Mapping[str, Input]
    output: str | None
    limit: RuntimeLimit | None = None
    labels: Reading | None = None
    score_threshold: float | None = None
    score_calibration: Calibration | None = None


@dataclass(frozen=True)
class AppParams:
    """What decides how right the packaged file is in an app, besides the file, the samples and what validation predicted.

    Attributes:
        dataset: What the model was measured on.
        inputs: Name -> mean and std as the recipe states them: a suspect, should the file be wrong.
        labels: How the labels are read.
        samples: How many samples are fed, at most: the first ones.
    """

    dataset: AnyDataset
    inputs: Mapping[str, Input]
    labels: Reading = field(default_factory=Reading)
    samples: int = 1000


@dataclass(frozen=True)
class PackageParams:
    """What decides the bundle's contents, besides the model, its metrics and the labels.

    Attributes:
        not_viewed: Why the file was not looked at as an app does; empty when it was.
        labels: How the labels are read; None without.
    """

    name: str
    version: str
    variant: str
    description: str
    author: str
    license: str
    task: str
    mode: str
    io: str
    inputs: Mapping[str, Input]
    verdicts: tuple[Verdict, ...]
    runtimes: tuple[RuntimeVerdict, ...] = ()
    not_viewed: str = ""
    labels: Reading | None = None
