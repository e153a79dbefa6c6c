"""How a model is quantized, as frozen dataclasses, and the words for it."""

from __future__ import annotations

from mlkit_build.recipe.mandatory import MANDATORY
from mlkit_build.records import dataclass

MODES = (
    "float32",
    "float16",
    "dynamic_range",
    "dynamic_range_int4",
    "weight_only_int8",
    "weight_only_int4",
    "int8",
    "int16x8",
)
STATIC_MODES = ("int8", "int16x8")
"""Modes whose activations are integers, with ranges that calibration observes."""
IO_TYPES = ("float32", "uint8", "int8")
GRANULARITIES = ("per_channel", "per_tensor", "blockwise_32", "blockwise_64", "blockwise_128", "blockwise_256")
ALGORITHMS = ("min_max", "mse", "octav", "gptq", "hadamard")
OBSERVERS = ("min_max", "moving_average", "percentile")
BACKENDS = ("litert", "converter")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Another mode for some operators. Of several rules that fit an operator, the last one counts.

    Attributes:
        operator: LiteRT's name of the operator, e.g. `CONV_2D`; any when left out.
        tensor: A regular expression, searched for in the names of the operator's output tensors, which hold the scopes of the
            source graph; any when left out.
        mode: The mode of these operators; `float32` leaves them alone.
    """

    operator: str | None = None
    tensor: str | None = None
    mode: str = MANDATORY


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How weights and activations are stored and computed.

    Attributes:
        mode: `float32`; `float16` (half-size weights, float compute); `dynamic_range` and `dynamic_range_int4` (integer weights,
            activations quantized as the model runs); `weight_only_int8` and `weight_only_int4` (integer weights, widened when
            the model loads); `int8` and `int16x8` (full integer, with int8 or int16 activations; need calibration samples).
        io: Type of the model's inputs and outputs: `float32`, `uint8` or `int8`. Only int8 models take the integer types.
        granularity: What shares one scale in the weights: `per_channel`, `per_tensor`, or `blockwise_32` to `blockwise_256`
            (that many values of a row; dynamic_range_int4 only).
        algorithm: How the weights' scales are chosen: `min_max`, `mse`, `octav`, `gptq` (needs calibration samples), `hadamard`.
        observer: How calibration makes a range of what it saw: `min_max` (all of it), `moving_average` (of the samples' ranges),
            or `percentile`.
        percentile: Of the observer `percentile`: the share of values in percent that the range holds, cut at both ends alike.
        backend: `litert` (ai-edge-quantizer on the float model) or `converter` (TensorFlow's own, from the frozen graph).
        rules: Other modes for some operators.
    """

    mode: str = "float32"
    io: str = "float32"
    granularity: str = "per_channel"
    algorithm: str = "min_max"
    observer: str = "min_max"
    percentile: float = 99.99
    backend: str = "litert"
    rules: tuple[Rule, ...] = ()

    @property
    def modes(self) -> frozenset[str]:
        """The mode, and those of the rules."""
        return frozenset({self.mode, *(rule.mode for rule in self.rules)})

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.modes == {"float32"}

    @property
    def needs_calibration(self) -> bool:
        """Whether it depends on samples."""
        return bool(self.modes & set(STATIC_MODES)) or self.algorithm == "gptq"

    @property
    def title(self) -> str:
        """A short name that tells what is not as usual: `int8`, `int8_uint8`, `int8_per_tensor_mse_mixed`."""
        usual = Quantization()
        told = [(getattr(self, name), getattr(usual, name)) for name in ("io", "granularity", "algorithm", "observer", "backend")]
        return "_".join([self.mode, *(value for value, default in told if value != default), *(["mixed"] if self.rules else [])])
