"""What the actions of the stages freeze and convert are told. See `mlkit_build.stages.params`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlkit_build.mlkit.labels import Reading
from mlkit_build.recipe import Adapter, AnyDataset, AnySource, Input, Quantization, Rule
from mlkit_build.records import dataclass


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
