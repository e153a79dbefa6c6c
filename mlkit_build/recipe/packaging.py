"""What apps call a model, in the forms in which they can take a bundle, and who signs it."""

from __future__ import annotations

from mlkit_build.records import dataclass

FORMATS = ("bundle", "aar", "aipack", "ios", "zip", "tar")
DELIVERIES = ("install-time", "fast-follow", "on-demand")
"""When Google Play brings an AI pack to the phone."""


@dataclass(frozen=True, kw_only=True)
class Android:
    """How an Android app names the model: of the formats `aar` and `aipack`.

    Attributes:
        group: The Maven group of the AAR.
        artifact: Its Maven artifact; `<recipe>-<variant>` when left out.
        version: Its Maven version; the recipe's version when left out.
        namespace: The Java package that the AAR's manifest declares; made of group and artifact when left out.
        assets: The folder in the app's assets that holds the model, so that the files of two models keep apart; the recipe's
            name when left out.
        pack: The AI pack's name; made of the recipe's name when left out.
        delivery: When Google Play brings the AI pack: `install-time`, `fast-follow` or `on-demand`.
    """

    group: str = "mlkit.models"
    artifact: str | None = None
    version: str | None = None
    namespace: str | None = None
    assets: str | None = None
    pack: str | None = None
    delivery: str = "install-time"


@dataclass(frozen=True, kw_only=True)
class Ios:
    """How an iOS app names the model: of the format `ios`.

    Attributes:
        module: The Swift module, and the type in it; made of the recipe's name when left out: `mnist` is `MnistModel`.
        podspec: Whether a podspec lies beside the Swift package, for apps that use CocoaPods.
        homepage: A page about the model, which CocoaPods demands of every pod.
    """

    module: str | None = None
    podspec: bool = False
    homepage: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sign:
    """Who signs the bundle, with the extra `sign`: a private key, or Sigstore. Changes nothing but `model.sig`, and is no part of
    the manifest. Paths are relative to the current folder, as is `output_dir`: keys are kept away from recipes.

    Attributes:
        key: A private key in PEM, on one of the elliptic curves P-256, P-384 and P-521.
        password_file: A file with the key's password; the variable `MLKIT_BUILD_KEY_PASSWORD` when left out.
        certificate: A file with the key's certificate in PEM, then those between it and the root: who trusts the root can check
            the signature. For a key without a password.
        sigstore: Sign with Sigstore's public service and an identity in place of a key. Needs the network.
        identity_token: A file with the identity token for Sigstore; that of the CI system when left out.
    """

    key: str | None = None
    password_file: str | None = None
    certificate: str | None = None
    sigstore: bool = False
    identity_token: str | None = None

    @property
    def asked(self) -> bool:
        """Whether the bundle is to be signed."""
        return self.key is not None or self.sigstore
