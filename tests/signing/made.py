"""Keys and certificates, made for one test."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

cryptography = pytest.importorskip("cryptography", reason="the extra `sign` is not installed")
pytest.importorskip("model_signing", reason="the extra `sign` is not installed")

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.serialization import (  # noqa: E402
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    """Return a private key as OpenSSL writes it."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def public_pem(key: Any) -> bytes:
    """Return the public key of a private one."""
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def key_pair(folder: Path, name: str = "owner", curve: Any = None, password: bytes | None = None) -> tuple[Path, Path]:
    """Write a new private key and its public one; return their files."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(private_pem(key, password))
    public.write_bytes(public_pem(key))
    return private, public


def certificate(subject: str, key: Any, issuer: str, issuer_key: Any, *, authority: bool = False, signs: bool = True) -> bytes:
    """Return a certificate of `key` by `issuer_key`."""
    now = datetime.now(UTC)
    names = [x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    usage = x509.KeyUsage(
        digital_signature=signs and not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    built = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    return bytes(built.public_bytes(Encoding.PEM))


def certified(folder: Path, *, signs: bool = True) -> dict[str, Path]:
    """Write a key with its certificate, that of who issued it, and the root above; return name -> file."""
    root, middle, owner = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    written = {
        "key": private_pem(owner),
        "certificate": certificate("owner", owner, "middle", middle, signs=signs),
        "chain": b"",
        "middle": certificate("middle", middle, "root", root, authority=True),
        "root": certificate("root", root, "root", root, authority=True),
    }
    written["chain"] = written["certificate"] + written["middle"]
    files = {name: folder / f"certified-{name}.pem" for name in written}
    for name, file in files.items():
        file.write_bytes(written[name])
    return files


def token(seconds: float = 600) -> str:
    """Return an identity token for Sigstore that is valid for so long. Nobody signed it: that is for Sigstore to find."""
    now = time.time()
    claims = {"aud": "sigstore", "iss": "https://accounts.example.org", "sub": "somebody", "email": "somebody@example.org"}
    parts = (
        {"alg": "RS256", "typ": "JWT"},
        {**claims, "email_verified": True, "iat": now - 700, "nbf": now - 700, "exp": now + seconds},
    )
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, base64.urlsafe_b64encode(b"none").decode().rstrip("=")])
