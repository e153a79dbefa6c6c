"""`ios`: a Swift package with the model among its resources and a small typed accessor, and a podspec where it is asked for.

Package: The Swift Programming Language's PackageDescription. Podspec: CocoaPods' specification, in its JSON form.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.formats import Plan
from mlkit_build.formats.escaping import one_line
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe
from mlkit_build.recipe.naming import swift_module
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature, TensorSpec

FOLDER = "ios"


@dataclass(frozen=True)
class IosParams:
    """What decides the package, besides the model, its signature and its labels.

    Attributes:
        name: The recipe's name, and so on.
        io: The type of inputs and outputs.
        module: The Swift module, and the type in it.
        homepage: A page about the model, for the podspec; None where there is to be none.
    """

    name: str
    version: str
    variant: str
    description: str
    author: str
    license: str
    io: str
    module: str
    homepage: str | None


def plan(recipe: Recipe) -> Plan:
    """Return what the package is made of, and its files."""
    params = IosParams(
        name=recipe.name,
        version=recipe.version,
        variant=recipe.variant_name,
        description=recipe.description,
        author=recipe.author,
        license=recipe.license,
        io=recipe.quantization.io,
        module=swift_module(recipe),
        homepage=recipe.package.ios.homepage if recipe.package.ios.podspec else None,
    )
    resources = [f"{recipe.name}.tflite", *(["labels.txt"] if recipe.labels else [])]
    files = ["Package.swift", _accessor(params), *(f"{_resources(params)}/{name}" for name in resources)]
    if params.homepage is not None:
        files.append(_podspec(params))
    return Plan(params, tuple(f"{_root(params)}/{file}" for file in files), reads_signature=True)


def write(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write the package to a folder of its name in the folder `ios`: a package that lies in a folder is known by the folder's."""
    from mlkit_build.formats.rendering import render

    request = from_plain(IosParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    root = outputs / _root(request)
    resources = root / _resources(request)
    resources.mkdir(parents=True)
    shutil.copyfile(inputs["model.tflite"], resources / f"{request.name}.tflite")
    if "labels.txt" in inputs:
        shutil.copyfile(inputs["labels.txt"], resources / "labels.txt")
    values = {
        "title": f"{request.name} {request.version} ({request.variant})",
        "module": request.module,
        "name": request.name,
        "version": request.version,
        "variant": request.variant,
        "description": request.description,
        "resources": [f"{request.name}.tflite", *(["labels.txt"] if "labels.txt" in inputs else [])],
        "labelled": "labels.txt" in inputs,
        "image": image_shape(signature),
        "inputs": [_shown(spec, request.io) for spec in signature.inputs],
        "outputs": [_shown(spec, request.io) for spec in signature.outputs],
    }
    (root / "Package.swift").write_bytes(render("Package.swift.jinja", values))
    (root / _accessor(request)).write_bytes(render("Accessor.swift.jinja", values))
    if request.homepage is not None:
        (root / _podspec(request)).write_bytes(_specification(request, request.homepage))


def image_shape(signature: FrozenSignature) -> tuple[int, ...] | None:
    """Return the shape of the one image that a model takes, batch first; None where it takes anything else."""
    first = signature.inputs[0].shape
    return first if len(signature.inputs) == 1 and len(first) == 4 and first[-1] in (1, 3) else None


def _shown(spec: TensorSpec, io: str) -> TensorSpec:
    """Return the tensor as the shipped file has it."""
    return TensorSpec(spec.name, spec.tensor, spec.shape, io if spec.dtype == "float32" else spec.dtype)


def _specification(request: IosParams, homepage: str) -> bytes:
    document = {
        "name": request.module,
        "version": request.version,
        "summary": one_line(request.description, 140) or f"The model {request.name}",
        "homepage": homepage,
        "license": {"type": one_line(request.license) or "not stated"},
        "authors": one_line(request.author) or "not stated",
        "source": {"git": homepage, "tag": request.version},
        "platforms": {"ios": "12.0"},
        "swift_versions": ["5.5"],
        "source_files": _accessor(request),
        "resource_bundles": {request.module: [f"{_resources(request)}/*"]},
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _root(params: IosParams) -> str:
    return f"{FOLDER}/{params.module}"


def _accessor(params: IosParams) -> str:
    return f"Sources/{params.module}/{params.module}.swift"


def _resources(params: IosParams) -> str:
    return f"Sources/{params.module}/Resources"


def _podspec(params: IosParams) -> str:
    return f"{params.module}.podspec.json"
