"""What a bundle may say of places: nothing that is particular to the machine that built it, and no secrets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mlkit_build.plain import to_plain
from mlkit_build.recipe import AnyDataset, AnySource, Recipe, Sign, Tf1Checkpoint

Stated = TypeVar("Stated", bound=AnySource | AnyDataset)


def portable_recipe(recipe: Recipe, text: Callable[[str], str]) -> Recipe:
    """Return the recipe as others may read it, with nobody who signs.

    Args:
        text: Returns a path or URL of the recipe as it is written there.
    """
    cut: dict[str, Any] = {
        field: portable_place(part, text) for field in ("source", "dataset", "calibration") if (part := getattr(recipe, field))
    }
    cut["package"] = replace(recipe.package, sign=Sign())
    if isinstance(recipe.source, Tf1Checkpoint) and recipe.source.graph:
        cut["source"] = replace(cut["source"], graph=text(recipe.source.graph))
    if recipe.validation.baseline:
        cut["validation"] = replace(recipe.validation, baseline=text(recipe.validation.baseline))
    if recipe.labels:
        locales = {locale: text(stated) for locale, stated in recipe.labels.locales.items()}
        path = text(recipe.labels.path) if recipe.labels.path else None
        cut["labels"] = replace(recipe.labels, path=path, locales=locales)
    if calibration := recipe.metadata.score_calibration:
        placed = replace(calibration, path=text(calibration.path))
        cut["metadata"] = replace(recipe.metadata, score_calibration=placed)
    return replace(recipe, **cut)


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON, as manifests and locks state it: without who signs, which varies and decides nothing."""
    plain: dict[str, Any] = to_plain(recipe)
    del plain["package"]["sign"]
    return plain


def portable_place(stated: Stated, text: Callable[[str], str]) -> Stated:
    """Return a source or dataset with its path as `text` has it; as it is where it has none."""
    place: dict[str, Any] = {"path": text(stated.path)} if hasattr(stated, "path") else {}
    return replace(stated, **place)


def portable_text(stated: str) -> str:
    """Return a path or URL of the recipe without what is particular to this machine, and without secrets: of an absolute path
    its name."""
    if "://" in stated:
        from mlkit_build.fetch import shown

        return shown(stated)
    return PurePosixPath(stated).name if is_elsewhere(stated) else stated


def is_elsewhere(stated: str) -> bool:
    """Return whether a path is not relative to the recipe's folder."""
    return Path(stated).is_absolute() or stated.startswith("~")
