"""Where the accuracy of a quantized model went: what the report says, as data. Every room may hold it.

Errors are signal-to-quantization-noise ratios (SQNR) in dB, `10 * log10(sum(x^2) / sum((x - q)^2))` over all values of all
samples, where `x` is what the float model computes and `q` what the quantized one stands for. None means equal up to the
rounding of float32. What only a tanh or a sigmoid reads is cut at where the function ends (`quantization.saturation`).
"""

from __future__ import annotations

from mlkit_build.recipe import Rule
from mlkit_build.records import dataclass

LEAST_GAIN_DB = 1.0
"""What leaving an operator float has to recover to be worth a rule: beyond it, other samples give the same answer."""
NEGLIGIBLE_DB = 70.0
"""Outputs this far above their noise, which is a 3000th of them, need no rule: float16 keeps as much."""


@dataclass(frozen=True)
class Difference:
    """How far a tensor of the quantized model is from the float model's.

    Attributes:
        sqnr_db: See above.
        relative_rmse: Root of the mean square error, as a share of the range that the float tensor has on the samples.
        max_abs_error: The greatest error of a single value.
    """

    sqnr_db: float | None
    relative_rmse: float
    max_abs_error: float


@dataclass(frozen=True)
class Trial:
    """What came of quantizing the model once more with some operators left float.

    Attributes:
        rules: What it takes in the recipe, beside the rules that are there.
        sqnr_db: Of the model's outputs.
        gain_db: How much better that is than the model as it is.
        top1_agreement: Share of samples whose highest output is the float model's; None where outputs are no scores.
        size_bytes: How much larger the file is.
    """

    rules: tuple[Rule, ...]
    sqnr_db: float | None
    gain_db: float
    top1_agreement: float | None
    size_bytes: int


@dataclass(frozen=True)
class OperatorError:
    """One operator of the quantized model.

    Attributes:
        position: Its place in the order in which the model computes, from 0.
        operator: LiteRT's name of it; `QUANTIZE` where the model only goes from floating point to integers.
        tensor: The float model's name of its first output.
        nodes: The nodes of the source graph that the name holds.
        scope: What these have in common, up to a `/`; the node where there is one only.
        total: Its outputs beside those of the float model: what was lost up to here, this operator included.
        own: What it loses itself: its outputs beside those that the float operator makes of the same inputs. None where that
            is not known.
        own_share: Its part of what all operators lose, 0..1, as `quantization.influence` estimates it.
        seen: Least and greatest value of its first output in the float model.
        quantized: What the integers of that output can stand for; None where it is floating point.
        clipped_share: Share of values that lie outside of it.
        left_float: What leaving it float recovers; None where that was not tried, or cannot be.
    """

    position: int
    operator: str
    tensor: str
    nodes: tuple[str, ...]
    scope: str
    total: Difference
    own: Difference | None
    own_share: float
    seen: tuple[float, float]
    quantized: tuple[float, float] | None
    clipped_share: float
    left_float: Trial | None = None


@dataclass(frozen=True)
class OutputError:
    """One output of the model, by the signature's name of it."""

    name: str
    error: Difference


@dataclass(frozen=True)
class Attribution:
    """The whole report.

    Attributes:
        samples: How many samples it is made on.
        samples_from: The recipe's field that names them: `dataset` or `calibration`.
        size_bytes: Of the quantized model.
        outputs: Every output of the model.
        sqnr_db: Of all outputs together: the mean of their noise per signal.
        top1_agreement: Share of samples whose highest output is the float model's; None where outputs are no scores.
        operators: The worst first: by what leaving them float recovers, then by their own error.
        unmatched: Tensors of the quantized model that the float model has under no name, so that nothing is said of them.
        tried: How many operators were left float, one after another.
        best: The few operators that are worth leaving float, together; each step adds one to those before. The last one is
            what to put into the recipe.
        rules: All rules of the recipe with those of the last step.
        note: Why there is no more to say, where that is so.
    """

    samples: int
    samples_from: str
    size_bytes: int
    outputs: tuple[OutputError, ...]
    sqnr_db: float | None
    top1_agreement: float | None
    operators: tuple[OperatorError, ...]
    unmatched: tuple[str, ...]
    tried: int
    best: tuple[Trial, ...]
    rules: tuple[Rule, ...]
    note: str


def nodes_of(tensor: str) -> tuple[str, ...]:
    """Return the source graph's nodes in a tensor's name, which the converter joins with `;`."""
    return tuple(part for part in tensor.split(";") if part)


def scope_of(nodes: tuple[str, ...]) -> str:
    """Return the scope that all nodes are in; of nodes without one in common, the first one's name."""
    if not nodes:
        return ""
    parts = [node.split("/") for node in nodes]
    common = []
    for step in zip(*[part[:-1] for part in parts], strict=False):
        if len(set(step)) > 1:
            break
        common.append(step[0])
    return "/".join(common) or nodes[0]
