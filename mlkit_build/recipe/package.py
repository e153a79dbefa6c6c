"""What the package must be, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import field

from mlkit_build.recipe.packaging import Android, Ios, Sign
from mlkit_build.records import dataclass

ML_KIT_RUNTIME = "2.14"
"""What models for ML Kit must run in where a recipe does not say it.

The runtime in ML Kit is unpublished. It is older than 2.17: apps that load the dense layers of `dynamic_range` as converters
write them today fail with `Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'`. 2.14 is the newest one before that
which can be had by itself, so that what is said of it was measured.
"""
ANY_RUNTIME = "any"


@dataclass(frozen=True, kw_only=True)
class Package:
    """What the package must be beyond its target, and in which forms an app can take it.

    Attributes:
        min_runtime: The oldest runtime that must compute the model, by TensorFlow's versions, e.g. `"2.14"`, in quotes; `any`
            demands nothing. Left out, it is 2.14 for ML Kit's targets, and `any` for `custom`.
        formats: What is made besides the bundle's folder, which is always there: `aar`, `aipack`, `ios`, `zip`, `tar`.
        android: How an Android app names the model.
        ios: How an iOS app names the model.
        sign: Who signs the bundle; nobody when left out.
    """

    min_runtime: str | None = None
    formats: tuple[str, ...] = ("bundle",)
    android: Android = field(default_factory=Android)
    ios: Ios = field(default_factory=Ios)
    sign: Sign = field(default_factory=Sign)
