"""`aar`: a Maven repository in a folder, with an Android archive that adds the model to the assets of an app.

The archive: https://developer.android.com/studio/projects/android-library#aar-contents.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from mlkit_build.formats import Plan
from mlkit_build.formats.maven import Coordinates, Described, publication_files, write_publication
from mlkit_build.formats.packing_list import PACKING_LIST, Identity, packing_list
from mlkit_build.formats.zipping import Content, write_zip, zipped
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe
from mlkit_build.recipe.naming import AndroidNames, android_names
from mlkit_build.records import dataclass

FOLDER = "aar"
MIN_SDK = 21
"""Android 5.0. An archive that states none is taken for one of API 1, for which the manifest merger adds old permissions."""
_METADATA = "META-INF/com/android/build/gradle/aar-metadata.properties"


@dataclass(frozen=True)
class AarParams:
    """What decides the archive, besides the model and its labels.

    Attributes:
        identity: What it says of itself.
        described: What the POM says of it.
        android: What Android's tools call it.
    """

    identity: Identity
    described: Described
    android: AndroidNames


def plan(recipe: Recipe) -> Plan:
    """Return what the archive is made of, and the files of the repository."""
    names = android_names(recipe)
    described = Described(f"{recipe.name} {recipe.variant_name}", recipe.description, recipe.license, recipe.author)
    coordinates = Coordinates(names.group, names.artifact, names.version)
    identity = Identity(recipe.name, recipe.version, recipe.variant_name)
    return Plan(
        AarParams(identity, described, names), tuple(f"{FOLDER}/{file}" for file in publication_files(coordinates, "aar"))
    )


def write(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write the repository to the folder `aar`."""
    request = from_plain(AarParams, params)
    names = request.android
    coordinates = Coordinates(names.group, names.artifact, names.version)
    archive = outputs / FOLDER / coordinates.file("aar")
    archive.parent.mkdir(parents=True)
    write_zip(archive, _entries(request, inputs))
    write_publication(outputs / FOLDER, coordinates, request.described, "aar")


def _entries(request: AarParams, inputs: Mapping[str, Path]) -> list[tuple[str, Content]]:
    assets = f"assets/{request.android.assets}"
    entries: list[tuple[str, Content]] = [
        ("AndroidManifest.xml", _manifest(request.android.namespace)),
        ("classes.jar", zipped([("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n")])),
        ("R.txt", b""),
        (_METADATA, _metadata()),
        (f"{assets}/{request.android.model}", inputs["model.tflite"]),
    ]
    if "labels.txt" in inputs:
        entries.append((f"{assets}/labels.txt", inputs["labels.txt"]))
    return [*entries, (PACKING_LIST, packing_list(request.identity, f"{assets}/{request.android.model}", entries))]


def _manifest(namespace: str) -> bytes:
    lines = (
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<manifest xmlns:android="http://schemas.android.com/apk/res/android" package={quoteattr(namespace)}>',
        f'    <uses-sdk android:minSdkVersion="{MIN_SDK}" />',
        "</manifest>",
    )
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def _metadata() -> bytes:
    """Return what the archive asks of the app's build: nothing. The keys are those of Android's Gradle plugin."""
    asks = {
        "aarFormatVersion": "1.0",
        "aarMetadataVersion": "1.0",
        "minCompileSdk": "1",
        "minAndroidGradlePluginVersion": "1.0.0",
    }
    return "".join(f"{key}={value}\n" for key, value in asks.items()).encode("ascii")
