"""The actions of the stage package."""

from __future__ import annotations

from dataclasses import replace

from mlkit_build.engine.action import Action, OutputOf
from mlkit_build.engine.toolchain import TEMPLATES
from mlkit_build.formats import planned, readme
from mlkit_build.gates import Verdict
from mlkit_build.pipeline.datasets import content, reading
from mlkit_build.pipeline.files import Files
from mlkit_build.pipeline.kinds import (
    APP,
    DESCRIBED,
    FLOAT_MODEL,
    HOPS,
    LABELS,
    METRICS,
    OBSERVATIONS,
    PREDICTIONS,
    SIGNATURE,
    TABLES,
    Inputs,
    action_of,
    model,
    normalization,
    quantizing,
)
from mlkit_build.pipeline.measuring import compares_forms, has_tables, runtime_actions
from mlkit_build.recipe import ML_KIT_TARGETS, Calibration, Recipe
from mlkit_build.runtimes.verdicts import RuntimeVerdict
from mlkit_build.stages.params import AppParams, DescribeParams, PackageParams, RuntimeLimit

TRIED = 256
"""Samples on which the usual faults are tried."""


def packaging(
    recipe: Recipe, files: Files, verdicts: tuple[Verdict, ...], runtimes: tuple[RuntimeVerdict, ...] = ()
) -> list[Action]:
    """Return the actions that make the bundle's contents, once the gates hold: the outputs of those from `package` on.

    A format is an action of its own, so that another Maven group makes another archive and nothing else, and another gate none.
    """
    not_viewed = _not_viewed(recipe)
    viewing = [] if not_viewed else [_app(recipe, files)]
    package = _package(recipe, files, verdicts, runtimes, not_viewed)
    return [*viewing, package, _readme(recipe, runtimes, not_viewed), *_formats(recipe)]


def describe(recipe: Recipe, files: Files) -> Action:
    """Return the action that writes into the model what it is: the file to ship."""
    params = DescribeParams(
        name=recipe.name,
        version=recipe.version,
        description=recipe.description,
        author=recipe.author,
        license=recipe.license,
        task=recipe.target.task,
        io=recipe.quantization.io,
        inputs=normalization(recipe),
        output=recipe.validation.output,
        limit=_limit(recipe),
        labels=files.labels.reading if files.labels else None,
        score_threshold=recipe.metadata.score_threshold,
        score_calibration=_placeless(recipe.metadata.score_calibration),
    )
    inputs: Inputs = {"model": model(recipe), "signature.json": SIGNATURE, **(files.labels.files if files.labels else {})}
    if files.score_calibration:
        inputs["score_calibration"] = files.score_calibration
    return action_of("describe", params, inputs, ("model.tflite", "lint.json"))


def _limit(recipe: Recipe) -> RuntimeLimit | None:
    if recipe.min_runtime is None:
        return None
    quantization = recipe.quantization
    return RuntimeLimit(
        runtime=recipe.min_runtime,
        stated=recipe.package.min_runtime is not None,
        mode=quantization.mode,
        granularity=quantization.granularity,
        backend=quantization.backend,
        rules=bool(quantization.rules),
    )


def _placeless(calibration: Calibration | None) -> Calibration | None:
    """Return what of it decides the file: not where the parameters lie, whose bytes are an input."""
    return replace(calibration, path="") if calibration else None


def suspecting(recipe: Recipe, files: Files) -> Action | None:
    """Return the action that looks for what makes a model bad where TensorFlow's is as bad; None where nobody can look."""
    if _not_viewed(recipe):
        return None
    action = _app(recipe, files, "suspect")
    inputs = dict(action.inputs)
    if recipe.quantization.backend == "litert":  # of the other there is no float model
        inputs["float.tflite"] = FLOAT_MODEL
    return replace(action, params={**action.params, "samples": TRIED}, inputs=inputs, outputs=("suspect.json",))


def _app(recipe: Recipe, files: Files, name: str = "app") -> Action:
    assert recipe.dataset is not None
    assert files.dataset is not None
    assert files.labels is not None
    inputs: Inputs = {"model.tflite": DESCRIBED, "predictions.npy": PREDICTIONS, "dataset": files.dataset, **files.labels.files}
    params = AppParams(content(recipe.dataset, files.labels, labelled=True), normalization(recipe), files.labels.reading)
    return reading(action_of(name, params, inputs, ("app.json",)), {"dataset": recipe.dataset})


def _not_viewed(recipe: Recipe) -> str:
    """Return why the packaged file is not looked at as an app does; empty where it is."""
    if recipe.dataset is None:
        return "the recipe has no dataset"
    if recipe.labels is None:
        return "the recipe has no labels"
    if recipe.convert.allow_select_ops:
        return "Select TF operators run only in an app that links them"
    images = [spec for spec in recipe.signature.inputs.values() if spec.mean is not None]
    if recipe.target.task not in ML_KIT_TARGETS and (len(images) != 1 or len(recipe.signature.inputs) != 1):
        return "the model has other inputs than one image"
    return ""


def _package(
    recipe: Recipe, files: Files, verdicts: tuple[Verdict, ...], runtimes: tuple[RuntimeVerdict, ...], not_viewed: str
) -> Action:
    params = PackageParams(
        name=recipe.name,
        version=recipe.version,
        variant=recipe.variant_name,
        description=recipe.description,
        author=recipe.author,
        license=recipe.license,
        task=recipe.target.task,
        mode=recipe.quantization.mode,
        io=recipe.quantization.io,
        inputs=recipe.signature.inputs,
        verdicts=verdicts,
        runtimes=runtimes,
        not_viewed=not_viewed,
        labels=files.labels.reading if files.labels else None,
    )
    inputs: Inputs = {"model": DESCRIBED, "signature.json": SIGNATURE, "metrics.json": METRICS}
    inputs["observations.json"] = OBSERVATIONS
    outputs = ["model.tflite", "report.html"]
    if compares_forms(recipe):
        inputs["hops.json"] = HOPS
    if not not_viewed:
        inputs["app.json"] = APP
    if has_tables(recipe):
        inputs["tables.json"] = TABLES
        outputs.append("tables.json")
    if not recipe.quantization.is_float:
        inputs["quantization.json"] = OutputOf(quantizing(recipe), "quantization.json")
    if files.labels:
        inputs |= files.labels.files
        outputs.append("labels.txt")
    return action_of("package", params, inputs, tuple(outputs), after=runtime_actions(recipe))


def _readme(recipe: Recipe, runtimes: tuple[RuntimeVerdict, ...], not_viewed: str) -> Action:
    inputs = {**_shipped(recipe), "signature.json": SIGNATURE, "metrics.json": METRICS, "observations.json": OBSERVATIONS}
    if recipe.dataset is not None:
        inputs["predictions.npy"] = PREDICTIONS
    if not not_viewed:
        inputs["app.json"] = APP
    plan = readme.plan(recipe, [verdict.runtime for verdict in runtimes if verdict.passed])
    return replace(action_of("readme", plan.params, inputs, plan.outputs), packages=TEMPLATES)


def _formats(recipe: Recipe) -> list[Action]:
    row = []
    for name, plan in planned(recipe).items():
        inputs = _shipped(recipe)
        if plan.reads_signature:
            inputs["signature.json"] = SIGNATURE
        row.append(action_of(name, plan.params, inputs, plan.outputs))
    return row


def _shipped(recipe: Recipe) -> Inputs:
    """Return what an app ships: the model, and the labels as they are in the bundle."""
    return {"model.tflite": DESCRIBED, **({"labels.txt": LABELS} if recipe.labels else {})}
