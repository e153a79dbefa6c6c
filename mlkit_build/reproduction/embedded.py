"""The recipe in a manifest, which may have been made up: only what cannot reach out of the folder that it is built in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from mlkit_build.errors import ConfigError
from mlkit_build.fetch.urls import Location, is_url
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe, Sign, check
from mlkit_build.verification.documents import Stated

_MAX_UP = 16
"""Folders above the recipe's own that a path may begin in: more than anybody's recipe does."""
_PLACING = ("source", "dataset", "calibration", "labels", "metadata", "validation")
"""The fields in which a text may be a path."""


def embedded_recipe(stated: Stated) -> Recipe:
    """Return the recipe of a manifest.

    Raises:
        ConfigError: It is none that this mlkit-build can build, or one of its paths is absolute.
    """
    try:
        recipe = from_plain(Recipe, stated.recipe)
        if recipe.package.sign != Sign():  # or a stranger's manifest would sign with a key of this machine
            raise ConfigError("package.sign: expected none, found one", "no build writes such a manifest")
        check(recipe)
        if recipe.variant_name != stated.variant:
            raise ConfigError(f"variant: expected {recipe.variant_name!r}, found {stated.variant!r}")
        levels_up(stated.recipe)
    except ConfigError as error:
        made_by = stated.toolchain.get("mlkit-build", "unknown")
        raise ConfigError(f"recipe.{error.message}", error.hint or f"the manifest was made by mlkit-build {made_by}") from error
    except RecursionError:
        raise ConfigError("recipe: it is nested too deeply", "no build writes such a manifest") from None
    return recipe


def levels_up(recipe: Mapping[str, Any]) -> int:
    """Return how far above the recipe's folder its paths begin, at most.

    Raises:
        ConfigError: A path is absolute, or begins further up than any recipe's does.
    """
    furthest = 0
    for where, text in texts(recipe):
        path = (Location.parse(text, where).path or "") if is_url(text) else text
        if path.startswith(("/", "~")) or "\0" in path:
            raise ConfigError(f"{where}: expected a path below the recipe's folder, found {text!r}")
        up = _up(path)
        if up > _MAX_UP:
            raise ConfigError(f"{where}: expected a path near the recipe's folder, found {text[:80]!r}")
        furthest = max(furthest, up)
    return furthest


def functions(recipe: Any) -> set[str]:
    """Return every function of a recipe's folder that the recipe names, wherever it does."""
    if isinstance(recipe, Mapping):
        own = {recipe["function"]} if isinstance(recipe.get("function"), str) else set()
        return own.union(*(functions(item) for item in recipe.values()))
    return set().union(*(functions(item) for item in recipe)) if isinstance(recipe, (list, tuple)) else set()


def code_roles(recipe: Recipe) -> set[str]:
    """Return the parts of the recipe that are code of its folder: `source`, `dataset`, `calibration`, `metrics`."""
    parts = {"source": recipe.source, "dataset": recipe.dataset, "calibration": recipe.calibration}
    coded = {role for role, part in parts.items() if part is not None and part.kind == "python"}
    return coded | ({"metrics"} if any(metric.name == "python" for metric in recipe.validation.metrics) else set())


def names_code(recipe: Recipe) -> bool:
    """Return whether building the recipe runs code of its folder."""
    return bool(code_roles(recipe))


def fetches(recipe: Recipe) -> bool:
    """Return whether something of the recipe lies behind a URL."""
    texts = (getattr(part, field, None) or "" for part in _parts(recipe) for field in ("path", "graph"))
    return any("://" in text for text in texts)


def fetched_digests(recipe: Recipe) -> set[str]:
    """Return the SHA-256 of what the recipe has behind URLs: of the files, where these are no archives."""
    return {part.sha256.lower() for part in _parts(recipe) if "://" in getattr(part, "path", "") and part.sha256}


def _parts(recipe: Recipe) -> tuple[Any, ...]:
    return (recipe.source, recipe.dataset, recipe.calibration)


def texts(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (field, text) for everything in a recipe that may be a path."""
    waiting: list[tuple[str, Any]] = [(field, recipe.get(field)) for field in _PLACING]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, str):
            yield where, value
        elif isinstance(value, Mapping):
            waiting += [(f"{where}.{name}", item) for name, item in value.items()]
        elif isinstance(value, (list, tuple)):
            waiting += [(f"{where}[{index}]", item) for index, item in enumerate(value)]


def _up(path: str) -> int:
    """Return how many folders the path goes up, at any point of its way."""
    depth = lowest = 0
    for part in PurePosixPath(path.replace(os.sep, "/")).parts:
        depth += -1 if part == ".." else 1
        lowest = min(lowest, depth)
    return -lowest
