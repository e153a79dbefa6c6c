"""Key documents in the recipe's words: every param of every action has a field that a user can look for."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

from mlkit_build.changes import Change
from mlkit_build.engine import Action, Decision, OutputOf
from mlkit_build.pipeline.wording import explained, telling
from mlkit_build.recipe import Keras, Npz, Recipe
from mlkit_build.stages import params

PARAMS = {
    f"{name.removesuffix('Params').lower()}.{field.name}": (name.removesuffix("Params"), field.name)
    for name, cls in inspect.getmembers(params, dataclasses.is_dataclass)
    if name.endswith("Params") and name != "AttributeParams"  # no build has it
    for field in dataclasses.fields(cls)
}
ACTIONS = {"QuantizeGraph": "quantize_graph"}
NO_FIELD = {
    "latency.host": "machine",
    "origin.freeze": "freeze",
    "app.samples": "samples that are viewed as an app does",
    "package.not_viewed": "why the file is not viewed as an app does",
    "package.verdicts": "verdicts of validation.gates",
    "package.runtimes": "verdicts of validation.runtimes",
}
"""Params that come from no field of the recipe alone."""


RECIPE = Recipe(
    name="mine",
    source=Keras(path="m.keras"),
    dataset=Npz(path="../../data/test.npz", features={"x": "x"}),
    calibration=Npz(path="https://me:secret@example.org/calibration.npz", features={"x": "x"}),
)


def said(action: Action, *changes: Change, key: str = "k") -> list[str]:
    return [str(line) for line in explained(Decision(action, key, {}, None, "", changes), RECIPE)]


def an_action(name: str) -> Action:
    stage = {"freeze": "freeze"}.get(name, "validate")
    inputs = {
        "float.tflite": OutputOf("convert", "float.tflite"),
        "dataset": Path("/somewhere/test.npz"),
        "source/meta": Path("/somewhere/m.ckpt.meta"),
        "metric_code/metrics/own.py": Path("/somewhere/metrics/own.py"),
        "labels.de": Path("/somewhere/de.txt"),
        "model.py": Path("/somewhere/model.py"),
    }
    return Action(name, stage, 1, "python", "m:f", {}, inputs, ())


@pytest.mark.parametrize("param", PARAMS)
def test_every_param_is_a_field_of_the_recipe(param: str) -> None:
    cls, field = PARAMS[param]
    action = an_action(ACTIONS.get(cls, cls.lower()))
    (line,) = said(action, Change(f"params.{field}", "changed", 1, 2))
    assert line.endswith(": 1 -> 2")
    named = line.removesuffix(": 1 -> 2")
    if param in NO_FIELD:
        assert named == NO_FIELD[param]
    else:
        assert named.partition(".")[0].partition(",")[0].split()[0] in {part.name for part in dataclasses.fields(Recipe)}


@pytest.mark.parametrize(
    ("action", "path", "line"),
    [
        ("quantize", "params.mode", "quantization.mode: int8 -> float16"),
        ("calibrate", "params.dataset.samples", "calibration.samples: int8 -> float16"),
        ("evaluate", "params.dataset.samples", "dataset.samples: int8 -> float16"),
        ("origin", "params.freeze.inputs.image.shape[1]", "signature.inputs.image.shape[1]: int8 -> float16"),
        ("origin", "params.freeze.adapters", "adapters: int8 -> float16"),
        ("describe", "params.limit.runtime", "package.min_runtime: int8 -> float16"),
        ("runtime-tflite_runtime-2.14", "params.version", "validation.runtimes, version: int8 -> float16"),
        ("app", "params.labels.names", "dataset.classes: int8 -> float16"),
        ("freeze", "toolchain.tensorflow", "tensorflow: int8 -> float16"),
        ("freeze", "version", "version of mlkit-build's freeze: int8 -> float16"),
        ("freeze", "schema", "schema of mlkit-build's cache: int8 -> float16"),
        ("freeze", "inputs.model.py", "source (model.py): other content"),
        ("origin", "inputs.source/meta", "source (m.ckpt.meta): other content"),
        ("evaluate", "inputs.metric_code/metrics/own.py", "validation.metrics (metrics/own.py): other content"),
        ("evaluate", "inputs.dataset", "dataset (../../data/test.npz): other content"),
        ("evaluate", "inputs.calibration", "calibration (https://example.org/calibration.npz): other content"),
        ("describe", "inputs.labels.de", "labels.locales.de: other content"),
        ("quantize", "inputs.float.tflite", "float.tflite of convert: other content"),
    ],
)
def test_a_change_is_told_in_words_of_the_recipe(action: str, path: str, line: str) -> None:
    assert said(an_action(action), Change(path, "changed", "int8", "float16")) == [line]


def test_what_came_and_what_went_is_told() -> None:
    calibrate = an_action("calibrate")
    assert said(calibrate, Change("params.observer", "new", None, "mse")) == ["quantization.observer: new (mse)"]
    assert said(calibrate, Change("params.percentile", "gone", 99.0, None)) == ["quantization.percentile: gone"]
    assert said(calibrate, Change("inputs.dataset", "gone", "ab", None)) == ["dataset (../../data/test.npz): gone"]


def test_of_what_waits_no_result_is_told_that_is_not_known_yet() -> None:
    changes = (Change("params.verdicts", "changed", [1], []), Change("params.variant", "changed", "a", "b"))
    assert said(an_action("package"), *changes, key="") == ["variant: a -> b"]
    assert len(said(an_action("package"), *changes)) == 2


def test_an_empty_text_is_told_too() -> None:
    change = Change("params.not_viewed", "changed", "the recipe has no dataset", "")
    assert said(an_action("package"), change) == [
        "why the file is not viewed as an app does: the recipe has no dataset -> it is viewed"
    ]
    assert said(an_action("package"), Change("params.author", "changed", "", "me")) == ['author: "" -> me']


def test_a_reason_in_one_line_has_the_same_words_and_short_values() -> None:
    tell = telling(RECIPE)
    assert (
        tell(an_action("quantize"), Change("params.mode", "changed", "int8", "float16")) == "quantization.mode: int8 -> float16"
    )
    assert len(tell(an_action("freeze"), Change("params.adapters", "changed", "a" * 199, "b"))) < 60


def test_a_very_long_value_is_cut() -> None:
    (line,) = said(an_action("freeze"), Change("params.adapters", "changed", "a" * 10_000, "b"))
    assert len(line) < 300
