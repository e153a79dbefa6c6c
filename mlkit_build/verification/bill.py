"""Whether the bill of materials of a bundle says what the manifest says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlkit_build.bundle.sbom import FOLDER_DIGEST, number, serial_number, tools
from mlkit_build.verification.documents import MAX_BYTES, Stated, UnreadableError, read_json
from mlkit_build.verification.places import Place


def contradictions(place: Place, name: str, stated: Stated) -> Iterator[str]:
    """Yield what the bill says otherwise than the manifest: the model and its digest, metrics, inputs, toolchain.

    Args:
        name: The name of its file in the bundle.
    """
    with place.open(name) as file:
        data = file.read(MAX_BYTES + 1)
    try:
        bill = read_json(data)
        said = _said(bill)
        if bill["serialNumber"] != serial_number(bill):
            yield "its serial number is that of another content"
    except UnreadableError as error:
        yield str(error)
        return
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        yield "expected a bill of materials of CycloneDX 1.6 with one model, found something else"
        return
    for what, expected in _expected(stated).items():
        if said[what] != expected:
            yield f"says of {what}: {_differing(said[what], expected)}"


def _said(bill: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a bill says of what the manifest says too. Raises all that comes of JSON of another shape."""
    if (bill["bomFormat"], bill["specVersion"]) != ("CycloneDX", "1.6"):
        raise ValueError
    model, parts = bill["metadata"]["component"], bill["components"]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    made_of = [part for part in parts if part["type"] in ("file", "data")]
    return {
        "the model": {"name": model["name"], "version": model["version"], "sha256": model["hashes"][0]["content"]},
        "the metrics": {str(metric["type"]): metric["value"] for metric in metrics},
        "the inputs": sorted(f"{part['name']} {_digest(part)}" for part in made_of),
        "the toolchain": {str(part["name"]): part["version"] for part in parts if part not in made_of},
    }


def _digest(part: Mapping[str, Any]) -> str:
    if "hashes" in part:
        return str(part["hashes"][0]["content"])
    return next(str(found["value"]) for found in part["properties"] if found["name"] == FOLDER_DIGEST)


def _expected(stated: Stated) -> dict[str, Any]:
    """Return what it has to say."""
    model = {entry.path: entry.sha256 for entry in stated.outputs}.get(f"{stated.name}.tflite")
    metrics = stated.whole.get("metrics")
    values = metrics if isinstance(metrics, dict) else {}
    return {
        "the model": {"name": stated.name, "version": stated.version, "sha256": model},
        "the metrics": {name: number(found.get("value")) for name, found in values.items() if isinstance(found, dict)},
        "the inputs": sorted(f"{entry.path} {entry.sha256}" for entry in stated.inputs),
        "the toolchain": {name: part["version"] for name, part in tools(stated.toolchain)},
    }


def _differing(said: Any, expected: Any) -> str:
    """Return the first thing that differs."""
    if isinstance(said, dict):
        name = next(name for name in [*expected, *said] if said.get(name) != expected.get(name))
        return f"{name} {said.get(name)}, the manifest says {expected.get(name)}"
    other = sorted(set(said) ^ set(expected)) or ["one of them twice"]
    return f"{other[0]}, {'the manifest alone' if other[0] in expected else 'which the manifest does not say'}"
