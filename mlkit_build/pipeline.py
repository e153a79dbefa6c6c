"""What a recipe means: the actions that build it, in order. Nothing runs here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlkit_build.dataset_files import Locate as Locate
from mlkit_build.dataset_files import dataset_files
from mlkit_build.dataset_params import content, reading
from mlkit_build.engine.action import Action, OutputOf
from mlkit_build.errors import SourceError
from mlkit_build.gates import Verdict
from mlkit_build.metrics import METRICS as METRIC_KINDS
from mlkit_build.metrics import parse
from mlkit_build.plain import to_plain
from mlkit_build.recipe import (
    ML_KIT_TARGETS,
    STATIC_MODES,
    AnyDataset,
    AnySource,
    Input,
    MetricChoice,
    Python,
    Recipe,
    Tf1Checkpoint,
)
from mlkit_build.runtimes import parse_all
from mlkit_build.runtimes.verdicts import RuntimeVerdict
from mlkit_build.sources import source
from mlkit_build.stages.params import (
    VERSIONS,
    AppParams,
    AttributeParams,
    CalibrateParams,
    ContractParams,
    ConvertParams,
    DescribeParams,
    EvaluateParams,
    FreezeInput,
    FreezeParams,
    HopsParams,
    LatencyParams,
    OriginParams,
    PackageParams,
    QuantizeGraphParams,
    QuantizeParams,
    ReferenceParams,
    RuntimeParams,
)
from mlkit_build.store import Tree
from mlkit_build.timing import host

SOURCE_PREFIX = "source/"
"""Inputs of that prefix are the source's files, where an action takes others too."""


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
    "package": _Kind("package", "jinja2", "mlkit_build.stages.package:package"),
}

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)

Inputs = dict[str, Path | Tree | OutputOf]

FROZEN_GRAPH = OutputOf("freeze", "frozen_graph.pb")
SIGNATURE = OutputOf("freeze", "signature.json")
FLOAT_MODEL = OutputOf("convert", "float.tflite")
REFERENCE = OutputOf("reference", "reference.bin")
HOPS = OutputOf("hops", "hops.json")
METRICS = OutputOf("evaluate", "metrics.json")
OBSERVATIONS = OutputOf("evaluate", "observations.json")
TABLES = OutputOf("evaluate", "tables.json")
PREDICTIONS = OutputOf("evaluate", "predictions.npy")
DESCRIBED = OutputOf("describe", "model.tflite")


@dataclass(frozen=True)
class Files:
    """The load stage's answer: every file of the user that a recipe needs, found.

    Attributes:
        source: Role -> file of the source.
        dataset: The validation samples.
        calibration: The calibration samples, for modes that need them.
        labels: The labels.
        metrics: The code of the recipe's own metrics, by its place in the recipe's folder.
        baseline: The manifest to compare with.
        environments: The record of each other runtime's environment, in the recipe's order. They are no files of the user.
    """

    source: Mapping[str, Path]
    dataset: Path | Tree | None
    calibration: Path | Tree | None
    labels: Path | None
    metrics: Mapping[str, Path] = field(default_factory=dict)
    baseline: Path | None = None
    environments: tuple[Path, ...] = ()

    def all(self) -> list[Path | Tree]:
        """Return every file once, in a fixed order; a folder whose files nobody names is one of them."""
        single: list[Path | Tree] = []
        for found in (self.labels, self.dataset, self.calibration, self.baseline):
            if isinstance(found, Tree) and found.names is not None:
                single += [found.root / name for name in found.names]
            elif found is not None:
                single.append(found)
        return list(dict.fromkeys([*self.source.values(), *single, *self.metrics.values()]))


def load(recipe: Recipe, folder: Path, locate: Locate) -> Files:
    """Find the recipe's files.

    Args:
        folder: What the recipe's paths are relative to.
        locate: Finds what a URL names.

    Raises:
        SourceError: One is missing, or cannot be looked at; names the field and the path.
    """
    try:
        return _load(recipe, folder, locate)
    except OSError as error:
        raise SourceError(f"{error.filename}: cannot be read: {error.strerror}", "check the paths in the recipe") from error


