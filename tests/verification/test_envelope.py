"""`model.sig` is read strictly and without any cryptography: it may have been made up."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.strict_json import UnreadableError
from mlkit_build.verification.envelope import read_envelope

DIGEST = "0" * 64
STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "toy", "digest": {"sha256": DIGEST}}],
    "predicateType": "https://model_signing/signature/v1.0",
    "predicate": {
        "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ["model.sig"]},
        "resources": [{"name": "a/toy.tflite", "algorithm": "sha256", "digest": DIGEST}],
    },
}
BUNDLE = {
    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    "verificationMaterial": {"publicKey": {"hint": "1" * 64}, "tlogEntries": []},
    "dsseEnvelope": {"payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "AAAA", "keyid": ""}]},
}


def written(statement: Any = STATEMENT, **changes: Any) -> bytes:
    bundle = copy.deepcopy(BUNDLE)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps({**bundle, **changes}).encode()


def changed(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    result = copy.deepcopy(value)
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = other
    return result


def test_what_is_signed_is_read() -> None:
    found = read_envelope(written())
    assert (found.method, found.signers, found.files) == ("key", ("1" * 64,), {"a/toy.tflite": DIGEST})
    certificate = {"rawBytes": base64.b64encode(b"abc").decode()}
    chain = read_envelope(written(verificationMaterial={"x509CertificateChain": {"certificates": [certificate]}}))
    # printf abc | sha256sum
    assert chain.signers == ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",)
    assert read_envelope(written(verificationMaterial={"certificate": certificate})).method == "sigstore"


@pytest.mark.parametrize(
    ("path", "other", "found"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1", "in-toto statement"),
        (("predicateType",), "https://slsa.dev/provenance/v1", "in-toto statement"),
        (("predicate", "serialization", "method"), "shards", "whole files"),
        (("predicate", "serialization", "hash_type"), "blake3", "whole files"),
        (("predicate", "resources", 0, "algorithm"), "blake2b", "expected a sha256"),
        (("predicate", "resources", 0, "digest"), "00", "64 lower-case hex digits"),
        (("predicate", "resources", 0, "digest"), "A" * 64, "64 lower-case hex digits"),
        (("predicate", "resources", 0, "name"), "../toy.tflite", "within the bundle"),
        (("predicate", "resources", 0, "name"), "/toy.tflite", "within the bundle"),
        (("predicate", "resources", 0, "name"), 7, "within the bundle"),
        (("predicate", "resources"), STATEMENT["predicate"]["resources"] * 2, "named twice"),  # type: ignore[index]
        (("predicate", "resources"), 7, "found something else"),
        (("predicate",), [], "found something else"),
    ],
)
def test_a_statement_that_says_something_else_is_refused(path: tuple[Any, ...], other: Any, found: str) -> None:
    with pytest.raises(UnreadableError, match=found):
        read_envelope(written(changed(STATEMENT, path, other)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b"null",
        b'{"a": 1, "a": 1}',
        b"[" * 100_000,
        written(verificationMaterial={}),
        written(verificationMaterial={"publicKey": {"hint": ""}}),
        written(verificationMaterial={"publicKey": {"hint": 7}}),
        written(verificationMaterial={"x509CertificateChain": {"certificates": [{"rawBytes": "é"}]}}),
        written(verificationMaterial={"certificate": {"rawBytes": "*"}}),
        written(dsseEnvelope={}),
        written(dsseEnvelope={"payloadType": "text/plain", "payload": "", "signatures": [{}]}),
        written(dsseEnvelope={"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": []}),
        written(dsseEnvelope={"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": [{}]}),
        written(statement=[]),
    ],
)
def test_what_is_no_signature_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_envelope(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2), max_leaves=4
)
PLACES = st.sampled_from(
    [
        ("verificationMaterial",),
        ("dsseEnvelope",),
        ("verificationMaterial", "publicKey"),
        ("dsseEnvelope", "payload"),
        ("dsseEnvelope", "signatures"),
    ]
)


@given(PLACES, VALUES)
def test_whatever_stands_in_a_field_is_read_or_refused(path: tuple[str, ...], other: Any) -> None:
    data = json.dumps(changed(json.loads(written()), path, other)).encode()
    with contextlib.suppress(UnreadableError):
        assert read_envelope(data).files == {"a/toy.tflite": DIGEST}
