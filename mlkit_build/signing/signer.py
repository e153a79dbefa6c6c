"""Who signs a bundle: opened before anything is built, asked once everything else of the bundle is there."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.bundle.publish import CHECKSUMS, SIGNATURE
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.recipe import Sign
from mlkit_build.records import dataclass
from mlkit_build.signing.keys import certificates, private_key
from mlkit_build.signing.library import hashed, read, refuse_absent, told
from mlkit_build.store import Digest
from mlkit_build.strict_json import UnreadableError
from mlkit_build.verification.envelope import Envelope, read_envelope

FIELD = "package.sign"
_CLIENT = "sigstore"
"""Whom Sigstore's identity tokens are for, as model-signing has it."""


@dataclass(frozen=True)
class Signer:
    """Who signs.

    Attributes:
        method: One of `mlkit_build.verification.envelope.METHODS`.
        signers: As the envelope will state them.
        use: The method of model-signing's `signing.Config` that this is, without `use_` and `_signer`.
        options: Its arguments, but for a token or password: these are in `secret`.
        secret: Never shown.
    """

    method: str
    signers: tuple[str, ...]
    use: str
    options: Mapping[str, Any]
    secret: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Signer(method={self.method!r}, signers={self.signers!r})"

    def made(self, envelope: Envelope) -> bool:
        """Return whether a signature says that it is by this signer."""
        return (envelope.method, envelope.signers) == (self.method, self.signers)

    def sign(self, folder: Path, name: str) -> None:
        """Write `model.sig` over all files of `folder`, which is complete but for that and the checksums.

        Args:
            name: What the signature calls the bundle.

        Raises:
            OSError: The disk is full.
            StageError: Sigstore cannot be reached or refuses, or a key is not what it was when the build began.
        """
        from model_signing import signing

        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        digests = {file: Digest.of_file(folder / file).sha256 for file in names if file not in (SIGNATURE, CHECKSUMS)}
        try:
            config = signing.Config().set_hashing_config(hashed(name, digests))
            getattr(config, f"use_{self.use}_signer")(**self.options, **self.secret).sign(folder, folder / SIGNATURE)
            envelope = read_envelope((folder / SIGNATURE).read_bytes())
        except UnreadableError as error:
            raise StageError(f"{FIELD}: model-signing wrote a signature that cannot be read: {error}") from error
        except Exception as error:  # of the disk, of the network, of TUF, of the service, of the key: each of several libraries
            if (refused := _of_disk(error)) is not None:
                raise refused from error
            what = "Sigstore did not sign it" if self.method == "sigstore" else "it could not be signed"
            hint = (
                "look at network and token, then build again: nothing but the signature is missing"
                if self.method == "sigstore"
                else ""
            )
            raise StageError(f"{FIELD}: {what}, so nothing was published: {told(error)}", hint) from error
        if envelope.files != digests or not self.made(envelope):
            raise StageError(f"{FIELD}: the signature is not over the files of the bundle, or by another key", "build again")


def _of_disk(error: BaseException | None) -> OSError | None:
    """Return what an error is about if that is a full disk: whoever publishes the folder says which it is."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        error = error.__cause__ or error.__context__
    return None


def open_signer(stated: Sign) -> Signer:
    """Return who signs.

    Raises:
        ConfigError: The extra is not installed; a key, certificate or token is missing, or not what it has to be.
    """
    refuse_absent(FIELD)
    if stated.sigstore:
        return Signer("sigstore", (), "sigstore", {"use_ambient_credentials": False}, {"identity_token": _token(stated)})
    key = private_key(stated)
    options: dict[str, Any] = {"private_key": key.path}
    if stated.certificate is None:
        return Signer("key", (key.hint,), "elliptic_key", options, {"password": key.password})
    file = Path(stated.certificate).expanduser()
    # model-signing takes the first of the one and all of the other, of which there must be some: the key's own is there twice
    options |= {"signing_certificate": file, "certificate_chain": [file]}
    return Signer("certificate", certificates(stated, key), "certificate", options, {})


def _token(stated: Sign) -> str:
    """Return the identity token: model-signing would ask for one in a browser, which no build can wait for."""
    from sigstore.oidc import IdentityToken, detect_credential

    field = f"{FIELD}.identity_token"
    stated_token = read(field, stated.identity_token).decode("ascii", "replace").strip() if stated.identity_token else None
    try:
        found = detect_credential(_CLIENT) if stated_token is None else stated_token
        if found is not None:
            IdentityToken(found, _CLIENT)
    except Exception as error:  # of the token, and of the CI system and the network on the way to it
        raise ConfigError(
            f"{field}: {told(error)}", "expected a token of OpenID Connect for `sigstore` that has not expired"
        ) from error
    if found is None:
        raise ConfigError(f"{field}: none given, and this is no CI system that has one", "name a file with the token")
    return str(found)
