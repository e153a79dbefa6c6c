"""What Maven, Java, Google Play and Swift call a model, made of the recipe's name where the recipe does not say it."""

from __future__ import annotations

import re

from mlkit_build.recipe.schema import Recipe
from mlkit_build.records import dataclass

JAVA_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "abstract assert boolean break byte case catch char class const continue default do double else enum extends "
        "false final finally float for goto if implements import instanceof int interface long native new null package "
        "private protected public return short static strictfp super switch synchronized this throw throws transient true "
        "try void volatile while _",
    )
)
"""The Java Language Specification, 3.9, with the literals of 3.10: no segment of a package may be one."""
_WORD = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class AndroidNames:
    """What Android's tools call the model.

    Attributes:
        group: The Maven group.
        artifact: The Maven artifact.
        version: The Maven version.
        namespace: The Java package of the AAR's manifest.
        assets: The folder in the app's assets.
        model: The model's file in it.
        pack: The AI pack's name.
    """

    group: str
    artifact: str
    version: str
    namespace: str
    assets: str
    model: str
    pack: str


def android_names(recipe: Recipe) -> AndroidNames:
    """Return what the recipe states, and for the rest what its name and variant make."""
    stated = recipe.package.android
    artifact = stated.artifact or f"{recipe.name}-{recipe.variant_name}"
    return AndroidNames(
        group=stated.group,
        artifact=artifact,
        version=recipe.version if stated.version is None else stated.version,
        namespace=stated.namespace or java_package(f"{stated.group}.{artifact}"),
        assets=stated.assets or recipe.name,
        model=f"{recipe.name.replace('.', '_')}.tflite",  # aapt2 of Android 10 takes all from the first dot on for the extension
        pack=stated.pack or pack_name(recipe.name),
    )


def swift_module(recipe: Recipe) -> str:
    """Return the Swift module's name: `MnistModel` of `mnist`, `M7SegmentModel` of `7-segment`."""
    if recipe.package.ios.module:
        return recipe.package.ios.module
    words = "".join(word[0].upper() + word[1:] for word in _WORD.findall(recipe.name))
    return f"{'' if words[0].isalpha() else 'M'}{words}Model"


def java_package(text: str) -> str:
    """Return a Java package as near to dotted `text` as Java allows, of two segments at least, as Android demands."""
    segments = [_java_segment(part) for part in text.split(".") if part]
    return ".".join(segments if len(segments) > 1 else ["mlkit", *segments])


def pack_name(text: str) -> str:
    """Return the name of an AI pack: a letter, then letters, digits and `_`."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if name[0].isalpha() else f"m_{name}"


def _java_segment(text: str) -> str:
    segment = re.sub(r"[^A-Za-z0-9_]", "_", text)
    if not segment[0].isalpha():
        segment = f"m{segment}"
    return f"{segment}_" if segment in JAVA_KEYWORDS else segment
