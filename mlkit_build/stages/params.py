"""What each action is told, and its version: the interface between the plan of a build and the stages that do the work.

These classes hold exactly what may change an action's result, and nothing else. Importing them imports no stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlkit_build.gates import Verdict
from mlkit_build.mlkit.labels import Reading
from mlkit_build.recipe import Adapter, AnyDataset, AnySource, Calibration, Input, MetricChoice, Quantization, Rule
from mlkit_build.records import dataclass
from mlkit_build.runtimes.verdicts import RuntimeVerdict

VERSIONS = {
    "freeze": 4,
    "contract": 4,
    "convert": 4,
    "calibrate": 7,
    "quantize": 7,
    "quantize_graph": 4,
    "reference": 1,
    "evaluate": 7,
    "origin": 1,
    "hops": 1,
    "runtime": 2,
    "latency": 1,
    "attribute": 2,
    "describe": 4,
    "app": 3,
    "package": 8,
    "readme": 1,
    "aar": 1,
    "aipack": 1,
    "ios": 1,
}
"""Raised whenever an action's result changes for equal params and inputs: the cache then forgets what it made before."""


SOURCE_PREFIX = "source/"
CODE_PREFIX = "metric_code/"
"""Inputs of that prefix are the source's files, or those of the recipe's own metrics, where an action takes others too."""


@dataclass(frozen=True)
class FreezeInput:
    """The part of an input that freezing depends on: its normalization is not in the graph."""

    tensor: str | None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class FreezeParams:
    """What decides the frozen graph, besides the source's files.

    Attributes:
        source: The source, without the places of its files.
        inputs: Name -> tensor and shape; empty when the source is to say it.
        outputs: Name -> tensor; empty when the source is to say it.
        constants: Placeholder -> value.
        adapters: In order.
        unroll: What becomes of while loops.
    """

    source: AnySource
    inputs: Mapping[str, FreezeInput]
    outputs: Mapping[str, str | None]
    constants: Mapping[str, Any] = field(default_factory=dict)
    adapters: tuple[Adapter, ...] = ()
    unroll: str = "auto"


@dataclass(frozen=True)
class ConvertParams:
    """What decides the float model, besides the frozen graph."""

    allow_select_ops: bool = False


@dataclass(frozen=True)
class ContractParams:
    """What decides whether a signature keeps its target's contract, besides the signature and the labels.

    Attributes:
        task: The target.
        io: The type that inputs and outputs will have.
        normalized: The inputs whose mean and std the recipe states.
        fed: The inputs that the datasets feed; empty without datasets.
        output: The output that the labels name; the first one when None.
        labels: How the labels are read; None without.
    """

    task: str
    io: str
    normalized: tuple[str, ...]
    fed: tuple[str, ...]
    output: str | None
    labels: Reading | None = None


@dataclass(frozen=True)
class CalibrateParams:
    """What decides calibration statistics, besides the model and the samples.

    Attributes:
        dataset: Which samples.
        inputs: Name -> mean and std.
        observer: How a range is made of what was seen.
        percentile: Of the observer `percentile`; 100 for others.
        hessians: Whether GPTQ's matrices are wanted too.
    """

    dataset: AnyDataset
    inputs: Mapping[str, Input]
    observer: str = "min_max"
    percentile: float = 100.0
    hessians: bool = False


@dataclass(frozen=True)
class QuantizeParams:
    """What decides the quantized model, besides the float model and the statistics.

    Attributes:
        mode: Which quantization.
        io: The type of inputs and outputs.
        granularity: What shares one scale in the weights.
        algorithm: How the weights' scales are chosen.
        rules: Other modes for some operators.
        allow_select_ops: Whether the result may have Flex operators.
    """

    mode: str
    io: str
    granularity: str = "per_channel"
    algorithm: str = "min_max"
    rules: tuple[Rule, ...] = ()
    allow_select_ops: bool = False

    def quantization(self) -> Quantization:
        """Return it as the recipe states it."""
        return Quantization(mode=self.mode, io=self.io, granularity=self.granularity, algorithm=self.algorithm, rules=self.rules)


@dataclass(frozen=True)
class QuantizeGraphParams:
    """What decides a model that TensorFlow's converter quantizes, besides the frozen graph and the samples.

    Attributes:
        mode: Which quantization.
        io: The type of inputs and outputs.
        granularity: What shares one scale in the weights.
        dataset: Which samples; None in modes that observe nothing.
        inputs: Name -> mean and std.
        allow_select_ops: Whether the result may have Flex operators.
    """

    mode: str
    io: str
    granularity: str
    dataset: AnyDataset | None
    inputs: Mapping[str, Input]
    allow_select_ops: bool = False


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
    """

    dataset: AnyDataset | None
    calibration: AnyDataset | None
    inputs: Mapping[str, Input]
    metrics: tuple[MetricChoice, ...]
    output: str | None
    allow_select_ops: bool = False


@dataclass(frozen=True)
class OriginParams:
    """What decides the comparison of the frozen graph with its source, besides their files and the samples.

    Attributes:
        freeze: How the frozen graph was made.
        dataset: Which samples.
        inputs: Name -> mean and std.
        samples: How many of them, from the first on.
    """

    freeze: FreezeParams
    dataset: AnyDataset
    inputs: Mapping[str, Input]
    samples: int


@dataclass(frozen=True)
class HopsParams:
    """What decides the comparison of the forms of a model with each other, besides their files and the samples.

    Attributes:
        dataset: Which samples.
        inputs: Name -> mean and std.
        samples: How many of them, from the first on.
    """

    dataset: AnyDataset
    inputs: Mapping[str, Input]
    samples: int


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
    """

    package: str
    version: str
    dataset: AnyDataset
    inputs: Mapping[str, Input]
    metrics: tuple[MetricChoice, ...]
    output: str | None


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
    """

    dataset: AnyDataset
    samples_from: str
    inputs: Mapping[str, Input]
    samples: int
    output: str | None
    tries: int
    quantize: QuantizeParams | None
    quantize_version: int


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
