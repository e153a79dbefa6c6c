"""The recipe: what one export is, as frozen dataclasses, and every check that needs no file.

`mlkit_build.config` turns these classes into Hydra's structured configs; everything after composing receives the frozen
objects. A field is documented once, in its class's `Attributes`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.plain import to_plain

MANDATORY = "???"
"""OmegaConf's spelling of "this value must be given"."""

MODES = ("float32", "float16", "dynamic_range", "int8")
STATIC_MODES = ("int8",)
IO_TYPES = ("float32", "uint8", "int8")
ML_KIT_TARGETS = ("image_labeling", "object_detection")
TARGETS = (*ML_KIT_TARGETS, "custom")
UI_MODES = ("auto", "plain", "rich", "json", "quiet")


@dataclass(frozen=True, kw_only=True)
class Input:
    """One named input of the model.

    Attributes:
        tensor: The graph tensor it stands for, `name:0` or `name`.
        shape: The static shape, batch first, e.g. `[1, 224, 224, 3]`. Left out, the graph's own shape is taken, with an
            unknown batch pinned to 1.
        mean: Per channel, or one for all: the model wants `(pixel - mean) / std` of pixels in 0..255. Stated together
            with `std`, it says that this input is an image.
        std: See `mean`.
    """

    tensor: str = MANDATORY
    shape: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """One named output of the model.

    Attributes:
        tensor: The graph tensor it stands for, `name:0` or `name`.
    """

    tensor: str = MANDATORY


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The named inputs and outputs, and the graph tensors they stand for.

    Attributes:
        inputs: Name -> input, in the order the model takes them.
        outputs: Name -> output, in the order the model returns them.
        constants: Placeholder tensor -> the value it gets for good, e.g. `{"keep_prob:0": 1.0, "is_training:0": false}`.
    """

    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tf1Checkpoint:
    """A TensorFlow 1 checkpoint with its graph.

    Attributes:
        kind: `tf1_checkpoint`.
        path: The checkpoint's prefix (`model/mnist.ckpt`) or its `.meta` file, relative to the recipe's folder.
    """

    kind: str = "tf1_checkpoint"
    path: str = MANDATORY


@dataclass(frozen=True, kw_only=True)
class FrozenGraph:
    """A GraphDef whose variables are constants already.

    Attributes:
        kind: `frozen_graph`.
        path: The binary `.pb` file, relative to the recipe's folder.
    """

    kind: str = "frozen_graph"
    path: str = MANDATORY


@dataclass(frozen=True, kw_only=True)
class Npz:
    """Samples in a NumPy archive, one array per feature, sample first.

    Attributes:
        kind: `npz`.
        path: The `.npz` file, relative to the recipe's folder.
        features: Model input -> array of the archive. Images are pixels in 0..255, before `mean` and `std`.
        label: The array of class indices, one integer per sample; without it only parity can be measured.
        samples: How many samples to use; all when left out. The choice is by content hash, so the order in the file
            does not matter.
        seed: Makes another choice of the same size.
    """

    kind: str = "npz"
    path: str = MANDATORY
    features: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    samples: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How weights and activations are stored and computed.

    Attributes:
        mode: `float32`; `float16` (half-size weights, float compute); `dynamic_range` (int8 weights, activations
            quantized as the model runs); `int8` (full integer, needs calibration samples).
        io: Type of the model's inputs and outputs: `float32`, `uint8` or `int8`. Only int8 models take the integer types.
    """

    mode: str = "float32"
    io: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the package must satisfy.

    Attributes:
        task: `image_labeling` or `object_detection` (ML Kit's custom-model tasks), or `custom` (any LiteRT interpreter).
    """

    task: str = "custom"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Limits of one measured value.

    Attributes:
        min: The value may not be below this.
        max: The value may not be above this.
        max_drop: The value may be at most this much below TensorFlow's on the same samples.
    """

    min: float | None = None
    max: float | None = None
    max_drop: float | None = None


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What is measured on the dataset, and how good it must be.

    Attributes:
        metrics: Names from the table of metrics; parity with TensorFlow is always measured.
        gates: Measured value -> its limits.
        output: The output that classification metrics read; the first one when left out.
    """

    metrics: tuple[str, ...] = ()
    gates: Mapping[str, Gate] = field(default_factory=dict)
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One export.

    Attributes:
        name: The recipe's name: letters, digits, `_`, `-`, `.`; names the bundle and the model file.
        version: The export's own version, e.g. `1.0.0`.
        description: One line on what the model is.
        author: Who answers for the model.
        license: SPDX identifier of the model's licence.
        source: Where the trained model comes from.
        signature: The named inputs and outputs.
        adapters: Graph edits made at freeze, in order.
        labels: The labels file, one class per line, relative to the recipe's folder.
        dataset: What the model is measured on.
        calibration: What static quantization observes; shares no sample with `dataset`.
        quantization: How the model is quantized.
        target: What the package must satisfy.
        validation: Metrics and gates.
        variant: The bundle's folder under the recipe's name; the quantization names it when left out.
    """

    name: str = MANDATORY
    version: str = "0.0.0"
    description: str = ""
    author: str = ""
    license: str = ""
    source: Tf1Checkpoint | FrozenGraph
    signature: Signature = field(default_factory=Signature)
    adapters: tuple[str, ...] = ()
    labels: str | None = None
    dataset: Npz | None = None
    calibration: Npz | None = None
    quantization: Quantization = field(default_factory=Quantization)
    target: Target = field(default_factory=Target)
    validation: Validation = field(default_factory=Validation)
    variant: str | None = None

    @property
    def variant_name(self) -> str:
        """The bundle's folder: `variant`, else the mode and, where it is not float32, the I/O type: `int8_uint8`."""
        if self.variant:
            return self.variant
        quantization = self.quantization
        return quantization.mode if quantization.io == "float32" else f"{quantization.mode}_{quantization.io}"


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The build cache.

    Attributes:
        dir: Its folder; the platform's cache folder when left out (`MLKIT_BUILD_CACHE` overrides that).
        enabled: False builds everything and keeps nothing.
    """

    dir: str | None = None
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run a build. Nothing here can change what is built.

    Attributes:
        output_dir: Where bundles are published, as `<output_dir>/<recipe>/<variant>`.
        cache: The build cache.
        ui: `auto` (rich on a terminal, plain lines elsewhere), `plain`, `rich`, `json` (one object per job), `quiet`.
        jobs: How many actions may run at once; one per core when left out.
    """

    output_dir: str = "dist"
    cache: Cache = field(default_factory=Cache)
    ui: str = "auto"
    jobs: int | None = None


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose values contradict each other or the field's limits, before any file is opened.

    Raises:
        ConfigError: Names the field, what was found, and what was expected.
    """
    _check_names(recipe)
    _check_finite("", to_plain(recipe))
    _check_signature(recipe.signature)
    _one_of("quantization.mode", recipe.quantization.mode, MODES)
    _one_of("quantization.io", recipe.quantization.io, IO_TYPES)
    _one_of("target.task", recipe.target.task, TARGETS)
    _check_adapters(recipe.adapters)
    _check_quantization(recipe)
    _check_dataset("dataset", recipe.dataset, recipe.signature)
    _check_dataset("calibration", recipe.calibration, recipe.signature)
    _check_validation(recipe)


def check_settings(settings: Settings) -> None:
    """Refuse settings outside their limits.

    Raises:
        ConfigError: Names the field.
    """
    _one_of("ui", settings.ui, UI_MODES)
    if settings.jobs is not None and settings.jobs < 1:
        raise ConfigError(f"jobs: expected at least 1, found {settings.jobs}")
    if not settings.output_dir:
        raise ConfigError("output_dir: expected a folder, found an empty text")


def _check_names(recipe: Recipe) -> None:
    if not _NAME.fullmatch(recipe.name):
        raise ConfigError(
            f"name: expected letters, digits, `_`, `-` and `.`, starting with a letter or digit, found {recipe.name!r}"
        )
    if not _NAME.fullmatch(recipe.variant_name):
        raise ConfigError(
            f"variant: expected letters, digits, `_`, `-` and `.`, starting with a letter or digit, found {recipe.variant!r}"
        )


def _check_finite(where: str, value: Any) -> None:
    """Refuse NaN and infinity anywhere: no file that states them is valid JSON, and no limit or mean can be either."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_finite(f"{where}.{key}" if where else key, item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_finite(f"{where}[{index}]", item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, found {value}")


