"""Every check of a recipe that needs no file: values out of their limits, and values that contradict each other."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from mlkit_build.errors import ConfigError, expect_one_of
from mlkit_build.plain import to_plain
from mlkit_build.quantization.offers import check_offered
from mlkit_build.recipe.dataset_checks import check_dataset, check_function, check_sha256, check_timeout
from mlkit_build.recipe.float32 import check_scaling
from mlkit_build.recipe.label_checks import check_labels, check_metadata
from mlkit_build.recipe.package import ANY_RUNTIME
from mlkit_build.recipe.packaging_checks import check_package
from mlkit_build.recipe.quantization import STATIC_MODES
from mlkit_build.recipe.schema import (
    ML_KIT_TARGETS,
    TARGETS,
    UI_MODES,
    Adapter,
    AnySource,
    Input,
    Python,
    Recipe,
    Settings,
    Signature,
    Tf1Checkpoint,
)
from mlkit_build.recipe.validation_checks import check_validation

UNROLL = ("auto", "always", "never")
BEST = "best"
"""The folder of the bundle that `select=` chooses, beside those of the variants."""
_RUNTIME = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}(\.[0-9]{1,9})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose values contradict each other or the field's limits, before any file is opened.

    Raises:
        ConfigError: Names the field, what was found, and what was expected.
    """
    _check_names(recipe)
    _check_finite("", to_plain(recipe))
    _check_source(recipe.source)
    _check_signature(recipe.signature)
    check_offered(recipe.quantization)
    expect_one_of("target.task", recipe.target.task, TARGETS)
    _check_adapters(recipe.adapters)
    _check_freeze(recipe)
    _check_quantization(recipe)
    _check_package(recipe)
    check_dataset("dataset", recipe.dataset, recipe.signature)
    check_dataset("calibration", recipe.calibration, recipe.signature)
    check_labels(recipe.labels, recipe.dataset)
    check_metadata(recipe.metadata, recipe.labels)
    check_validation(recipe)
    check_package(recipe)


def check_settings(settings: Settings) -> None:
    """Refuse settings outside their limits.

    Raises:
        ConfigError: Names the field.
    """
    expect_one_of("ui", settings.ui, UI_MODES)
    if settings.jobs is not None and settings.jobs < 1:
        raise ConfigError(f"jobs: expected at least 1, found {settings.jobs}")
    if not settings.output_dir:
        raise ConfigError("output_dir: expected a folder, found an empty text")
    for field in ("junit", "github_summary"):
        if getattr(settings, field) == "":
            raise ConfigError(f"{field}: expected a file, found an empty text")


def _check_names(recipe: Recipe) -> None:
    if not _NAME.fullmatch(recipe.name):
        raise ConfigError(
            f"name: expected letters, digits, `_`, `-` and `.`, starting with a letter or digit, found {recipe.name!r}"
        )
    if not _NAME.fullmatch(recipe.variant_name):
        raise ConfigError(
            f"variant: expected letters, digits, `_`, `-` and `.`, starting with a letter or digit, found {recipe.variant!r}"
        )
    if recipe.variant_name.casefold() == BEST:  # there are file systems that know one case
        raise ConfigError(
            f"variant: {recipe.name}/{BEST} is where select= publishes the best variant of a sweep, found {recipe.variant!r}",
            "give the variant another name",
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
        tensor = signature.outputs[name].tensor or name
        raise ConfigError(
            f"signature: {name!r} names an input and an output; expected different names",
            f'name the output otherwise and say which it is: `outputs: {{{name}_out: {{tensor: "{tensor}"}}}}`',
        )


def _check_normalization(where: str, spec: Input) -> None:
    if (spec.mean is None) != (spec.std is None):
        present, absent = ("mean", "std") if spec.std is None else ("std", "mean")
        raise ConfigError(f"{where}.{absent}: missing, though {present} is given; expected both or neither")
    if spec.mean is None or spec.std is None:
        return
    for key, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) not in (1, 3):
            raise ConfigError(f"{where}.{key}: expected 1 or 3 values, found {len(values)}")
    check_scaling((f"{where}.mean", f"{where}.std"), spec.mean, spec.std)


def _check_source(source: AnySource) -> None:
    if isinstance(source, Python):
        check_function("source.function", source.function, "model.py:build")
        check_timeout("source.timeout_s", source.timeout_s)
        return
    _check_remote_graph(source)
    if not source.path:
        raise ConfigError("source.path: expected a path, found an empty text")
    check_sha256("source.sha256", source.sha256)


def _check_remote_graph(source: AnySource) -> None:
    """One digest is stated for a source: a graph in an archive must be in that of the checkpoint."""
    if isinstance(source, Tf1Checkpoint) and source.graph and "://" in source.graph:
        archive = source.graph.partition("::")[2]
        if not archive or archive != source.path.partition("::")[2]:
            raise ConfigError(
                "source.graph: expected a place in the archive that source.path names, found another one",
                "put both into one archive, or copy the graph beside the recipe",
            )


def _check_adapters(adapters: tuple[Adapter, ...]) -> None:
    from mlkit_build.adapters import parse

    for index, adapter in enumerate(adapters):
        parse(adapter.name, adapter.options, f"adapters[{index}]")


def _check_freeze(recipe: Recipe) -> None:
    unroll = recipe.freeze.unroll
    if unroll not in UNROLL and not (unroll.isascii() and unroll.isdigit() and int(unroll) > 0):
        raise ConfigError(f"freeze.unroll: expected {', '.join(UNROLL)} or a number of steps, found {unroll!r}")
    if recipe.convert.allow_select_ops and recipe.target.task != "custom":
        raise ConfigError(
            f"convert.allow_select_ops: ML Kit (target.task={recipe.target.task}) runs no TensorFlow operators",
            "use target=custom, or cut the graph before the operators that LiteRT lacks",
        )
    if recipe.convert.allow_select_ops and recipe.quantization.needs_calibration:
        raise ConfigError(
            "convert.allow_select_ops: calibration cannot observe Flex operators, "
            f"found quantization.mode={recipe.quantization.mode}",
            "use quantization=float16 or quantization=dynamic_range",
        )


def _check_quantization(recipe: Recipe) -> None:
    quantization = recipe.quantization
    if quantization.needs_calibration and recipe.calibration is None:
        static = [
            f"rules[{index}].mode={rule.mode}" for index, rule in enumerate(quantization.rules) if rule.mode in STATIC_MODES
        ]
        why = f"mode={quantization.mode}" if quantization.mode in STATIC_MODES else [*static, "algorithm=gptq"][0]
        raise ConfigError(
            f"calibration: missing, and quantization.{why} needs samples to observe",
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
                    "use quantization.io=float32, or put `{normalize: {mean: ..., std: ...}}` into adapters and state mean [0] "
                    "and std [1]",
                )


def _check_package(recipe: Recipe) -> None:
    stated = recipe.package.min_runtime
    if stated is not None and stated != ANY_RUNTIME and not _RUNTIME.fullmatch(stated):
        raise ConfigError(
            f"package.min_runtime: expected a version of TensorFlow Lite or `{ANY_RUNTIME}`, found {stated!r}",
            'e.g. `min_runtime: "2.14"`',
        )
