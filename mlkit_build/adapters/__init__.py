"""Small graph edits that make a model fit its target. One module per adapter; adding one adds a line to the table below.

An adapter is a function from a frozen model and its options to a frozen model, applied at freeze in the recipe's order: each
acts on the inputs and outputs as the adapters before it left them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlkit_build.adapters import options as of
from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.plain import from_plain
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

__all__ = ["ADAPTERS", "Adapter", "FrozenModel", "adapt", "parse"]


@dataclass(frozen=True)
class Adapter:
    """A line of the table.

    Attributes:
        module: Has `adapt(model, options)`. Importing it imports NumPy.
        options: The dataclass of its options.
        summary: One line for a reader of recipes.
        example: An entry of `adapters`, as a recipe spells it.
    """

    module: str
    options: type
    summary: str
    example: str


ADAPTERS = {
    "rgb_to_grayscale": Adapter(
        "mlkit_build.adapters.rgb_to_grayscale", of.InputOptions, "A model of grey images takes RGB.", "rgb_to_grayscale"
    ),
    "bgr_to_rgb": Adapter("mlkit_build.adapters.bgr_to_rgb", of.InputOptions, "A model trained on BGR takes RGB.", "bgr_to_rgb"),
    "nchw_to_nhwc": Adapter(
        "mlkit_build.adapters.nchw_to_nhwc",
        of.NchwToNhwcOptions,
        "Channels first becomes channels last: [1, C, H, W] to [1, H, W, C].",
        "{nchw_to_nhwc: {inputs: [image], outputs: [mask]}}",
    ),
    "normalize": Adapter(
        "mlkit_build.adapters.normalize",
        of.NormalizeOptions,
        "The model computes (x - mean) / std by itself; the app feeds raw values.",
        "{normalize: {mean: [127.5], std: [127.5]}}",
    ),
    "resize": Adapter(
        "mlkit_build.adapters.resize",
        of.ResizeOptions,
        "The app feeds images of another size; the model resizes them.",
        "{resize: {height: 480, width: 640, method: bilinear}}",
    ),
    "cast_input": Adapter(
        "mlkit_build.adapters.cast_input",
        of.CastInputOptions,
        "The app feeds another type, e.g. uint8 pixels to a float model.",
        "{cast_input: {dtype: uint8}}",
    ),
    "softmax": Adapter(
        "mlkit_build.adapters.softmax", of.OutputOptions, "Logits become scores in 0..1 that sum to 1.", "softmax"
    ),
    "sigmoid": Adapter(
        "mlkit_build.adapters.sigmoid", of.OutputOptions, "Logits become scores in 0..1, each for itself.", "sigmoid"
    ),
    "argmax_to_logits": Adapter(
        "mlkit_build.adapters.argmax_to_logits",
        of.OutputOptions,
        "An output that is an ArgMax becomes what the ArgMax chose from.",
        "argmax_to_logits",
    ),
    "squeeze_output": Adapter(
        "mlkit_build.adapters.squeeze_output",
        of.SqueezeOutputOptions,
        "Axes of size 1 leave an output's shape.",
        "{squeeze_output: {axes: [1, 2]}}",
    ),
    "reshape_output": Adapter(
        "mlkit_build.adapters.reshape_output",
        of.ReshapeOutputOptions,
        "An output gets another shape of as many values.",
        "{reshape_output: {shape: [1, -1]}}",
    ),
    "select_output": Adapter(
        "mlkit_build.adapters.select_output",
        of.SelectOutputOptions,
        "Only the named outputs stay, in that order.",
        "{select_output: {outputs: [scores]}}",
    ),
}


@dataclass(frozen=True)
class FrozenModel:
    """A frozen graph and what its tensors stand for."""

    graph_def: GraphDef
    signature: FrozenSignature


def parse(name: str, options: Mapping[str, Any], where: str) -> Any:
    """Return the options of the adapter called `name`, checked as far as no graph is needed.

    Args:
        name: As the recipe spells it.
        options: Plain values by option.
        where: The recipe's field, e.g. `adapters[2]`.

    Raises:
        ConfigError: There is no such adapter or option, or a value is of another type or out of its limits.
    """
    if name not in ADAPTERS:
        raise ConfigError(f"{where}: expected one of {', '.join(ADAPTERS)}, found {name!r}", did_you_mean(name, list(ADAPTERS)))
    cls, where = ADAPTERS[name].options, f"{where}.{name}"
    known = [field.name for field in dataclasses.fields(cls)]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"{where}.{option}: no such option; expected one of {', '.join(known)}", did_you_mean(option, known)
            )
    parsed: Any = from_plain(cls, options, where)
    try:
        of.check(parsed)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error.message}", error.hint) from None
    return parsed


def adapt(model: FrozenModel, name: str, options: Mapping[str, Any] | None = None, where: str = "adapters") -> FrozenModel:
    """Apply the adapter called `name`; return a model in canonical form.

    Args:
        model: Constants for variables, static shapes.
        name: As the recipe spells it.
        options: Plain values by option.
        where: The recipe's field, e.g. `adapters[2]`.

    Raises:
        ConfigError: It does not apply to this model, or its options are wrong.
    """
    from mlkit_build.graphs import TensorName, canonical_form

    parsed = parse(name, options or {}, where)
    try:
        adapted: FrozenModel = import_module(ADAPTERS[name].module).adapt(model, parsed)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", error.hint) from None
    outputs = [TensorName.parse(spec.tensor) for spec in adapted.signature.outputs]
    return FrozenModel(canonical_form(adapted.graph_def, outputs), adapted.signature)
