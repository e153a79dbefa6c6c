"""What each backend can do. What it cannot is refused here, before anything runs: neither backend says so by itself.

Measured with ai-edge-quantizer 0.10: asked for blocks outside dynamic_range_int4 it takes channels, without a word; GPTQ in a
static recipe is off by 25 times the error of min_max, because it averages ranges; Hadamard rotations leave a float operator
beside each integer one. TensorFlow's converter has neither 4-bit weights nor weight-only models.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlkit_build.errors import ConfigError, expect_one_of
from mlkit_build.recipe.quantization import (
    ALGORITHMS,
    BACKENDS,
    GRANULARITIES,
    IO_TYPES,
    MODES,
    OBSERVERS,
    Quantization,
)
from mlkit_build.records import dataclass

_SCALES = ("per_channel", "per_tensor")
_BLOCKS = tuple(name for name in GRANULARITIES if name.startswith("blockwise"))
_FLOAT = ("float32",)


@dataclass(frozen=True)
class Offer:
    """What a backend does in one mode.

    Attributes:
        granularities: How weights may share scales.
        algorithms: How these scales may be chosen.
        io: Types that inputs and outputs may have.
    """

    granularities: tuple[str, ...] = _SCALES[:1]
    algorithms: tuple[str, ...] = ALGORITHMS[:1]
    io: tuple[str, ...] = _FLOAT


OFFERS: Mapping[str, Mapping[str, Offer]] = {
    "litert": {
        "float32": Offer(),
        "float16": Offer(),
        "dynamic_range": Offer(_SCALES, ("min_max", "mse", "octav", "gptq", "hadamard")),
        "dynamic_range_int4": Offer((*_SCALES, *_BLOCKS), ("min_max", "mse", "octav", "gptq", "hadamard")),
        "weight_only_int8": Offer(_SCALES, ("min_max", "mse", "octav", "gptq")),
        "weight_only_int4": Offer(_SCALES, ("min_max", "mse", "octav", "gptq")),
        "int8": Offer(_SCALES, ("min_max", "mse", "octav"), IO_TYPES),
        "int16x8": Offer(_SCALES, ("min_max", "mse", "octav")),
    },
    "converter": {
        "float32": Offer(),
        "float16": Offer(),
        "dynamic_range": Offer(_SCALES),
        "int8": Offer(_SCALES, io=IO_TYPES),
        "int16x8": Offer(),
    },
}
"""Backend -> mode -> what it offers."""


def check_offered(quantization: Quantization) -> None:
    """Refuse what the backend cannot do.

    Raises:
        ConfigError: Names the field, and what is offered in its place.
    """
    for field, known in (
        ("mode", MODES),
        ("io", IO_TYPES),
        ("granularity", GRANULARITIES),
        ("algorithm", ALGORITHMS),
        ("observer", OBSERVERS),
        ("backend", BACKENDS),
    ):
        expect_one_of(f"quantization.{field}", getattr(quantization, field), known)
    _check_rules(quantization)
    modes = OFFERS[quantization.backend]
    for where, mode in (("quantization.mode", quantization.mode), *_rule_modes(quantization)):
        if mode not in modes:
            raise ConfigError(
                f"{where}: the backend {quantization.backend!r} has no {mode}; it has {', '.join(modes)}",
                f"use quantization.backend={_backend_with(mode)}",
            )
    _check_mode(quantization, modes[quantization.mode])
    if not 50 < quantization.percentile <= 100:
        raise ConfigError(f"quantization.percentile: expected above 50 and at most 100, found {quantization.percentile:g}")
    if quantization.backend == "converter" and quantization.observer != "min_max":
        raise ConfigError(
            f"quantization.observer: TensorFlow's converter observes minimum and maximum, found {quantization.observer!r}",
            "use quantization.backend=litert",
        )


def _check_mode(quantization: Quantization, offer: Offer) -> None:
    mode, backend = quantization.mode, quantization.backend
    if quantization.io not in offer.io:
        raise ConfigError(
            f"quantization.io: {quantization.io!r} needs full-integer int8, found quantization.mode={mode}",
            "use quantization=int8, or quantization.io=float32",
        )
    for field, found, offered in (
        ("granularity", quantization.granularity, offer.granularities),
        ("algorithm", quantization.algorithm, offer.algorithms),
    ):
        if found not in offered:
            raise ConfigError(
                f"quantization.{field}: the backend {backend!r} has no {found} in {mode}; it has {', '.join(offered)}",
                _elsewhere(_PLURAL[field], found, mode, backend),
            )
    if quantization.algorithm == "mse" and quantization.granularity in _BLOCKS:
        raise ConfigError(
            f"quantization.algorithm: mse has no blocks, found quantization.granularity={quantization.granularity}",
            "use quantization.algorithm=octav, or quantization.granularity=per_channel",
        )


_PLURAL = {"granularity": "granularities", "algorithm": "algorithms"}


def _elsewhere(kind: str, found: str, mode: str, backend: str) -> str:
    """Return where something is offered: in the same mode of another backend, in other modes of this one, in other modes."""
    modes = {name: [mode for mode, offer in OFFERS[name].items() if found in getattr(offer, kind)] for name in OFFERS}
    for name, there in modes.items():
        if mode in there:
            return f"use quantization.backend={name}"
    name = backend if modes[backend] else next(name for name, there in modes.items() if there)
    return f"{found} is offered in {', '.join(modes[name])}" + (f" with quantization.backend={name}" if name != backend else "")


def _check_rules(quantization: Quantization) -> None:
    import re

    for index, rule in enumerate(quantization.rules):
        where = f"quantization.rules[{index}]"
        expect_one_of(f"{where}.mode", rule.mode, MODES)
        if rule.operator is None and rule.tensor is None:
            raise ConfigError(
                f"{where}: expected an operator, a tensor, or both; found neither",
                "e.g. `{operator: CONV_2D, tensor: ^block_1/, mode: float32}`",
            )
        try:
            re.compile(rule.tensor or "")
        except re.error as error:
            raise ConfigError(f"{where}.tensor: expected a regular expression, found {rule.tensor!r}: {error}") from None
    if quantization.rules and quantization.backend == "converter":
        raise ConfigError(
            "quantization.rules: TensorFlow's converter quantizes all operators alike", "use quantization.backend=litert"
        )


def _rule_modes(quantization: Quantization) -> list[tuple[str, str]]:
    return [(f"quantization.rules[{index}].mode", rule.mode) for index, rule in enumerate(quantization.rules)]


def _backend_with(mode: str) -> str:
    return next(backend for backend, modes in OFFERS.items() if mode in modes)
