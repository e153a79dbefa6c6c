"""`model.sig`: who signed which files, read without any cryptography. That the signature is genuine is for `mlkit_build.signing`.

A Sigstore bundle (https://docs.sigstore.dev/about/bundle/) around a DSSE envelope with an in-toto statement of the type
https://model_signing/signature/v1.0, as model-signing 1.x writes it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from mlkit_build.records import dataclass
from mlkit_build.strict_json import UnreadableError, read_json
from mlkit_build.verification.documents import check_named

METHODS: Mapping[str, str] = {"key": "a key", "certificate": "a certificate", "sigstore": "an identity, by Sigstore"}
"""Way of signing -> what with."""
OPTIONS: Mapping[str, str] = {
    "key": "--key",
    "certificate": "--certificate-chain",
    "sigstore": "--identity and --identity-provider",
}
"""Way of signing -> the options of `verify` that say whom to trust."""
_EXPECTED = "expected a Sigstore bundle as model-signing writes it"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"


@dataclass(frozen=True)
class Envelope:
    """What a signature says of itself.

    Attributes:
        method: One of `METHODS`.
        signers: SHA-256 of the public key in PEM, or of each certificate in DER, that of the signer first; none for Sigstore,
            which makes a certificate for every signature.
        files: What is signed, name -> SHA-256.
    """

    method: str
    signers: tuple[str, ...]
    files: Mapping[str, str]


def read_envelope(data: bytes) -> Envelope:
    """Return what a `model.sig` says.

    Raises:
        UnreadableError: It is no signature by model-signing over whole files, each by its SHA-256.
    """
    found = read_json(data)
    try:
        method, signers = _signers(found["verificationMaterial"])
        envelope = found["dsseEnvelope"]
        if envelope["payloadType"] != _PAYLOAD or not envelope["signatures"]:
            raise UnreadableError(f"{_EXPECTED}, with a payload of the type {_PAYLOAD} that is signed")
        return Envelope(method, signers, _files(read_json(_bytes(envelope["payload"]))))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise UnreadableError(f"{_EXPECTED}, found something else") from error


def _signers(material: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if "publicKey" in material:
        hint = material["publicKey"]["hint"]
        if not isinstance(hint, str) or not hint:
            raise UnreadableError("expected the SHA-256 of the key that signed, found none")
        return "key", (hint,)
    if "x509CertificateChain" in material:
        chain = [_bytes(certificate["rawBytes"]) for certificate in material["x509CertificateChain"]["certificates"]]
        return "certificate", tuple(hashlib.sha256(certificate).hexdigest() for certificate in chain)
    _bytes(material["certificate"]["rawBytes"])
    return "sigstore", ()


def _files(statement: Mapping[str, Any]) -> dict[str, str]:
    if (statement["_type"], statement["predicateType"]) != (_STATEMENT, _PREDICATE):
        raise UnreadableError(f"expected an in-toto statement of the type {_STATEMENT} with {_PREDICATE}")
    predicate = statement["predicate"]
    serialized = predicate["serialization"]
    if (serialized["method"], serialized["hash_type"]) != ("files", "sha256"):
        raise UnreadableError(
            "expected the SHA-256 of whole files, found other digests: sign it again without options for hashing"
        )
    named: dict[str, str] = {}
    for index, resource in enumerate(predicate["resources"]):
        if resource["algorithm"] != "sha256":
            raise UnreadableError(f"resources[{index}]: expected a sha256, found {resource['algorithm']!r}")
        check_named(f"resources[{index}]", resource["name"], resource["digest"], named)
        named[resource["name"]] = resource["digest"]
    return named


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
