"""The actions of the stages freeze and convert."""

from __future__ import annotations

from dataclasses import replace

from mlkit_build.engine.action import Action, OutputOf
from mlkit_build.engine.toolchain import KERAS_LOADERS, PROCESSOR
from mlkit_build.pipeline.datasets import content, reading
from mlkit_build.pipeline.files import Files
from mlkit_build.pipeline.kinds import FLOAT_MODEL, FROZEN_GRAPH, SIGNATURE, Inputs, action_of, normalization
from mlkit_build.recipe import AnySource, Keras, Python, Recipe, Tf1Checkpoint
from mlkit_build.stages.params import (
    SAMPLES,
    CalibrateParams,
    ContractParams,
    ConvertParams,
    FreezeInput,
    FreezeParams,
    QuantizeGraphParams,
    QuantizeParams,
)

_MULTIPLYING = ("gptq", "hadamard")
"""Algorithms that multiply matrices of weights, which BLAS sums in another order on another processor."""


def freeze(recipe: Recipe, files: Files) -> Action:
    """Return the action that makes the frozen graph."""
    action = action_of("freeze", freeze_params(recipe), files.source, ("frozen_graph.pb", "signature.json"))
    action = replace(action, packages=loaders(recipe.source))
    return replace(action, timeout_s=recipe.source.timeout_s) if isinstance(recipe.source, Python) else action


def loaders(source: AnySource) -> tuple[str, ...]:
    """Return the packages whose versions decide what comes of opening a source, besides TensorFlow's own."""
    return KERAS_LOADERS if isinstance(source, (Keras, Python)) else ()


def freeze_params(recipe: Recipe) -> FreezeParams:
    """Return what decides the frozen graph, besides the source's files."""
    signature = recipe.signature
    return FreezeParams(
        source=placeless(recipe.source),
        inputs={name: FreezeInput(spec.tensor, spec.shape) for name, spec in signature.inputs.items()},
        outputs={name: spec.tensor for name, spec in signature.outputs.items()},
        constants=signature.constants,
        adapters=recipe.adapters,
        unroll=recipe.freeze.unroll,
    )


def placeless(source: AnySource) -> AnySource:
    """Return what of a source's description decides a result: not where its files lie, whose bytes are inputs."""
    if isinstance(source, Tf1Checkpoint):
        return replace(source, path="", graph=None, sha256=None)
    if isinstance(source, Python):
        return replace(source, files=(), timeout_s=0.0)
    return replace(source, path="", sha256=None)


def contract(recipe: Recipe, files: Files) -> Action:
    """Return the action that checks the target's contract before anything is converted."""
    params = ContractParams(
        task=recipe.target.task,
        io=recipe.quantization.io,
        normalized=tuple(name for name, spec in recipe.signature.inputs.items() if spec.mean is not None),
        fed=tuple(sorted({name for stated in (recipe.dataset, recipe.calibration) if stated for name in stated.inputs})),
        output=recipe.validation.output,
        labels=files.labels.reading if files.labels else None,
    )
    inputs: Inputs = {"signature.json": SIGNATURE, **(files.labels.files if files.labels else {})}
    return action_of("contract", params, inputs, ("contract.json",))


def conversion(recipe: Recipe, files: Files) -> list[Action]:
    """Return the convert stage: the float model and what quantizes it, or TensorFlow's converter alone."""
    quantization = recipe.quantization
    if quantization.is_float:
        return [convert(recipe)]
    if quantization.backend == "converter":
        return [_quantize_graph(recipe, files)]
    calibration = [_calibrate(recipe, files)] if quantization.needs_calibration else []
    return [convert(recipe), *calibration, _quantize(recipe)]


def convert(recipe: Recipe) -> Action:
    """Return the action that makes the float model."""
    inputs = {"frozen_graph.pb": FROZEN_GRAPH, "signature.json": SIGNATURE}
    params = ConvertParams(recipe.convert.allow_select_ops)
    return action_of("convert", params, inputs, ("float.tflite",), after=("contract",))


def _calibrate(recipe: Recipe, files: Files) -> Action:
    quantization = recipe.quantization
    assert recipe.calibration is not None, "the schema demands it"
    assert files.calibration is not None
    inputs: Inputs = {"float.tflite": FLOAT_MODEL, "signature.json": SIGNATURE, "calibration": files.calibration}
    params = CalibrateParams(
        dataset=content(recipe.calibration),
        inputs=normalization(recipe),
        observer=quantization.observer,
        percentile=quantization.percentile if quantization.observer == "percentile" else 100.0,
        hessians=quantization.algorithm == "gptq",
    )
    outputs = ("statistics.json", "calibration.json", SAMPLES, *(["hessians.npz"] if params.hessians else []))
    action = action_of("calibrate", params, inputs, outputs)
    return reading(action, {"calibration": recipe.calibration})


def _quantize(recipe: Recipe) -> Action:
    quantization = recipe.quantization
    inputs: Inputs = {"float.tflite": FLOAT_MODEL}
    if quantization.needs_calibration:
        seen = ("statistics.json", "calibration.json", *(["hessians.npz"] if quantization.algorithm == "gptq" else []))
        inputs |= {name: OutputOf("calibrate", name) for name in seen}
    action = action_of("quantize", quantize_params(recipe), inputs, ("model.tflite", "quantization.json"))
    return replace(action, packages=PROCESSOR) if quantization.algorithm in _MULTIPLYING else action


def quantize_params(recipe: Recipe) -> QuantizeParams:
    """Return what decides a quantized model, besides the float model and the statistics."""
    quantization = recipe.quantization
    return QuantizeParams(
        mode=quantization.mode,
        io=quantization.io,
        granularity=quantization.granularity,
        algorithm=quantization.algorithm,
        rules=quantization.rules,
        allow_select_ops=recipe.convert.allow_select_ops,
    )


def _quantize_graph(recipe: Recipe, files: Files) -> Action:
    inputs: Inputs = {"frozen_graph.pb": FROZEN_GRAPH, "signature.json": SIGNATURE}
    if files.calibration:
        inputs["calibration"] = files.calibration
    params = QuantizeGraphParams(
        mode=recipe.quantization.mode,
        io=recipe.quantization.io,
        granularity=recipe.quantization.granularity,
        dataset=content(recipe.calibration) if files.calibration and recipe.calibration else None,
        inputs=normalization(recipe),
        allow_select_ops=recipe.convert.allow_select_ops,
    )
    outputs = ("model.tflite", "quantization.json", "calibration.json", *([SAMPLES] if params.dataset else []))
    action = action_of("quantize_graph", params, inputs, outputs, after=("contract",))
    return reading(action, {"calibration": recipe.calibration if params.dataset else None})
