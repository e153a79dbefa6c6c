"""A bill of materials that says otherwise than the manifest is found, though somebody made all digests fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.bundle.sbom import serial_number
from mlkit_build.plain import pretty
from tests.verification.conftest import edited, wrong

Change = Callable[[dict[str, Any]], Any]
BILL = "sbom.cdx.json"


def metrics(bill: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bill["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    return found


def written(bundle: Path, data: bytes) -> None:
    """Put another bill into a bundle, with the right digest everywhere."""
    (bundle / BILL).write_bytes(data)

    def fit(manifest: dict[str, Any]) -> None:
        entry = next(entry for entry in manifest["outputs"] if entry["path"] == BILL)
        entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}

    edited(bundle, fit)


def test_the_same_bill_is_no_contradiction(bundle: Path) -> None:
    written(bundle, (bundle / BILL).read_bytes())
    assert wrong(bundle) == {}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda bill: bill["metadata"]["component"].update(version="9"), "says of the model: version 9, the manifest says 1.0.0"),
        (lambda bill: bill["metadata"]["component"]["hashes"][0].update(content="0" * 64), "says of the model: sha256 0000"),
        (
            lambda bill: bill["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0].update(
                value="1"
            ),
            "says of the metrics: size_bytes 1, the manifest says",
        ),
        (lambda bill: bill["metadata"]["component"].update(description="other"), "says of the model: description other, the"),
        (
            lambda bill: bill["metadata"]["component"].update(authors=[{"name": "me"}]),
            "says of the model: author me, the manifest",
        ),
        (lambda bill: bill["metadata"]["component"].update(licenses=[{"license": {"id": "MIT"}}]), "says of the model: licence "),
        (
            lambda bill: bill["metadata"]["component"]["properties"].pop(1),
            "says of the model: variant nothing, the manifest says",
        ),
        (lambda bill: bill["metadata"]["component"]["hashes"][0].update(alg="MD5"), "one SHA-256 of each file"),
        (
            lambda bill: bill["metadata"]["component"]["hashes"].append({"alg": "SHA-256", "content": "0" * 64}),
            "one SHA-256 of each file",
        ),
        (
            lambda bill: bill["metadata"]["tools"]["components"][0].update(version="9"),
            "says of the toolchain: mlkit-build 9, the",
        ),
        (
            lambda bill: bill["components"].append({"type": "library", "name": "x", "version": "1"}),
            "toolchain: x 1, the manifest",
        ),
        (
            lambda bill: bill["components"].append({"type": "library", "name": "x", "version": None}),
            "expected a bill of materials",
        ),
        (
            lambda bill: bill["components"].append({**bill["components"][-1], "type": "firmware"}),
            "names a tool or a metric twice",
        ),
        (lambda bill: bill["components"].pop(0), "the manifest alone"),
        (lambda bill: bill["components"].insert(0, bill["components"][0]), "says of the inputs: one of them twice"),
        (lambda bill: bill["components"][-1].update(version="0.1"), "says of the toolchain: "),
        (lambda bill: bill.update(specVersion="1.5"), "expected a bill of materials of CycloneDX 1.6"),
        (lambda bill: bill.pop("components"), "expected a bill of materials of CycloneDX 1.6"),
        (lambda bill: bill["metadata"].update(component=[]), "expected a bill of materials of CycloneDX 1.6"),
    ],
)
def test_a_bill_that_says_otherwise_is_found(bundle: Path, change: Change, found: str) -> None:
    bill = json.loads((bundle / BILL).read_bytes())
    change(bill)
    bill["serialNumber"] = serial_number(bill)
    written(bundle, pretty(bill))
    assert list(wrong(bundle)) == [BILL]
    assert found in wrong(bundle)[BILL]


def test_a_bill_of_another_content_than_its_serial_number_says_is_found(bundle: Path) -> None:
    bill = json.loads((bundle / BILL).read_bytes())
    bill["metadata"]["component"]["description"] = "something else"
    written(bundle, pretty(bill))
    assert wrong(bundle) == {BILL: "its serial number is that of another content"}


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b'{"bomFormat": 1, "bomFormat": 2}', b"[" * 100_000, b'{"a": NaN}', b'{"a": 1e999}', b"\xff"]
)
def test_a_bill_that_is_none_is_refused_with_a_reason(bundle: Path, data: bytes) -> None:
    written(bundle, data)
    assert list(wrong(bundle)) == [BILL]
    assert "expected" in wrong(bundle)[BILL] or "nested too deeply" in wrong(bundle)[BILL] or "twice" in wrong(bundle)[BILL]


def test_a_bundle_from_before_there_were_bills_is_none_the_worse(bundle: Path) -> None:
    (bundle / BILL).unlink()
    edited(bundle, lambda manifest: manifest.update(outputs=[one for one in manifest["outputs"] if one["path"] != BILL]))
    provenance = json.loads((bundle / "provenance.json").read_bytes())
    provenance["subject"] = [subject for subject in provenance["subject"] if subject["name"] != BILL]
    (bundle / "provenance.json").write_bytes(pretty(provenance))
    edited(bundle, lambda manifest: None)
    assert wrong(bundle) == {}
