"""package: the contract with the target, before conversion; at the end the model with its metadata, and the bundle's contents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.forms import Hops
from mlkit_build.metrics import Measurement, Table
from mlkit_build.mlkit.app_view import AppView
from mlkit_build.mlkit.contract import check_file, check_labels, check_signature, signed
from mlkit_build.mlkit.description import image_tensor
from mlkit_build.mlkit.labels import LABELS, LabelSet, read_label_set
from mlkit_build.mlkit.metadata import Metadata, ScoreCalibration, ScoreTransformation, Tensor, attach
from mlkit_build.mlkit.score_calibration import read_calibration
from mlkit_build.plain import from_plain, pretty
from mlkit_build.recipe import ML_KIT_TARGETS, Input
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.min_runtime import check_runtime
from mlkit_build.stages.params import ContractParams, DescribeParams, PackageParams
from mlkit_build.tflite import model as flatbuffer


def contract(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Check signature and labels against the target, and write `contract.json`: the rules that hold.

    Raises:
        ConfigError: A rule is broken; quotes what ML Kit would say.
        SourceError: The labels cannot be read.
    """
    request = from_plain(ContractParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    _check_fed(request.fed, signature)
    _check_output(request.output, signature)
    rules = check_signature(request.task, signed(signature, request.io, request.normalized))
    if request.labels:
        names = read_label_set(request.labels, inputs).names
        check_labels(names, str(inputs.get(LABELS, "dataset")), signature, request.output)
    (outputs / "contract.json").write_bytes(pretty({"task": request.task, "rules": rules}))


def _check_fed(fed: tuple[str, ...], signature: FrozenSignature) -> None:
    """Compare what the datasets feed with the inputs, which a recipe may leave to the model.

    Raises:
        ConfigError: A feature feeds no input, or nothing feeds an input.
    """
    names = [spec.name for spec in signature.inputs]
    for name in fed:
        if name not in names:
            raise ConfigError(
                f"dataset.features.{name}: no such input; the model has {', '.join(names)}", did_you_mean(name, names)
            )
    for name in names:
        if fed and name not in fed:
            raise ConfigError(f"dataset.features: nothing feeds the input {name!r}", f"add `{name}: <array>`")


def _check_output(output: str | None, signature: FrozenSignature) -> None:
    """Raise ConfigError if there is no such output."""
    names = [spec.name for spec in signature.outputs]
    if output is not None and output not in names:
        raise ConfigError(f"validation.output: expected one of {', '.join(names)}, found {output!r}", did_you_mean(output, names))


def describe(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `model.tflite`: the model with its metadata, and the labels inside where the recipe has any.

    And `lint.json`: the warnings about that file, as lint tells them, a line each.

    Raises:
        ConfigError: The file breaks a rule of its target; quotes what ML Kit would say.
        GateError: It needs a newer runtime than it may.
        StageError: The model's inputs and outputs are not those of the signature.
    """
    request = from_plain(DescribeParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    labels = read_label_set(request.labels, inputs) if request.labels else LabelSet(())
    labelled = request.output or signature.outputs[0].name
    scores = Tensor(
        labelled,
        labels=labels.names,
        locales=labels.locales,
        score_threshold=request.score_threshold,
        score_calibration=_calibration(request, inputs, labels.names),
    )
    metadata = Metadata(
        name=request.name,
        description=request.description,
        version=request.version,
        author=request.author,
        license=request.license,
        inputs=tuple(_input(spec, request.inputs.get(spec.name, Input()), request) for spec in signature.inputs),
        outputs=tuple(scores if spec.name == labelled else Tensor(spec.name) for spec in signature.outputs),
    )
    shipped = attach(inputs["model"].read_bytes(), metadata)
    if request.limit:
        check_runtime(flatbuffer.parsed(shipped), request.limit, request.task)
    (outputs / "lint.json").write_bytes(pretty(check_file(shipped, request.task)))
    (outputs / "model.tflite").write_bytes(shipped)


def _calibration(request: DescribeParams, inputs: Mapping[str, Path], labels: tuple[str, ...]) -> ScoreCalibration | None:
    """Return how the scores are calibrated. Raises SourceError where the parameters are not those of the labels."""
    stated = request.score_calibration
    if stated is None:
        return None
    transformation = ScoreTransformation[stated.transformation.upper()]
    return ScoreCalibration(read_calibration(inputs["score_calibration"], labels), transformation, stated.default_score)


def _input(spec: TensorSpec, stated: Input, request: DescribeParams) -> Tensor:
    """Return what the file says of an input."""
    if stated.mean is None and request.task not in ML_KIT_TARGETS:
        return Tensor(spec.name)
    dtype = request.io if spec.dtype == "float32" else spec.dtype
    return image_tensor(spec.name, spec.shape, dtype, stated.mean or (), stated.std or ())


def package(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `model.tflite`, `report.html`, `tables.json` where there are any, and where the recipe has labels, `labels.txt`."""
    from mlkit_build.report.page import render

    request = from_plain(PackageParams, params)
    labels: tuple[str, ...] = ()
    shutil.copyfile(inputs["model"], outputs / "model.tflite")
    if request.labels:
        labels = read_label_set(request.labels, inputs).names
        (outputs / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8", newline="")
    metrics = {name: from_plain(Measurement, value) for name, value in json.loads(inputs["metrics.json"].read_bytes()).items()}
    metrics["size_bytes"] = replace(metrics["size_bytes"], value=inputs["model"].stat().st_size)
    signature = FrozenSignature.read(inputs["signature.json"])
    quantization = json.loads(inputs["quantization.json"].read_bytes()) if "quantization.json" in inputs else None
    told = json.loads(inputs["observations.json"].read_bytes())["warning"]
    tables: dict[str, Table] = {}
    if "tables.json" in inputs:
        shutil.copyfile(inputs["tables.json"], outputs / "tables.json")
        tables = {name: from_plain(Table, value) for name, value in json.loads(inputs["tables.json"].read_bytes()).items()}
    hops = from_plain(Hops, json.loads(inputs["hops.json"].read_bytes())) if "hops.json" in inputs else None
    view = (
        from_plain(AppView, json.loads(inputs["app.json"].read_bytes())) if "app.json" in inputs else AppView(request.not_viewed)
    )
    page = render(request, signature, metrics, labels, quantization, tables, view, told, hops)
    (outputs / "report.html").write_text(page, encoding="utf-8", newline="")
