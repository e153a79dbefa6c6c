"""`sbom.cdx.json`: the bundle as a bill of materials that other tools read, CycloneDX 1.6 with a model card.

It follows from the manifest alone: no times, and a serial number of its own content. Fields: https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlkit_build.bundle.licences import licence
from mlkit_build.bundle.manifest import FileEntry, Manifest, MetricEntry
from mlkit_build.engine.toolchain import ABSENT, NO_PACKAGES, purl
from mlkit_build.plain import canonical, pretty
from mlkit_build.signature import TensorSpec

SBOM = "sbom.cdx.json"
SAMPLES: Mapping[str, str] = {
    "dataset": "what the model was measured on",
    "calibration": "what quantization observed",
}
"""Role of an input -> what it was for."""
_MODEL = "model"
OWN = "mlkit-build"
"""What the names of our properties begin with."""
FOLDER_DIGEST = f"{OWN}:folder_sha256"


@dataclass(frozen=True)
class Input:
    """A file or folder that the bundle was made of.

    Attributes:
        entry: As the manifest has it.
        roles: Those of `SAMPLES` that it has; none for a file of the source, labels, code.
        is_folder: Whether its digest is that of a folder, which no other tool would find.
    """

    entry: FileEntry
    roles: tuple[str, ...] = ()
    is_folder: bool = False


def bill_of_materials(manifest: Manifest, inputs: Sequence[Input]) -> bytes:
    """Return the file's bytes.

    Args:
        manifest: Of the bundle, without this file among its outputs.
        inputs: Those of the manifest.
    """
    named = [(f"input:{index}", found) for index, found in enumerate(inputs)]
    made_with = dict(tools(manifest.toolchain))
    bill: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": OWN, "version": manifest.toolchain[OWN]}]},
            "component": _model(manifest, [reference for reference, found in named if found.roles]),
        },
        "components": [*(_input(reference, found) for reference, found in named), *made_with.values()],
        "dependencies": [{"ref": _MODEL, "dependsOn": [*(reference for reference, _ in named), *made_with]}],
    }
    return pretty({**bill, "serialNumber": serial_number(bill)})


def with_toolchain(data: bytes, toolchain: Mapping[str, str]) -> bytes:
    """Return the bytes of a bill that `bill_of_materials` wrote, as it would have written them of other tools."""
    bill = json.loads(data)
    made_with = dict(tools(toolchain))
    made_of = [part for part in bill["components"] if part["type"] in ("file", "data")]
    bill["metadata"]["tools"]["components"][0]["version"] = toolchain.get(OWN, ABSENT)
    bill["components"] = [*made_of, *made_with.values()]
    bill["dependencies"][0]["dependsOn"] = [*(part["bom-ref"] for part in made_of), *made_with]
    return pretty({**bill, "serialNumber": serial_number(bill)})


def _model(manifest: Manifest, samples: Sequence[str]) -> dict[str, Any]:
    """Return the component of the model itself, with its card."""
    recipe = manifest.recipe
    file = next(entry for entry in manifest.outputs if entry.path == f"{manifest.name}.tflite")
    stated: dict[str, Any] = {
        "authors": [{"name": recipe.author}] if recipe.author else [],
        "description": recipe.description,
        "licenses": [licence(recipe.license)] if recipe.license else [],
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": manifest.name,
        "version": manifest.version,
        **{name: value for name, value in stated.items() if value},
        "hashes": _hashes(file),
        "modelCard": {
            "modelParameters": {
                "task": recipe.target.task,
                "datasets": [{"ref": reference} for reference in samples],
                "inputs": [_port(spec, recipe.quantization.io) for spec in manifest.signature.inputs],
                "outputs": [_port(spec, recipe.quantization.io) for spec in manifest.signature.outputs],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [_metric(name, found) for name, found in manifest.metrics.items()],
            },
        },
        "properties": _properties(
            file=file.path,
            variant=manifest.variant,
            quantization=recipe.quantization.mode,
            source=recipe.source.kind,
        ),
    }


def _input(reference: str, found: Input) -> dict[str, Any]:
    entry = found.entry
    kind: dict[str, Any] = {"type": "file"}
    if found.roles:
        kind = {
            "type": "data",
            "description": "; ".join(SAMPLES[role] for role in found.roles),
            "data": [{"type": "dataset", "name": role} for role in found.roles],
        }
    digest = {"properties": [{"name": FOLDER_DIGEST, "value": entry.sha256}]} if found.is_folder else {"hashes": _hashes(entry)}
    return {"type": kind.pop("type"), "bom-ref": reference, "name": entry.path, **kind, **digest}


def tools(toolchain: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (reference, component) of what made the model and is no part of it."""
    for name, version in toolchain.items():
        if name == "python":
            yield name, _tool("platform", name, version)
        elif name not in NO_PACKAGES and version != ABSENT:
            yield name, _tool("library", name, version)


def _tool(kind: str, name: str, version: str) -> dict[str, Any]:
    return {
        "type": kind,
        "bom-ref": name,
        "name": name,
        "version": version,
        "scope": "excluded",  # the specification's word for what a build uses and an app does not have
        "purl": purl(name, version),
    }


def _port(spec: TensorSpec, io: str) -> dict[str, str]:
    """Return an input or output of the shipped model, `image: uint8 [1, 28, 28, 3]`."""
    dtype = io if spec.dtype == "float32" else spec.dtype
    return {"format": f"{spec.name}: {dtype} {list(spec.shape)}"}


def _metric(name: str, found: MetricEntry) -> dict[str, Any]:
    if found.interval is None:
        return {"type": name, "value": number(found.value)}
    lower, upper = found.interval
    interval = {"lowerBound": number(lower), "upperBound": number(upper)}
    return {"type": name, "value": number(found.value), "confidenceInterval": interval}


def number(value: Any) -> str:
    """Return a measured value as the bill has it: a text, as the schema wants it."""
    return canonical(value).decode()


def _hashes(entry: FileEntry) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": entry.sha256}]


def _properties(**values: str) -> list[dict[str, str]]:
    return [{"name": f"{OWN}:{name}", "value": value} for name, value in values.items()]


def serial_number(bill: Mapping[str, Any]) -> str:
    """Return a UUID that stands for the rest of the bill: version 8 of RFC 9562, for those made in a way of one's own."""
    digits = hashlib.sha256(canonical({**bill, "serialNumber": ""})).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"
