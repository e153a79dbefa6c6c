"""The forms in which an app can take a bundle. A format is one module and one line in this table.

A format with files has a folder of its name in the bundle, and a module with `plan(recipe) -> Plan` and `write`, the action's
function. An archive is no action: it holds the bundle as it is published, manifest and all (`archives`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mlkit_build.recipe import FORMATS as NAMES
from mlkit_build.recipe import Recipe
from mlkit_build.records import dataclass

__all__ = ["ARCHIVES", "FORMATS", "Format", "Plan", "planned"]


@dataclass(frozen=True)
class Format:
    """A form in which an app can take a bundle.

    Attributes:
        summary: What it is, for the docs.
        module: The module that makes its files; empty where no action does.
        runtime: What runs it, as of every action.
        archive: Whether it is one file of the whole bundle.
    """

    summary: str
    module: str = ""
    runtime: str = "python"
    archive: bool = False


@dataclass(frozen=True)
class Plan:
    """What an action is to make.

    Attributes:
        params: What decides the files, besides the model and its labels.
        outputs: The files, by their place in the bundle.
        reads_signature: Whether the model's signature decides them too.
    """

    params: Any
    outputs: tuple[str, ...]
    reads_signature: bool = False


FORMATS: Mapping[str, Format] = {
    "bundle": Format("the bundle's folder, with a `README.md` for who builds the app; always made"),
    "aar": Format("a Maven repository with an Android archive: one `implementation(...)` line", "mlkit_build.formats.aar"),
    "aipack": Format("an AI pack, which Google Play delivers (Play for On-device AI)", "mlkit_build.formats.aipack"),
    "ios": Format("a Swift package, with a podspec where it is asked for", "mlkit_build.formats.ios", "jinja2"),
    "zip": Format("one file of the whole bundle", archive=True),
    "tar": Format("one file of the whole bundle", archive=True),
}
assert tuple(FORMATS) == NAMES

ARCHIVES = tuple(name for name, entry in FORMATS.items() if entry.archive)


def planned(recipe: Recipe) -> dict[str, Plan]:
    """Return format -> what its action makes, for the recipe's formats that have one, in the order of the table."""
    chosen = {name: entry.module for name, entry in FORMATS.items() if entry.module and name in recipe.package.formats}
    return {name: import_module(module).plan(recipe) for name, module in chosen.items()}