def _load(recipe: Recipe, folder: Path, locate: Locate) -> Files:
    observes = recipe.quantization.needs_calibration
    return Files(
        source=source(recipe.source.kind).files(_located(recipe.source, locate), folder),
        dataset=dataset_files(recipe.dataset, folder, "dataset", locate) if recipe.dataset else None,
        calibration=dataset_files(recipe.calibration, folder, "calibration", locate) if recipe.calibration and observes else None,
        labels=_existing("labels", folder / recipe.labels, recipe.labels) if recipe.labels else None,
        metrics=_metric_code(recipe, folder),
        baseline=_existing("validation.baseline", folder / stated, stated) if (stated := recipe.validation.baseline) else None,
    )


def _metric_code(recipe: Recipe, folder: Path) -> dict[str, Path]:
    """Return the files of the recipe's own metrics, by their place in its folder."""
    found: dict[str, Path] = {}
    for index, choice in enumerate(recipe.validation.metrics):
        if choice.name == "python":
            from mlkit_build.metrics.custom import files

            where = f"validation.metrics[{index}].python"
            found |= files(parse(choice, where), folder, where)
    return found


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


def actions(recipe: Recipe, files: Files) -> list[Action]:
    """Return the actions up to what the gates judge, each after those it needs. They decide whether `packaging` follows."""
    row = [_freeze(recipe, files), _contract(recipe, files), *_conversion(recipe, files)]
    if recipe.dataset is None:
        return [*row, _evaluate(recipe, files)]
    compared = _forms(recipe, recipe.dataset, files) if recipe.validation.hops else []
    measured = [_reference(recipe, recipe.dataset, files), *compared, _evaluate(recipe, files)]
    return [*row, *measured, *_runtimes(recipe, files)]


def attributing(
    recipe: Recipe, files: Files, folder: Path, samples: int, tries: int, locate: Locate | None = None
) -> list[Action]:
    """Return the actions up to `attribute`, which tells where the accuracy of the quantized model went.

    Args:
        folder: What the recipe's paths are relative to.
        samples: On how many samples, at most: of the dataset, or where there is none, of the calibration.
        tries: How many operators are left float, one after another.
        locate: Finds what a URL names.
    """
    row = [_freeze(recipe, files), _contract(recipe, files), *_conversion(recipe, files)]
    stated = recipe.dataset or recipe.calibration
    assert stated is not None, "the verb refuses it"
    field = "dataset" if recipe.dataset else "calibration"
    found = files.dataset if recipe.dataset else files.calibration
    samples_at = found or dataset_files(stated, folder, field, locate or (lambda path, *_: folder / path))
    quantizer = next((action for action in row if action.name == "quantize"), None)
    inputs: Inputs = {
        **(quantizer.inputs if quantizer else {"float.tflite": FLOAT_MODEL}),
        "model.tflite": model(recipe),
        "signature.json": SIGNATURE,
        "samples": samples_at,
    }
    params = AttributeParams(
        dataset=content(stated),
        samples_from=field,
        inputs=_normalization(recipe),
        samples=samples,
        output=recipe.validation.output,
        tries=tries,
        quantize=_quantize_params(recipe) if quantizer else None,
        quantize_version=VERSIONS["quantize"],
    )
    converting = [] if quantizer else [_convert(recipe)]
    attribute = reading(_action("attribute", params, inputs, ("attribution.json",)), {field: stated})
    return [*row, *converting, attribute]


def packaging(
    recipe: Recipe, files: Files, verdicts: tuple[Verdict, ...], runtimes: tuple[RuntimeVerdict, ...] = ()
) -> list[Action]:
    """Return the actions that make the bundle's contents, once the gates hold; the last one has them as its outputs."""
    not_viewed = _not_viewed(recipe)
    viewing = [] if not_viewed else [_app(recipe, files)]
    return [_describe(recipe, files), *viewing, _package(recipe, files, verdicts, runtimes, not_viewed)]


def _describe(recipe: Recipe, files: Files) -> Action:
    params = DescribeParams(
        name=recipe.name,
        version=recipe.version,
        description=recipe.description,
        author=recipe.author,
        license=recipe.license,
        task=recipe.target.task,
        io=recipe.quantization.io,
        inputs=_normalization(recipe),
        output=recipe.validation.output,
    )
    inputs: Inputs = {"model": model(recipe), "signature.json": SIGNATURE}
    if files.labels:
        inputs["labels"] = files.labels
    return _action("describe", params, inputs, ("model.tflite",))


