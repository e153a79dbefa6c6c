"""Whether the bill of materials of a bundle says what the manifest says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlkit_build.bundle.licences import licence
from mlkit_build.bundle.sbom import FOLDER_DIGEST, OWN, number, serial_number, tools
from mlkit_build.plain import canonical
from mlkit_build.strict_json import MAX_BYTES, UnreadableError, read_json
from mlkit_build.verification.documents import StatedInFull
from mlkit_build.verification.places import Place

_MADE_OF = ("file", "data")
"""The types of components that went into the model; others made it."""
_NOTHING = "nothing"


def contradictions(place: Place, name: str, stated: StatedInFull) -> Iterator[str]:
    """Yield what the bill says otherwise than the manifest: of the model and its digest, metrics, inputs, toolchain.

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
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        yield "expected a bill of materials of CycloneDX 1.6 with one model and one SHA-256 of each file, found something else"
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
    made_of = [part for part in parts if part["type"] in _MADE_OF]
    made_with = [part for part in parts if part["type"] not in _MADE_OF]
    return {
        "the model": {
            **{name: _text(model.get(name, "")) for name in ("name", "version", "description")},
            "author": ", ".join(_text(author["name"]) for author in model.get("authors", [])),
            "licence": _spelled(model.get("licenses", [])),
            "sha256": _sha256(model),
            **{_text(item["name"]).removeprefix(f"{OWN}:"): _text(item["value"]) for item in model["properties"]},
        },
        "the metrics": _once((_text(metric["type"]), _text(metric["value"])) for metric in metrics),
        "the inputs": sorted(f"{_text(part['name'])} {_digest(part)}" for part in made_of),
        "the toolchain": _once(
            (_text(part["name"]), _text(part["version"])) for part in (*bill["metadata"]["tools"]["components"], *made_with)
        ),
    }


def _once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    listed = list(pairs)
    found = dict(listed)
    if len(found) != len(listed):
        raise UnreadableError("names a tool or a metric twice")
    return found


def _digest(part: Mapping[str, Any]) -> str:
    if "hashes" in part:
        return _sha256(part)
    return next(_text(found["value"]) for found in part["properties"] if found["name"] == FOLDER_DIGEST)


def _sha256(part: Mapping[str, Any]) -> str:
    """Return the one hash of a part: beside another, nobody knows which of them other tools go by."""
    (only,) = part["hashes"]
    if only["alg"] != "SHA-256":
        raise ValueError
    return _text(only["content"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _spelled(value: Any) -> str:
    return canonical(value).decode()


def _expected(stated: StatedInFull) -> dict[str, Any]:
    """Return what it has to say."""
    model = {entry.path: entry.sha256 for entry in stated.outputs}.get(f"{stated.name}.tflite")
    recipe, metrics = stated.said, stated.whole["metrics"]
    return {
        "the model": {
            "name": stated.name,
            "version": stated.version,
            "description": recipe.description,
            "author": recipe.author,
            "licence": _spelled([licence(recipe.license)] if recipe.license else []),
            "sha256": model,
            "file": f"{stated.name}.tflite",
            "variant": stated.variant,
            "quantization": recipe.mode,
            "source": recipe.source,
        },
        "the metrics": {name: number(found["value"]) for name, found in metrics.items()},
        "the inputs": sorted(f"{entry.path} {entry.sha256}" for entry in stated.inputs),
        "the toolchain": {
            **{name: version for name, version in stated.toolchain.items() if name == OWN},
            **{name: part["version"] for name, part in tools(stated.toolchain)},
        },
    }


def _differing(said: Any, expected: Any) -> str:
    """Return the first thing that differs."""
    if isinstance(said, dict):
        name = next(name for name in [*expected, *said] if said.get(name, _NOTHING) != expected.get(name, _NOTHING))
        return f"{name} {said.get(name, _NOTHING)}, the manifest says {expected.get(name, _NOTHING)}"
    other = sorted(set(said) ^ set(expected)) or ["one of them twice"]
    return f"{other[0]}, {'the manifest alone' if other[0] in expected else 'which the manifest does not say'}"
