"""The keys and certificates that a user names, looked at before anything is built: what model-signing would refuse at its end."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Sign
from mlkit_build.records import dataclass
from mlkit_build.signing.library import read

PASSWORD = "MLKIT_BUILD_KEY_PASSWORD"
"""The variable with the key's password."""
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""Curve as its standard has it -> as people call it; model-signing takes no others."""
_EXPECTED = f"a private key in PEM on one of the curves {', '.join(CURVES.values())}"
_MAKE = "e.g. `openssl ecparam -name prime256v1 -genkey -noout -out private.pem`"


@dataclass(frozen=True)
class PrivateKey:
    """A private key that can sign.

    Attributes:
        path: Its file.
        hint: SHA-256 of its public key in PEM, by which a signature names it.
        public: Its public key, an object of `cryptography`.
        password: None for a key without one.
    """

    path: Path
    hint: str
    public: Any
    password: bytes | None

    def __repr__(self) -> str:
        return f"PrivateKey(path={self.path!r}, hint={self.hint!r})"


def private_key(stated: Sign) -> PrivateKey:
    """Return the key to sign with.

    Raises:
        ConfigError: It is missing, not readable, encrypted with another password, or of another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    assert stated.key is not None
    field = "package.sign.key"
    data, password = read(field, stated.key), None
    try:
        try:
            key = load_pem_private_key(data, None)
        except TypeError:  # it is encrypted
            password = _password(stated)
            key = load_pem_private_key(data, password)
    except (ValueError, UnsupportedAlgorithm) as error:
        if password is not None:
            raise ConfigError(f"{field}: {stated.key}: the password is not that of the key", f"see {_place(stated)}") from error
        raise ConfigError(f"{field}: {stated.key}: expected {_EXPECTED}, found something else", _MAKE) from error
    _refuse_kind(field, stated.key, key)
    return PrivateKey(Path(stated.key).expanduser(), hint_of(key.public_key()), key.public_key(), password)


def certificates(stated: Sign, key: PrivateKey) -> tuple[str, ...]:
    """Return the SHA-256 of each certificate that a signature will hold, the key's own first, and once more with the others.

    Raises:
        ConfigError: They cannot be read; the first is of another key or may not sign; the key has a password.
    """
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    assert stated.certificate is not None
    field = "package.sign.certificate"
    try:
        loaded = load_pem_x509_certificates(read(field, stated.certificate))
    except ValueError as error:
        raise ConfigError(f"{field}: {stated.certificate}: expected certificates in PEM, found something else") from error
    _refuse_certificate(field, stated.certificate, loaded[0], key)
    if key.password is not None:
        raise ConfigError(
            f"package.sign.key: {stated.key}: expected a key without a password, found an encrypted one",
            "model-signing reads none with a password where there is a certificate",
        )
    return tuple(hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest() for certificate in (loaded[0], *loaded))


def hint_of(public: Any) -> str:
    """Return the SHA-256 of a public key in PEM, as signatures by model-signing state it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _refuse_kind(field: str, path: str, key: Any) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    if not isinstance(key, EllipticCurvePrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey").strip("_")
        raise ConfigError(f"{field}: {path}: expected {_EXPECTED}, found one of the kind {kind}", _MAKE)
    if key.curve.name not in CURVES:
        raise ConfigError(f"{field}: {path}: expected {_EXPECTED}, found one on {key.curve.name}", _MAKE)


def _refuse_certificate(field: str, path: str, certificate: Any, key: PrivateKey) -> None:
    from cryptography import x509

    if certificate.public_key() != key.public:
        raise ConfigError(f"{field}: {path}: it is the certificate of another key than {key.path}")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        signs = usage.digital_signature
    except x509.ExtensionNotFound:
        signs = False
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        signs |= x509.oid.ExtendedKeyUsageOID.CODE_SIGNING in extended
    except x509.ExtensionNotFound:
        pass
    if not signs:
        raise ConfigError(
            f"{field}: {path}: expected a certificate for digital signatures or code signing, found one for neither",
            "nobody could check what it signs: model-signing looks at `keyUsage` and `extendedKeyUsage`",
        )


def _password(stated: Sign) -> bytes:
    if stated.password_file is not None:
        field = "package.sign.password_file"
        password = read(field, stated.password_file).removesuffix(b"\n").removesuffix(b"\r")
        if not password:
            raise ConfigError(f"{field}: {stated.password_file}: expected the password of {stated.key}, found an empty line")
        return password
    if os.environ.get(PASSWORD):  # a secret that a CI system does not have is often an empty variable
        return os.environb[os.fsencode(PASSWORD)] if os.supports_bytes_environ else os.environ[PASSWORD].encode()
    empty = f": {PASSWORD} is empty" if PASSWORD in os.environ else ""
    raise ConfigError(
        f"package.sign.key: {stated.key}: it is encrypted, and no password was given{empty}",
        f"set the variable {PASSWORD}, or package.sign.password_file=",
    )


def _place(stated: Sign) -> str:
    return f"package.sign.password_file: {stated.password_file}" if stated.password_file else f"the variable {PASSWORD}"