def _app(recipe: Recipe, files: Files) -> Action:
    assert recipe.dataset is not None
    assert files.dataset is not None
    assert files.labels is not None
    inputs: Inputs = {"model.tflite": DESCRIBED, "predictions.npy": PREDICTIONS, "dataset": files.dataset, "labels": files.labels}
    params = AppParams(content(recipe.dataset, files.labels, labelled=True), _normalization(recipe))
    return reading(_action("app", params, inputs, ("app.json",)), {"dataset": recipe.dataset})


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
    )
    inputs: Inputs = {"model": DESCRIBED, "signature.json": SIGNATURE, "metrics.json": METRICS}
    inputs["observations.json"] = OBSERVATIONS
    outputs = ["model.tflite", "report.html"]
    if recipe.dataset is not None and recipe.validation.hops:
        inputs["hops.json"] = HOPS
    if not not_viewed:
        inputs["app.json"] = OutputOf("app", "app.json")
    if has_tables(recipe):
        inputs["tables.json"] = TABLES
        outputs.append("tables.json")
    if not recipe.quantization.is_float:
        inputs["quantization.json"] = OutputOf(quantizing(recipe), "quantization.json")
    if files.labels:
        inputs["labels"] = files.labels
        outputs.append("labels.txt")
    return _action("package", params, inputs, tuple(outputs), after=runtime_actions(recipe))


def model(recipe: Recipe) -> OutputOf:
    """Return where the model to ship comes from: the quantized file, or the float one."""
    return FLOAT_MODEL if recipe.quantization.is_float else OutputOf(quantizing(recipe), "model.tflite")


def quantizing(recipe: Recipe) -> str:
    """Return the action that quantizes: the backend's."""
    return "quantize_graph" if recipe.quantization.backend == "converter" else "quantize"


def _freeze(recipe: Recipe, files: Files) -> Action:
    action = _action("freeze", _freeze_params(recipe), files.source, ("frozen_graph.pb", "signature.json"))
    return replace(action, timeout_s=recipe.source.timeout_s) if isinstance(recipe.source, Python) else action


def _freeze_params(recipe: Recipe) -> FreezeParams:
    signature = recipe.signature
    return FreezeParams(
        source=placeless(recipe.source),
        inputs={name: FreezeInput(spec.tensor, spec.shape) for name, spec in signature.inputs.items()},
        outputs={name: spec.tensor for name, spec in signature.outputs.items()},
        constants=signature.constants,
        adapters=recipe.adapters,
        unroll=recipe.freeze.unroll,
    )


def _contract(recipe: Recipe, files: Files) -> Action:
    params = ContractParams(
        task=recipe.target.task,
        io=recipe.quantization.io,
        normalized=tuple(name for name, spec in recipe.signature.inputs.items() if spec.mean is not None),
        fed=tuple(sorted({name for stated in (recipe.dataset, recipe.calibration) if stated for name in stated.inputs})),
        output=recipe.validation.output,
    )
    inputs: Inputs = {"signature.json": SIGNATURE}
    if files.labels:
        inputs["labels"] = files.labels
    return _action("contract", params, inputs, ("contract.json",))


def _conversion(recipe: Recipe, files: Files) -> list[Action]:
    """Return the convert stage: the float model and what quantizes it, or TensorFlow's converter alone."""
    quantization = recipe.quantization
    if quantization.is_float:
        return [_convert(recipe)]
    if quantization.backend == "converter":
        return [_quantize_graph(recipe, files)]
    calibration = [_calibrate(recipe, files)] if quantization.needs_calibration else []
    return [_convert(recipe), *calibration, _quantize(recipe)]


def _convert(recipe: Recipe) -> Action:
    inputs = {"frozen_graph.pb": FROZEN_GRAPH, "signature.json": SIGNATURE}
    params = ConvertParams(recipe.convert.allow_select_ops)
    return _action("convert", params, inputs, ("float.tflite",), after=("contract",))


