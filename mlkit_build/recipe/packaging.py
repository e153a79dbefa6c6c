"""What apps call a model, in the forms in which they can take a bundle."""

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
