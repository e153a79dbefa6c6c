"""The recipe's dataclasses: documented, composable, and what the checks that need no file let through."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.config.schema import GROUPS
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import (
    IO_TYPES,
    ML_KIT_TARGETS,
    MODES,
    STATIC_MODES,
    TARGETS,
    Gate,
    Input,
    MetricChoice,
    Npz,
    Output,
    Quantization,
    Recipe,
    Settings,
    Signature,
    Target,
    Tf1Checkpoint,
    Validation,
    array_files,
    check,
    check_settings,
    made_samples,
    quantization,
    record_files,
    sample_folders,
    schema,
    validation,
)

CLASSES = [
    found
    for module in (schema, array_files, made_samples, record_files, sample_folders, quantization, validation)
    for _, found in inspect.getmembers(module, dataclasses.is_dataclass)
    if found.__module__ == module.__name__
]


def documented(cls: type) -> list[str]:
    """Return the names that the class's `Attributes` section explains, in order."""
    _, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    return re.findall(r"^ {4}(\w+): \S", attributes, re.MULTILINE)


def sample(**changes: Any) -> Recipe:
    """Return a small recipe that holds."""
    plain = Recipe(
        name="sample",
        source=Tf1Checkpoint(path="model.ckpt"),
        signature=Signature(
            inputs={"image": Input(tensor="image:0", mean=(0.0,), std=(255.0,))}, outputs={"scores": Output(tensor="scores:0")}
        ),
        dataset=Npz(path="a.npz", features={"image": "images"}, label="labels"),
        calibration=Npz(path="b.npz", features={"image": "images"}),
    )
    return replace(plain, **changes)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_of_a_recipe_class_is_explained_in_its_order(cls: type) -> None:
    assert documented(cls) == [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_recipe_objects_cannot_be_changed(cls: type) -> None:
    empty = object.__new__(cls)
    for field in dataclasses.fields(cls):
        object.__setattr__(empty, field.name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(empty, field.name, 1)


def test_every_kind_is_among_the_recipe_classes() -> None:
    assert {kind for kinds in GROUPS.values() for kind in kinds} <= set(CLASSES)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_a_choice_in_conf_of_the_same_name(mode: str) -> None:
    from mlkit_build.config.roots import builtin

    assert f"mode: {mode}\n" in (builtin("conf") / f"quantization/{mode}.yaml").read_text()


@pytest.mark.parametrize("task", TARGETS)
def test_every_target_has_a_choice_in_conf_of_the_same_name(task: str) -> None:
    from mlkit_build.config.roots import builtin

    assert f"task: {task}\n" in (builtin("conf") / f"target/{task}.yaml").read_text()


def combinations() -> Iterator[tuple[str, str, str]]:
    """Yield every mode, I/O type and target."""
    for mode in MODES:
        for io in IO_TYPES:
            for task in TARGETS:
                yield mode, io, task


@pytest.mark.parametrize(("mode", "io", "task"), list(combinations()))
def test_io_types_are_taken_exactly_where_model_and_target_can(mode: str, io: str, task: str) -> None:
    recipe = sample(quantization=Quantization(mode=mode, io=io), target=Target(task=task))
    possible = (io == "float32" or mode == "int8") and not (io == "int8" and task in ML_KIT_TARGETS)
    if possible:
        check(recipe)
        return
    with pytest.raises(ConfigError, match=r"^quantization\.io: "):
        check(recipe)


def test_calibration_is_needed_by_static_modes_alone() -> None:
    for mode in MODES:
        recipe = sample(quantization=Quantization(mode=mode), calibration=None)
        if mode not in STATIC_MODES:
            check(recipe)
            continue
        with pytest.raises(ConfigError, match=r"^calibration: missing"):
            check(recipe)


def test_raw_pixels_need_one_mean_and_std_for_all_channels() -> None:
    def images(mean: tuple[float, ...]) -> Recipe:
        inputs = {"image": Input(tensor="image:0", mean=mean, std=(255.0,))}
        return sample(
            signature=Signature(inputs=inputs, outputs={"scores": Output(tensor="scores:0")}),
            quantization=Quantization(mode="int8", io="uint8"),
        )

    check(images((127.5, 127.5, 127.5)))
    with pytest.raises(ConfigError, match="another mean or std per channel"):
        check(images((123.7, 116.8, 103.9)))


@pytest.mark.parametrize(
    ("quantization", "variant", "name"),
    [
        (Quantization(), None, "float32"),
        (Quantization(mode="int8"), None, "int8"),
        (Quantization(mode="int8", io="uint8"), None, "int8_uint8"),
        (Quantization(mode="int8", io="uint8"), "phone", "phone"),
    ],
)
def test_the_variant_is_named_by_mode_and_io_unless_stated(quantization: Quantization, variant: str | None, name: str) -> None:
    assert sample(quantization=quantization, variant=variant).variant_name == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-a", ".a", "a\n", "ä", "a" * 101, "a\0"])
def test_a_name_that_would_be_no_plain_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^name: "):
        check(sample(name=name))
    if name:
        with pytest.raises(ConfigError, match=r"^variant: "):
            check(sample(variant=name))


@pytest.mark.parametrize("name", ["a", "A1", "mobilenet_v2-1.0.224", "7", "a" * 100])
def test_plain_names_are_taken(name: str) -> None:
    check(sample(name=name, variant=name))


@pytest.mark.parametrize(
    ("name", "gate", "problem"),
    [
        ("top1", Gate(min=0.9), ""),
        ("top1", Gate(max_drop=0.01), ""),
        ("size_bytes", Gate(max=1000.0), ""),
        ("max_abs_error", Gate(max=0.1), ""),
        ("size_bytes", Gate(max_drop=1.0), "no TensorFlow counterpart"),
        ("max_abs_error", Gate(max_drop=1.0), "no TensorFlow counterpart"),
        ("top1", Gate(), "expected min, max, max_drop or max_regression"),
        ("top1", Gate(max_drop=0.01, significance=0.05), ""),
        ("top1", Gate(max_drop=0.01, significance=1.0), "expected a number between 0 and 1"),
        ("top1", Gate(min=0.9, significance=0.05), "there is no max_drop"),
        ("top1", Gate(max_drop=-0.01, significance=0.05), "max_drop of -0.01 asks for a gain"),
        ("size_bytes", Gate(max_regression=1000.0), "there is no baseline"),
        ("top5", Gate(min=0.9), "nothing measures it"),
        ("top1", Gate(max=-1.0), r"top1\.max: expected at least 0, found -1"),
        ("top1", Gate(min=-0.1), r"top1\.min: expected at least 0, found -0\.1"),
        ("top1", Gate(max=95.0), r"top1\.max: expected at most 1, found 95"),
        ("top1", Gate(min=0.9, max=0.5), "expected min not above max, found min 0.9 and max 0.5"),
        ("top1", Gate(min=0.9, max=0.9), ""),
        ("top1", Gate(max_drop=-0.01), ""),
        ("size_bytes", Gate(max=-1.0), r"size_bytes\.max: expected at least 0, found -1"),
        ("max_abs_error", Gate(max=-1e-9), "expected at least 0"),
        ("cosine", Gate(min=-1.0), ""),
        ("cosine", Gate(min=-1.5), "expected at least -1, found -1.5"),
        ("sqnr_db", Gate(min=-3.0), ""),
        ("top1", Gate(max=float("inf")), "expected a finite number"),
        ("top1", Gate(min=float("nan")), "expected a finite number"),
    ],
)
def test_a_gate_is_taken_exactly_where_something_measures_it(name: str, gate: Gate, problem: str) -> None:
    recipe = sample(validation=Validation(metrics=(MetricChoice(name="top1"),), gates={name: gate}))
    if not problem:
        check(recipe)
        return
    with pytest.raises(ConfigError, match=problem) as caught:
        check(recipe)
    assert caught.value.message.startswith(f"validation.gates.{name}")


def test_a_size_gate_needs_no_dataset() -> None:
    check(sample(dataset=None, validation=Validation(gates={"size_bytes": Gate(max=1000.0)})))


@pytest.mark.parametrize("constants", [{"p:0": float("nan")}, {"p:0": [1.0, float("inf")]}, {"p:0": None}])
def test_a_constant_without_a_usable_value_is_refused(constants: Mapping[str, Any]) -> None:
    signature = replace(sample().signature, constants=constants)
    with pytest.raises(ConfigError, match=r"^signature\.constants\.p:0"):
        check(sample(signature=signature))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (Settings(ui="loud"), "ui"),
        (Settings(jobs=0), "jobs"),
        (Settings(jobs=-1), "jobs"),
        (Settings(output_dir=""), "output_dir"),
    ],
)
def test_settings_outside_their_limits_name_the_field(settings: Settings, field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: expected "):
        check_settings(settings)


def test_the_default_settings_hold() -> None:
    check_settings(Settings())


NUMBERS = st.lists(st.sampled_from([-1.0, 0.0, 127.5, 255.0, math.nan, math.inf]), max_size=4)


@given(mean=NUMBERS, std=NUMBERS)
def test_mean_and_std_are_taken_exactly_where_they_normalize_every_channel(mean: list[float], std: list[float]) -> None:
    inputs = {"image": Input(tensor="image:0", mean=tuple(mean) or None, std=tuple(std) or None)}
    recipe = sample(signature=Signature(inputs=inputs, outputs={"scores": Output(tensor="scores:0")}))
    finite = all(map(math.isfinite, [*mean, *std]))
    if (not mean and not std) or (finite and len(mean) in (1, 3) and len(std) in (1, 3) and 0 not in std):
        check(recipe)
        return
    with pytest.raises(ConfigError, match=r"^signature\.inputs\.image\.(mean|std)"):
        check(recipe)


@pytest.mark.parametrize(
    ("mean", "std", "field"),
    [
        ((1e39,), (1.0,), "mean"),
        ((0.0, -1e39, 0.0), (1.0,), "mean"),
        ((0.0,), (1e39,), "std"),
        ((0.0,), (1e-50,), "std"),  # 0 in float32
        ((0.0,), (1.0, 1.0, 1e-45), "std"),  # a float32, but 255 of them are none
    ],
)
def test_numbers_that_float32_does_not_hold_are_refused(mean: tuple[float, ...], std: tuple[float, ...], field: str) -> None:
    inputs = {"image": Input(tensor="image:0", mean=mean, std=std)}
    with pytest.raises(ConfigError, match=rf"^signature\.inputs\.image\.{field}: expected .* float32"):
        check(sample(signature=Signature(inputs=inputs, outputs={"scores": Output(tensor="scores:0")})))


@pytest.mark.parametrize("limit", ["min", "max_drop"])
def test_a_gate_in_percent_is_told_that_it_wants_a_share(limit: str) -> None:
    gates = {"top1": Gate(**{limit: 95.0})}
    with pytest.raises(ConfigError, match=rf"validation\.gates\.top1\.{limit}: expected at most 1, found 95") as caught:
        check(sample(validation=Validation(metrics=(MetricChoice(name="top1"),), gates=gates)))
    assert caught.value.hint.endswith("0.95")


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("mode", MODES)
def test_select_ops_are_taken_exactly_where_they_can_run_and_be_quantized(mode: str, task: str) -> None:
    recipe = sample(convert=schema.Convert(allow_select_ops=True), quantization=Quantization(mode=mode), target=Target(task=task))
    if task == "custom" and mode not in STATIC_MODES:
        check(recipe)
        return
    with pytest.raises(ConfigError, match=r"^convert\.allow_select_ops: ") as caught:
        check(recipe)
    if task == "custom":
        assert caught.value.hint == "use quantization=float16 or quantization=dynamic_range"


def test_an_output_with_an_inputs_name_is_told_how_to_be_called() -> None:
    outputs = {"x": schema.Output(), "y": schema.Output()}
    with pytest.raises(ConfigError, match="'x' names an input and an output") as caught:
        check(sample(signature=schema.Signature(inputs={"x": schema.Input()}, outputs=outputs)))
    assert '`outputs: {x_out: {tensor: "x"}}`' in caught.value.hint