def _calibrate(recipe: Recipe, files: Files) -> Action:
    quantization = recipe.quantization
    assert recipe.calibration is not None, "the schema demands it"
    assert files.calibration is not None
    inputs: Inputs = {"float.tflite": FLOAT_MODEL, "signature.json": SIGNATURE, "calibration": files.calibration}
    params = CalibrateParams(
        dataset=content(recipe.calibration),
        inputs=_normalization(recipe),
        observer=quantization.observer,
        percentile=quantization.percentile if quantization.observer == "percentile" else 100.0,
        hessians=quantization.algorithm == "gptq",
    )
    action = _action(
        "calibrate", params, inputs, ("statistics.json", "calibration.json", *(["hessians.npz"] if params.hessians else []))
    )
    return reading(action, {"calibration": recipe.calibration})


def _quantize(recipe: Recipe) -> Action:
    quantization = recipe.quantization
    inputs: Inputs = {"float.tflite": FLOAT_MODEL}
    if quantization.needs_calibration:
        seen = ("statistics.json", "calibration.json", *(["hessians.npz"] if quantization.algorithm == "gptq" else []))
        inputs |= {name: OutputOf("calibrate", name) for name in seen}
    return _action("quantize", _quantize_params(recipe), inputs, ("model.tflite", "quantization.json"))


def _quantize_params(recipe: Recipe) -> QuantizeParams:
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
        inputs=_normalization(recipe),
        allow_select_ops=recipe.convert.allow_select_ops,
    )
    outputs = ("model.tflite", "quantization.json", "calibration.json")
    action = _action("quantize_graph", params, inputs, outputs, after=("contract",))
    return reading(action, {"calibration": recipe.calibration if params.dataset else None})


def _reference(recipe: Recipe, dataset: AnyDataset, files: Files) -> Action:
    assert files.dataset is not None
    inputs: Inputs = {"frozen_graph.pb": FROZEN_GRAPH, "signature.json": SIGNATURE, "dataset": files.dataset}
    params = ReferenceParams(content(dataset), _normalization(recipe))
    action = _action("reference", params, inputs, ("reference.bin",), after=("contract",))
    return reading(action, {"dataset": dataset})


def _forms(recipe: Recipe, dataset: AnyDataset, files: Files) -> list[Action]:
    """Return what compares every form of the model with the one before it. TensorFlow's part is the same for all variants."""
    assert files.dataset is not None
    stated, samples = content(dataset), recipe.validation.hops
    common: Inputs = {"signature.json": SIGNATURE, "dataset": files.dataset}
    freeze = _freeze(recipe, files)
    original: Inputs = {f"{SOURCE_PREFIX}{role}": path for role, path in freeze.inputs.items()}
    origin = _action(
        "origin",
        OriginParams(_freeze_params(recipe), stated, _normalization(recipe), samples),
        {**common, "frozen_graph.pb": FROZEN_GRAPH, **original},
        ("origin.json",),
        after=("contract",),
    )
    made: Inputs = {"origin.json": OutputOf("origin", "origin.json"), "reference.bin": REFERENCE}
    if recipe.quantization.is_float or recipe.quantization.backend == "litert":
        made["float.tflite"] = FLOAT_MODEL
    if not recipe.quantization.is_float:
        made["model.tflite"] = model(recipe)
    hops = _action("hops", HopsParams(stated, _normalization(recipe), samples), {**common, **made}, ("hops.json",))
    limits = {"source.timeout_s": freeze.timeout_s} if freeze.timeout_s else {}
    return [reading(origin, {"dataset": dataset}, limits), reading(hops, {"dataset": dataset})]


def timing(recipe: Recipe) -> Action | None:
    """Return the action that times the model, while nothing else runs; None where none is to be timed."""
    stated = recipe.validation.latency
    if stated is None or recipe.convert.allow_select_ops:
        return None
    params = LatencyParams(stated.runs, stated.warmups, stated.threads, stated.delegate, host())
    return replace(_action("latency", params, {"model": model(recipe)}, ("latency.json",)), alone=True)


