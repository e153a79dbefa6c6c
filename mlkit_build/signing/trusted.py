"""Whom a user trusts to have signed a bundle, and whether they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.records import dataclass
from mlkit_build.signing.library import hashed, read, refuse_absent, told
from mlkit_build.temporary import temporary_folder
from mlkit_build.verification.envelope import METHODS, OPTIONS, Envelope


@dataclass(frozen=True)
class Trusted:
    """Whom to trust, opened.

    Attributes:
        method: One of `METHODS`.
        shown: Who that is, in words.
        verifier: A `verifying.Config` of model-signing.
    """

    method: str
    shown: str
    verifier: Any

    @classmethod
    def by_key(cls, path: str) -> Trusted:
        """Trust the owner of a public key.

        Raises:
            ConfigError: The extra is not installed, or the file holds no such key.
        """
        _ready("--key", [path])
        from model_signing import verifying

        try:
            verifier = verifying.Config().use_elliptic_key_verifier(public_key=Path(path).expanduser())
        except Exception as error:  # an RSA key has no curve, which is an AttributeError there
            raise ConfigError(
                f"verify: --key: {path}: expected the public key of an elliptic curve (P-256, P-384, P-521) in PEM",
                "`openssl ec -in private.pem -pubout -out public.pem` makes it of the private one",
            ) from error
        return cls("key", f"the key {path}", verifier)

    @classmethod
    def by_certificates(cls, paths: Sequence[str]) -> Trusted:
        """Trust whom the owners of certificates have vouched for.

        Raises:
            ConfigError: The extra is not installed, or a file holds no certificate.
        """
        _ready("--certificate-chain", paths)
        from model_signing import verifying

        try:
            chain = [Path(path).expanduser() for path in paths]
            verifier = verifying.Config().use_certificate_verifier(certificate_chain=chain)
        except Exception as error:
            raise ConfigError(f"verify: --certificate-chain: {', '.join(paths)}: expected certificates in PEM") from error
        return cls("certificate", f"a certificate that {', '.join(paths)} vouches for", verifier)

    @classmethod
    def by_identity(cls, identity: str, provider: str) -> Trusted:
        """Trust an identity, e.g. an address, that a provider vouched for to Sigstore. Fetches Sigstore's roots of trust.

        Raises:
            ConfigError: The extra is not installed.
            SourceError: The roots cannot be fetched.
        """
        _ready("--identity", ())
        from model_signing import verifying

        try:
            verifier = verifying.Config().use_sigstore_verifier(identity=identity, oidc_issuer=provider)
        except Exception as error:  # of the network and of TUF, each of several libraries
            raise SourceError(
                f"verify: --identity: Sigstore's roots of trust cannot be fetched: {told(error)}",
                "check the network, then try again",
            ) from error
        return cls("sigstore", f"{identity}, for whom {provider} vouches", verifier)

    def refused(self, data: bytes, envelope: Envelope, digests: Mapping[str, str]) -> str | None:
        """Return why a signature is not theirs, or not over these files; None for one that is.

        Args:
            data: The bytes of `model.sig`.
            envelope: What they say.
            digests: What the files were found to be, name -> SHA-256.
        """
        if envelope.method != self.method:
            return f"it was made with {METHODS[envelope.method]}: give {OPTIONS[envelope.method]} to check who signed it"
        with temporary_folder() as folder:
            file = folder / "model.sig"
            file.write_bytes(data)
            try:
                self.verifier.set_hashing_config(hashed("bundle", digests)).verify(folder, file)
            except Exception as error:  # the bytes may be hostile, and the library reads them as if they were its own
                words = "" if type(error).__name__ in ("InvalidSignature", "AttributeError", "KeyError") else f": {told(error)}"
                return f"it is not a signature by {self.shown}{words}"
        return None


def _ready(option: str, paths: Sequence[str]) -> None:
    refuse_absent(f"verify: {option}")
    for path in paths:
        read(f"verify: {option}", path)
