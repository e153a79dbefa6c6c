"""The actions of the stage validate, and what is measured besides."""

from __future__ import annotations

from dataclasses import replace

from mlkit_build.engine.action import Action, OutputOf
from mlkit_build.metrics import METRICS as METRIC_KINDS
from mlkit_build.metrics import parse
from mlkit_build.metrics.scored import scores_of
from mlkit_build.pipeline.converting import freeze, freeze_params, loaders
from mlkit_build.pipeline.datasets import content, reading
from mlkit_build.pipeline.files import Files
from mlkit_build.pipeline.kinds import (
    DIGEST,
    FLOAT_MODEL,
    FROZEN_GRAPH,
    REFERENCE,
    SIGNATURE,
    Inputs,
    action_of,
    model,
    normalization,
)
from mlkit_build.recipe import STATIC_MODES, AnyDataset, MetricChoice, PythonSamples, Recipe
from mlkit_build.runtimes import parse_all
from mlkit_build.stages.params import (
    CODE_PREFIX,
    SAMPLES,
    SAMPLES_DIGEST,
    SOURCE_PREFIX,
    EvaluateParams,
    HopsParams,
    LatencyParams,
    OriginParams,
    ReferenceParams,
    RuntimeParams,
)
from mlkit_build.timing import host


def reference(recipe: Recipe, dataset: AnyDataset, files: Files) -> Action:
    """Return the action that runs the frozen graph in TensorFlow."""
    assert files.dataset is not None
    inputs: Inputs = {"frozen_graph.pb": FROZEN_GRAPH, "signature.json": SIGNATURE, "dataset": files.dataset}
    params = ReferenceParams(content(dataset), normalization(recipe))
    action = action_of("reference", params, inputs, ("reference.bin", *_digest(dataset)), after=("contract",))
    return reading(action, {"dataset": dataset})


def _digest(dataset: AnyDataset) -> Inputs:
    """Return what tells whether an action has the samples of the reference: only code may give it others."""
    return {SAMPLES_DIGEST: DIGEST} if isinstance(dataset, PythonSamples) else {}


def compares_forms(recipe: Recipe) -> bool:
    """Return whether every form of the model is compared with the one before it. Flex operators run in no form but the last."""
    return recipe.dataset is not None and recipe.validation.hops > 0 and not recipe.convert.allow_select_ops


def forms(recipe: Recipe, dataset: AnyDataset, files: Files) -> list[Action]:
    """Return what compares the forms, if anything does. TensorFlow's part is the same for all variants."""
    if not compares_forms(recipe):
        return []
    assert files.dataset is not None
    stated = content(dataset)
    # More than the dataset has are all of it, and no other result. How many that is only a stated number tells before the files
    # are opened, which is the actions' to do: without one, a number of hops beyond the dataset runs these two actions again.
    samples = min(recipe.validation.hops, dataset.samples or recipe.validation.hops)
    common: Inputs = {"signature.json": SIGNATURE, "dataset": files.dataset}
    judged = recipe.validation.output, scores_of(recipe)
    frozen = freeze(recipe, files)
    original: Inputs = {f"{SOURCE_PREFIX}{role}": path for role, path in frozen.inputs.items()}
    origin = action_of(
        "origin",
        OriginParams(freeze_params(recipe), stated, normalization(recipe), samples, *judged),
        {**common, "frozen_graph.pb": FROZEN_GRAPH, **original},
        ("origin.json",),
        after=("contract",),
    )
    origin = replace(origin, packages=(*origin.packages, *loaders(recipe.source)))
    made: Inputs = {"origin.json": OutputOf("origin", "origin.json"), "reference.bin": REFERENCE, **_digest(dataset)}
    if recipe.quantization.is_float or recipe.quantization.backend == "litert":
        made["float.tflite"] = FLOAT_MODEL
    if not recipe.quantization.is_float:
        made["model.tflite"] = model(recipe)
    hops = action_of("hops", HopsParams(stated, normalization(recipe), samples, *judged), {**common, **made}, ("hops.json",))
    limits = {"source.timeout_s": frozen.timeout_s} if frozen.timeout_s else {}
    return [reading(origin, {"dataset": dataset}, limits), reading(hops, {"dataset": dataset})]


