"""`aipack`: an AI pack, the Gradle module that Google Play delivers a model from (Play for On-device AI).

Layout: https://developer.android.com/google/play/on-device-ai. The exporter in ai-edge-litert is for models that were
compiled for certain chips, each in a folder `model#group_<chip>`, and writes no build file: a model for all phones has no groups.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.formats import Plan
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe
from mlkit_build.recipe.naming import android_names
from mlkit_build.records import dataclass

FOLDER = "aipack"


@dataclass(frozen=True)
class AiPackParams:
    """What decides the pack, besides the model and its labels.

    Attributes:
        pack: The pack's name, and the Gradle module's.
        assets: The folder in the app's assets.
        model: The model's file in it.
        delivery: When Google Play brings it.
    """

    pack: str
    assets: str
    model: str
    delivery: str


def plan(recipe: Recipe) -> Plan:
    """Return what the pack is made of, and its files."""
    names = android_names(recipe)
    params = AiPackParams(names.pack, names.assets, names.model, recipe.package.android.delivery)
    assets = [names.model, *(["labels.txt"] if recipe.labels else [])]
    return Plan(params, (_build_file(params), *(f"{_assets(params)}/{name}" for name in assets)))


def write(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write the Gradle module to a folder of its name in the folder `aipack`."""
    request = from_plain(AiPackParams, params)
    assets = outputs / _assets(request)
    assets.mkdir(parents=True)
    shutil.copyfile(inputs["model.tflite"], assets / request.model)
    if "labels.txt" in inputs:
        shutil.copyfile(inputs["labels.txt"], assets / "labels.txt")
    lines = (
        "plugins {",
        '    id("com.android.ai-pack")',
        "}",
        "",
        "aiPack {",
        f'    packName = "{request.pack}"',
        "    dynamicDelivery {",
        f'        deliveryType = "{request.delivery}"',
        "    }",
        "}",
    )
    (outputs / _build_file(request)).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")


def _build_file(params: AiPackParams) -> str:
    return f"{FOLDER}/{params.pack}/build.gradle.kts"


def _assets(params: AiPackParams) -> str:
    return f"{FOLDER}/{params.pack}/src/main/assets/{params.assets}"
