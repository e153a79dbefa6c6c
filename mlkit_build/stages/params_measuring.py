"""What the actions that measure and compare models are told. See `mlkit_build.stages.params`."""

from __future__ import annotations

from collections.abc import Mapping

from mlkit_build.recipe import AnyDataset, Input, MetricChoice
from mlkit_build.records import dataclass
from mlkit_build.stages.params_converting import FreezeParams, QuantizeParams


@dataclass(frozen=True)
class ReferenceParams:
    """What decides the reference outputs, besides the frozen graph and the samples."""

    dataset: AnyDataset
    inputs: Mapping[str, Input]


@dataclass(frozen=True)
class EvaluateParams:
    """What decides the metrics, besides the model, the samples and the reference outputs.

    Attributes:
        dataset: What the model is measured on; None measures the file alone.
        calibration: What the model was calibrated on, to make sure that it is other data; None for modes without.
        inputs: Name -> mean and std.
        metrics: From the table, besides those always measured.
        output: The output that they read; the first one when None.
        allow_select_ops: Whether the model may have Flex operators, which TensorFlow then runs.
        scores_of: What that output is class scores of, see `metrics.scored`.
    """

    dataset: AnyDataset | None
    calibration: AnyDataset | None
    inputs: Mapping[str, Input]
    metrics: tuple[MetricChoice, ...]
    output: str | None
    allow_select_ops: bool = False
    scores_of: str = ""


@dataclass(frozen=True)
class OriginParams:
    """What decides the comparison of the frozen graph with its source, besides their files and the samples.

    Attributes:
        freeze: How the frozen graph was made.
        dataset: Which samples.
        inputs: Name -> mean and std.
        samples: How many of them, from the first on.
        output: The output that metrics read; the first one when None.
        scores_of: What that output is class scores of, see `metrics.scored`.
    """

    freeze: FreezeParams
    dataset: AnyDataset
    inputs: Mapping[str, Input]
    samples: int
    output: str | None = None
    scores_of: str = ""


@dataclass(frozen=True)
class HopsParams:
    """What decides the comparison of the forms of a model with each other, besides their files and the samples.

    Attributes:
        dataset: Which samples.
        inputs: Name -> mean and std.
        samples: How many of them, from the first on.
        output: The output that metrics read; the first one when None.
        scores_of: What that output is class scores of, see `metrics.scored`.
    """

    dataset: AnyDataset
    inputs: Mapping[str, Input]
    samples: int
    output: str | None = None
    scores_of: str = ""


@dataclass(frozen=True)
class LatencyParams:
    """What decides how long a model takes, besides its file.

    Attributes:
        runs: How many inferences are timed, at most.
        warmups: How many run before them.
        threads: Of the interpreter.
        delegate: `xnnpack` or `none`.
        host: See `mlkit_build.timing.host`.
    """

    runs: int
    warmups: int
    threads: int
    delegate: str
    host: str


@dataclass(frozen=True)
class RuntimeParams:
    """What decides what another runtime makes of the model, besides the model, the samples and the runtime's environment.

    Attributes:
        package: The interpreter's package.
        version: Its version.
        dataset: Which samples.
        inputs: Name -> mean and std.
        metrics: From the table, besides those always measured.
        output: The output that they read; the first one when None.
        scores_of: What that output is class scores of, see `metrics.scored`.
    """

    package: str
    version: str
    dataset: AnyDataset
    inputs: Mapping[str, Input]
    metrics: tuple[MetricChoice, ...]
    output: str | None
    scores_of: str = ""


@dataclass(frozen=True)
class AttributeParams:
    """What decides where accuracy went, besides the two models, the samples and the statistics.

    Attributes:
        dataset: Which samples.
        samples_from: The recipe's field that names them: `dataset` or `calibration`.
        inputs: Name -> mean and std.
        samples: How many of them, at most.
        output: The output that classification metrics read; the first one when None.
        tries: How many operators are left float, one after another.
        quantize: How the model was quantized, to do it again; None where TensorFlow's converter did.
        quantize_version: That action's version.
        scores_of: What the judged output is class scores of, see `metrics.scored`.
    """

    dataset: AnyDataset
    samples_from: str
    inputs: Mapping[str, Input]
    samples: int
    output: str | None
    tries: int
    quantize: QuantizeParams | None
    quantize_version: int
    scores_of: str = ""