def _check_signature(signature: Signature) -> None:
    if not signature.inputs:
        raise ConfigError(
            "signature.inputs: expected at least one input, found none",
            'state it as `inputs: {image: {tensor: "image:0", shape: [1, 28, 28, 1]}}`',
        )
    if not signature.outputs:
        raise ConfigError(
            "signature.outputs: expected at least one output, found none",
            'state it as `outputs: {scores: {tensor: "softmax:0"}}`',
        )
    for name, spec in signature.inputs.items():
        where = f"signature.inputs.{name}"
        if spec.shape is not None and any(size < 1 for size in spec.shape):
            raise ConfigError(
                f"{where}.shape: expected every dimension to be at least 1, found {list(spec.shape)}",
                "the converter needs static shapes; pin the batch to 1",
            )
        _check_normalization(where, spec)
    for tensor, value in signature.constants.items():
        if value is None:
            raise ConfigError(
                f"signature.constants.{tensor}: expected a value, found null",
                "keep probabilities are 1.0 and is_training is false",
            )
    for name in {*signature.inputs} & {*signature.outputs}:
        raise ConfigError(f"signature: {name!r} names an input and an output; expected different names")


def _check_normalization(where: str, spec: Input) -> None:
    if (spec.mean is None) != (spec.std is None):
        present, absent = ("mean", "std") if spec.std is None else ("std", "mean")
        raise ConfigError(f"{where}.{absent}: missing, though {present} is given; expected both or neither")
    if spec.mean is None or spec.std is None:
        return
    for key, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) not in (1, 3):
            raise ConfigError(f"{where}.{key}: expected 1 or 3 values, found {len(values)}")
    if any(value == 0 for value in spec.std):
        raise ConfigError(f"{where}.std: expected values other than 0, found {list(spec.std)}")


