"""The kinds of actions, what they are given by others, and how one is made of its params."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.engine.action import Action, OutputOf
from mlkit_build.formats import FORMATS
from mlkit_build.plain import to_plain
from mlkit_build.recipe import Input, Recipe
from mlkit_build.records import dataclass
from mlkit_build.stages.params import SAMPLES_DIGEST, VERSIONS
from mlkit_build.store import Tree


@dataclass(frozen=True)
class _Kind:
    """Where an action belongs and what runs it."""

    stage: str
    runtime: str
    function: str


_KINDS = {
    "freeze": _Kind("freeze", "tensorflow", "mlkit_build.stages.freeze:freeze"),
    "contract": _Kind("freeze", "python", "mlkit_build.stages.package:contract"),
    "convert": _Kind("convert", "tensorflow", "mlkit_build.stages.convert:convert"),
    "calibrate": _Kind("convert", "quantizer", "mlkit_build.stages.calibrate:calibrate"),
    "quantize": _Kind("convert", "quantizer", "mlkit_build.stages.quantize:quantize"),
    "quantize_graph": _Kind("convert", "tensorflow", "mlkit_build.stages.quantize_graph:quantize_graph"),
    "reference": _Kind("validate", "tensorflow", "mlkit_build.stages.validate:reference"),
    "evaluate": _Kind("validate", "litert", "mlkit_build.stages.validate:evaluate"),
    "origin": _Kind("validate", "tensorflow", "mlkit_build.stages.origin:origin"),
    "hops": _Kind("validate", "litert", "mlkit_build.stages.hops:hops"),
    "latency": _Kind("validate", "litert", "mlkit_build.stages.latency:latency"),
    "runtime": _Kind("validate", "litert", "mlkit_build.stages.runtime:runtime"),
    "attribute": _Kind("validate", "quantizer", "mlkit_build.stages.attribute:attribute"),
    "describe": _Kind("package", "litert", "mlkit_build.stages.package:describe"),
    "app": _Kind("package", "litert", "mlkit_build.stages.app:app"),
    "suspect": _Kind("validate", "litert", "mlkit_build.stages.app:suspect"),
    "package": _Kind("package", "jinja2", "mlkit_build.stages.package:package"),
    "readme": _Kind("package", "litert", "mlkit_build.formats.readme:write"),
    **{name: _Kind("package", entry.runtime, f"{entry.module}:write") for name, entry in FORMATS.items() if entry.module},
}

Inputs = dict[str, Path | Tree | OutputOf]

FROZEN_GRAPH = OutputOf("freeze", "frozen_graph.pb")
SIGNATURE = OutputOf("freeze", "signature.json")
FLOAT_MODEL = OutputOf("convert", "float.tflite")
REFERENCE = OutputOf("reference", "reference.bin")
DIGEST = OutputOf("reference", SAMPLES_DIGEST)
HOPS = OutputOf("hops", "hops.json")
METRICS = OutputOf("evaluate", "metrics.json")
OBSERVATIONS = OutputOf("evaluate", "observations.json")
TABLES = OutputOf("evaluate", "tables.json")
PREDICTIONS = OutputOf("evaluate", "predictions.npy")
DESCRIBED = OutputOf("describe", "model.tflite")
APP = OutputOf("app", "app.json")
LABELS = OutputOf("package", "labels.txt")


def action_of(
    name: str, params: Any, inputs: Mapping[str, Path | Tree | OutputOf], outputs: tuple[str, ...], after: tuple[str, ...] = ()
) -> Action:
    """Return an action of the kind `name`."""
    kind = _KINDS[name]
    return Action(name, kind.stage, VERSIONS[name], kind.runtime, kind.function, to_plain(params), inputs, outputs, after)


def normalization(recipe: Recipe) -> dict[str, Input]:
    """Return mean and std of every input: tensor and shape reach the actions through the frozen signature."""
    return {name: Input(tensor="", mean=spec.mean, std=spec.std) for name, spec in recipe.signature.inputs.items()}


def model(recipe: Recipe) -> OutputOf:
    """Return where the model to ship comes from: the quantized file, or the float one."""
    return FLOAT_MODEL if recipe.quantization.is_float else OutputOf(quantizing(recipe), "model.tflite")


def quantizing(recipe: Recipe) -> str:
    """Return the action that quantizes: the backend's."""
    return "quantize_graph" if recipe.quantization.backend == "converter" else "quantize"