def _evaluate(recipe: Recipe, files: Files) -> Action:
    inputs: Inputs = {"model": model(recipe), "signature.json": SIGNATURE}
    if files.dataset:
        inputs |= {"dataset": files.dataset, "reference.bin": REFERENCE}
        if files.calibration:
            inputs["calibration"] = files.calibration
        if recipe.quantization.modes & set(STATIC_MODES):
            observing = "calibrate" if recipe.quantization.backend == "litert" else "quantize_graph"
            inputs["calibration.json"] = OutputOf(observing, "calibration.json")
        inputs |= {f"metric_code/{place}": path for place, path in files.metrics.items()}
    params = EvaluateParams(
        dataset=content(recipe.dataset, files.labels, labelled=True) if recipe.dataset else None,
        calibration=content(recipe.calibration) if "calibration" in inputs and recipe.calibration else None,
        inputs=_normalization(recipe),
        metrics=tuple(_untimed(choice) for choice in recipe.validation.metrics),
        output=recipe.validation.output,
        allow_select_ops=recipe.convert.allow_select_ops,
    )
    outputs = ("metrics.json", "tables.json", "observations.json", *(["predictions.npy"] if files.dataset else []))
    action = _action("evaluate", params, inputs, outputs)
    datasets = {"dataset": recipe.dataset, "calibration": recipe.calibration if params.calibration else None}
    action = reading(action, datasets, _metric_limits(recipe))
    return replace(action, runtime="tensorflow") if params.allow_select_ops else action


def runtime_actions(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the actions that run the shipped file in other runtimes, in the recipe's order."""
    return tuple(f"runtime-{requirement.package}-{requirement.version}" for requirement in parse_all(recipe.validation.runtimes))


def _runtimes(recipe: Recipe, files: Files) -> list[Action]:
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
        inputs |= {f"metric_code/{place}": path for place, path in files.metrics.items()}
        params = RuntimeParams(
            package=requirement.package,
            version=requirement.version,
            dataset=content(recipe.dataset, files.labels, labelled=True),
            inputs=_normalization(recipe),
            metrics=tuple(_untimed(choice) for choice in recipe.validation.metrics),
            output=recipe.validation.output,
        )
        action = replace(_action("runtime", params, inputs, ("runtime.json",)), name=name)
        row.append(reading(action, {"dataset": recipe.dataset}, _metric_limits(recipe)))
    return row


def _action(
    name: str, params: Any, inputs: Mapping[str, Path | Tree | OutputOf], outputs: tuple[str, ...], after: tuple[str, ...] = ()
) -> Action:
    kind = _KINDS[name]
    return Action(name, kind.stage, VERSIONS[name], kind.runtime, kind.function, to_plain(params), inputs, outputs, after)


def _located(source: AnySource, locate: Locate) -> AnySource:
    """Return the source with local paths in place of URLs; a digest that is stated is checked for a local file too."""
    if isinstance(source, Python):
        return source
    if isinstance(source, Tf1Checkpoint) and source.graph and _REMOTE.match(source.graph):
        source = replace(source, graph=str(locate(source.graph, source.sha256, "source.graph")))
    if _REMOTE.match(source.path) or source.sha256 is not None:
        return replace(source, path=str(locate(source.path, source.sha256, "source.path")))
    return source


def placeless(source: AnySource) -> AnySource:
    """Return what of a source's description decides a result: not where its files lie, whose bytes are inputs."""
    if isinstance(source, Tf1Checkpoint):
        return replace(source, path="", graph=None, sha256=None)
    if isinstance(source, Python):
        return replace(source, files=(), timeout_s=0.0)
    return replace(source, path="", sha256=None)


def _normalization(recipe: Recipe) -> dict[str, Input]:
    """Return mean and std of every input: tensor and shape reach the actions through the frozen signature."""
    return {name: Input(tensor="", mean=spec.mean, std=spec.std) for name, spec in recipe.signature.inputs.items()}


def _existing(field: str, path: Path, stated: str) -> Path:
    if path.is_file():
        return path
    elsewhere = Path(stated).absolute()
    hint = f"paths are relative to the recipe's folder; {elsewhere} exists" if elsewhere.is_file() else ""
    found = "a folder" if path.is_dir() else "nothing"
    raise SourceError(f"{field}: expected a file at {path}, found {found}", hint)