def _check_adapters(adapters: tuple[str, ...]) -> None:
    from mlkit_build.adapters import ADAPTERS

    for index, name in enumerate(adapters):
        _one_of(f"adapters[{index}]", name, tuple(ADAPTERS))


def _check_quantization(recipe: Recipe) -> None:
    quantization = recipe.quantization
    if quantization.io != "float32" and quantization.mode not in STATIC_MODES:
        raise ConfigError(
            f"quantization.io: {quantization.io!r} needs a full-integer mode, found quantization.mode={quantization.mode}",
            "use quantization=int8, or quantization.io=float32",
        )
    if quantization.mode in STATIC_MODES and recipe.calibration is None:
        raise ConfigError(
            f"calibration: missing, and quantization.mode={quantization.mode} needs samples to observe",
            "add `calibration: {kind: npz, path: ..., features: {...}}` with samples of the training set, "
            "or use quantization=dynamic_range",
        )
    if quantization.io == "int8" and recipe.target.task in ML_KIT_TARGETS:
        raise ConfigError(
            f"quantization.io: 'int8' is refused by ML Kit (target.task={recipe.target.task}), which takes uint8 or float32",
            "use quantization.io=uint8 or quantization.io=float32",
        )
    if quantization.io == "uint8":
        for name, spec in recipe.signature.inputs.items():
            if len(set(spec.mean or ())) > 1 or len({abs(value) for value in spec.std or ()}) > 1:
                raise ConfigError(
                    f"quantization.io: 'uint8' feeds raw pixels, but signature.inputs.{name} has another mean or std per channel",
                    "use quantization.io=float32",
                )


def _check_dataset(where: str, dataset: Npz | None, signature: Signature) -> None:
    if dataset is None:
        return
    for name in dataset.features:
        if name not in signature.inputs:
            raise ConfigError(
                f"{where}.features.{name}: no such input; expected one of {', '.join(signature.inputs)}",
                did_you_mean(name, list(signature.inputs)),
            )
    for name in signature.inputs:
        if name not in dataset.features:
            raise ConfigError(f"{where}.features: nothing feeds the input {name!r}", f"add `{name}: <array>`")
    if dataset.samples is not None and dataset.samples < 1:
        raise ConfigError(f"{where}.samples: expected at least 1, found {dataset.samples}")


def _check_validation(recipe: Recipe) -> None:
    from mlkit_build.metrics import ALWAYS, METRICS, values_of

    validation = recipe.validation
    for index, metric in enumerate(validation.metrics):
        _one_of(f"validation.metrics[{index}]", metric, tuple(METRICS))
    if validation.output is not None:
        _one_of("validation.output", validation.output, tuple(recipe.signature.outputs))
    if (validation.metrics or set(validation.gates) - {"size_bytes"}) and recipe.dataset is None:
        raise ConfigError(
            "dataset: missing, and validation has metrics or gates that need samples",
            "add `dataset: {kind: npz, path: ..., features: {...}, label: ...}`",
        )
    if recipe.dataset and recipe.dataset.label is None:
        for metric in validation.metrics:
            if METRICS[metric].needs_labels:
                raise ConfigError(f"dataset.label: missing, and validation.metrics asks for {metric}")
    measured = ["size_bytes", *values_of((*ALWAYS, *validation.metrics))]
    for name, gate in validation.gates.items():
        if name not in measured:
            raise ConfigError(
                f"validation.gates.{name}: nothing measures it; expected one of {', '.join(measured)}",
                f"add {name} to validation.metrics" if name in METRICS else did_you_mean(name, measured),
            )
        if gate == Gate():
            raise ConfigError(f"validation.gates.{name}: expected min, max or max_drop, found none")
        if gate.max_drop is not None and not (name in METRICS and METRICS[name].has_reference):
            raise ConfigError(f"validation.gates.{name}.max_drop: this value has no TensorFlow counterpart to drop from")


def _one_of(where: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise ConfigError(f"{where}: expected one of {', '.join(known)}, found {found!r}", did_you_mean(found, known))
