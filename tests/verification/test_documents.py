"""Whatever JSON the documents of a bundle hold, they are read or refused with a reason: no value breaks a reader."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.bundle.sbom import serial_number
from mlkit_build.plain import pretty
from mlkit_build.strict_json import UnreadableError
from mlkit_build.verbs.verify import _as_json, _as_text
from mlkit_build.verification.documents import read_manifest
from tests.verification.conftest import edited, sealed, verified, wrong

Edit = Callable[[dict[str, Any]], Any]
LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
BILL, MANIFEST, PROVENANCE = "sbom.cdx.json", "manifest.json", "provenance.json"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda m: m["recipe"].update(signature=None), "recipe.signature: expected a mapping, found None"),
        (lambda m: m["recipe"].update(signature="text"), "recipe.signature: expected a mapping, found 'text'"),
        (lambda m: m["recipe"]["signature"]["inputs"].update(x="text"), "recipe.signature.inputs.x: expected a mapping"),
        (lambda m: m["recipe"]["signature"]["inputs"].update(x={"mean": 5}), "recipe.inputs.x.mean: expected a list, found 5"),
        (lambda m: m["recipe"]["signature"]["inputs"].update(x={"std": ["a"]}), "recipe.inputs.x.std[0]: expected a number"),
        (lambda m: m["recipe"]["signature"]["inputs"].update(x={"mean": [None]}), "recipe.inputs.x.mean[0]: expected a number"),
        (lambda m: [m["recipe"].pop(name) for name in ("quantization", "target", "source")], "recipe.quantization: missing"),
        (lambda m: m["recipe"].update(license=5), "recipe.license: expected a text, found 5"),
        (lambda m: m.update(recipe=[]), "recipe: expected a mapping"),
        (lambda m: m.update(gates=5), "gates: expected a list, found 5"),
        (lambda m: m.pop("gates"), "gates: missing"),
        (lambda m: m["metrics"]["size_bytes"].update(value="1"), "metrics.size_bytes.value: expected a number"),
        (lambda m: m["metrics"]["size_bytes"].update(more="1"), "metrics.size_bytes.more: unknown field"),
        (lambda m: m.update(app=[]), "app: expected a mapping"),
        (lambda m: m.update(hops="text"), "hops: expected a mapping"),
        (lambda m: m["toolchain"].update(numpy=2), "toolchain.numpy: expected a text"),
        (lambda m: m.update(variant="int8"), "variant is 'int8', its recipe is of 'float32'"),
        (lambda m: m["recipe"].update(variant="mine"), "variant is 'float32', its recipe is of 'mine'"),
        (lambda m: m["recipe"]["quantization"].update(mode="int8"), "variant is 'float32', its recipe is of 'int8'"),
    ],
)
def test_a_manifest_with_a_part_of_another_type_is_refused(bundle: Path, edit: Edit, words: str) -> None:
    edited(bundle, edit)
    assert words in wrong(bundle)[MANIFEST]


def test_a_manifest_from_before_apps_were_looked_at_is_none_the_worse(bundle: Path) -> None:
    edited(bundle, lambda manifest: [manifest.pop(name) for name in ("app", "hops", "runtimes", "skipped")])
    assert wrong(bundle) == {}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["x\n/a: verified\x1b[31m", "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key or index) of every value within a value."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from places(item)


@pytest.fixture(scope="module")
def written(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundle that examples write their documents to."""
    return shutil.copytree(published, tmp_path_factory.mktemp("written") / "bundle")


@settings(max_examples=2000 if LONG else 150)
@given(data=st.data())
def test_any_value_of_a_document_may_be_any_other(published: Path, written: Path, data: st.DataObject) -> None:
    spoiled = data.draw(st.sampled_from([BILL, MANIFEST, PROVENANCE]))
    document = json.loads((published / spoiled).read_bytes())
    original = json.dumps(document)
    holder, key = data.draw(st.sampled_from(list(places(document))))
    holder[key] = data.draw(VALUES)
    is_another = json.dumps(document) != original
    if spoiled == BILL:
        with contextlib.suppress(ValueError):  # a number that JSON does not have
            document["serialNumber"] = serial_number(document)
    write(written, published, spoiled, document)
    found = verified(written)
    assert is_another or not found.wrong
    lines = _as_text("bundle", found, None).split("\n")
    assert len(lines) == (1 + len(found.wrong) if found.wrong else 2)
    assert all(line.isprintable() for line in lines)
    assert json.loads(_as_json("bundle", found, None))["verified"] is (not found.wrong)
    try:
        read_manifest((written / MANIFEST).read_bytes())
    except UnreadableError:
        assert spoiled == MANIFEST


def write(bundle: Path, published: Path, spoiled: str, document: Any) -> None:
    """Write a document among the others as they were published, with the digests mended as somebody would who spoils one."""
    for name in (BILL, MANIFEST, PROVENANCE):
        shutil.copyfile(published / name, bundle / name)
    (bundle / spoiled).write_text(json.dumps(document, indent=1), encoding="utf-8")
    if spoiled == BILL:
        manifest = json.loads((bundle / MANIFEST).read_bytes())
        data = (bundle / BILL).read_bytes()
        entry = next(entry for entry in manifest["outputs"] if entry["path"] == BILL)
        entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        (bundle / MANIFEST).write_bytes(pretty(manifest))
    if spoiled == PROVENANCE:
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in bundle.iterdir()}
        lines = [f"{digests[name]}  {name}\n" for name in sorted(digests) if name != "SHA256SUMS"]
        (bundle / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    else:
        sealed(bundle)