def evaluate(recipe: Recipe, files: Files) -> Action:
    """Return the action that measures the shipped file."""
    inputs: Inputs = {"model": model(recipe), "signature.json": SIGNATURE}
    if files.dataset:
        assert recipe.dataset is not None
        inputs |= {"dataset": files.dataset, "reference.bin": REFERENCE, **_digest(recipe.dataset)}
        if files.calibration:
            inputs["calibration"] = files.calibration
        if recipe.quantization.modes & set(STATIC_MODES):
            observing = "calibrate" if recipe.quantization.backend == "litert" else "quantize_graph"
            inputs["calibration.json"] = OutputOf(observing, "calibration.json")
        inputs |= {f"{CODE_PREFIX}{place}": path for place, path in files.metrics.items()}
    params = EvaluateParams(
        dataset=content(recipe.dataset, files.labels, labelled=True) if recipe.dataset else None,
        calibration=content(recipe.calibration) if "calibration" in inputs and recipe.calibration else None,
        inputs=normalization(recipe),
        metrics=tuple(_untimed(choice) for choice in recipe.validation.metrics),
        output=recipe.validation.output,
        allow_select_ops=recipe.convert.allow_select_ops,
        scores_of=scores_of(recipe),
    )
    outputs = ("metrics.json", "tables.json", "observations.json", *(["predictions.npy", SAMPLES] if files.dataset else []))
    action = action_of("evaluate", params, inputs, outputs)
    datasets = {"dataset": recipe.dataset, "calibration": recipe.calibration if params.calibration else None}
    action = reading(action, datasets, _metric_limits(recipe))
    return replace(action, runtime="tensorflow") if params.allow_select_ops else action


def runtime_actions(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the actions that run the shipped file in other runtimes, in the recipe's order."""
    return tuple(f"runtime-{requirement.package}-{requirement.version}" for requirement in parse_all(recipe.validation.runtimes))


def runtimes(recipe: Recipe, files: Files) -> list[Action]:
    """Return an action for each other runtime."""
    row = []
    requirements = parse_all(recipe.validation.runtimes)
    for name, requirement, environment in zip(runtime_actions(recipe), requirements, files.environments, strict=True):
        assert recipe.dataset is not None, "the schema demands it"
        assert files.dataset is not None
        inputs: Inputs = {
            "model": model(recipe),
            "signature.json": SIGNATURE,
            "dataset": files.dataset,
            "environment": environment,
        }
        inputs |= {f"{CODE_PREFIX}{place}": path for place, path in files.metrics.items()}
        params = RuntimeParams(
            package=requirement.package,
            version=requirement.version,
            dataset=content(recipe.dataset, files.labels, labelled=True),
            inputs=normalization(recipe),
            metrics=tuple(_untimed(choice) for choice in recipe.validation.metrics),
            output=recipe.validation.output,
            scores_of=scores_of(recipe),
        )
        action = replace(action_of("runtime", params, inputs, ("runtime.json",)), name=name)
        row.append(reading(action, {"dataset": recipe.dataset}, _metric_limits(recipe)))
    return row


def is_timed(recipe: Recipe) -> bool:
    """Return whether the model is timed. Flex operators run in TensorFlow here, and not on the phone."""
    return recipe.validation.latency.runs > 0 and not recipe.convert.allow_select_ops


def timing(recipe: Recipe) -> Action | None:
    """Return the action that times the model, while nothing else runs; None where none is to be timed."""
    stated = recipe.validation.latency
    if not is_timed(recipe):
        return None
    params = LatencyParams(stated.runs, stated.warmups, stated.threads, stated.delegate, host())
    return replace(action_of("latency", params, {"model": model(recipe)}, ("latency.json",)), alone=True)


def _metric_limits(recipe: Recipe) -> dict[str, float]:
    """Return field -> how long a metric of the recipe's own may take."""
    stated = {f"validation.metrics[{index}].python": choice for index, choice in enumerate(recipe.validation.metrics)}
    return {f"{where}.timeout_s": parse(choice, where).timeout_s for where, choice in stated.items() if choice.name == "python"}


def _untimed(choice: MetricChoice) -> MetricChoice:
    """Return what of a metric decides its values: not how long it may take."""
    return replace(choice, options={name: value for name, value in choice.options.items() if name != "timeout_s"})


def has_tables(recipe: Recipe) -> bool:
    """Return whether anything is measured that is no number: parity of several outputs is, and outputs may not be known yet."""
    several = recipe.dataset is not None and len(recipe.signature.outputs) != 1
    return several or any(METRIC_KINDS[choice.name].tables for choice in recipe.validation.metrics)
