"""What a bundle may say of places: nothing that is particular to the machine that built it, and no secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mlkit_build.plain import to_plain
from mlkit_build.recipe import AnyDataset, AnySource, Recipe, Sign, Tf1Checkpoint, Tfds
from mlkit_build.store import Tree

Stated = TypeVar("Stated", bound=AnySource | AnyDataset)


def portable_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with absolute paths, which only this machine knows, cut to their names, URLs without secrets, and nobody
    who signs."""
    cut: dict[str, Any] = {
        field: portable_place(part) for field in ("source", "dataset", "calibration") if (part := getattr(recipe, field))
    }
    cut["package"] = replace(recipe.package, sign=Sign())
    if isinstance(recipe.source, Tf1Checkpoint) and recipe.source.graph:
        cut["source"] = replace(cut["source"], graph=portable_text(recipe.source.graph))
    if recipe.validation.baseline:
        cut["validation"] = replace(recipe.validation, baseline=portable_text(recipe.validation.baseline))
    if recipe.labels:
        locales = {locale: portable_text(stated) for locale, stated in recipe.labels.locales.items()}
        path = portable_text(recipe.labels.path) if recipe.labels.path else None
        cut["labels"] = replace(recipe.labels, path=path, locales=locales)
    if calibration := recipe.metadata.score_calibration:
        placed = replace(calibration, path=portable_text(calibration.path))
        cut["metadata"] = replace(recipe.metadata, score_calibration=placed)
    return replace(recipe, **cut)


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON, as manifests and locks state it: without who signs, which varies and decides nothing."""
    plain: dict[str, Any] = to_plain(recipe)
    del plain["package"]["sign"]
    return plain


def portable(path: Path | Tree, folder: Path) -> str:
    """Return the file's path relative to the recipe's folder, or its bare name when it lies elsewhere."""
    if isinstance(path, Tree):
        path = path.root
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return path.name


def portable_place(stated: Stated) -> Stated:
    """Return a source or dataset with its path as `portable_text` has it; as it is where it has none."""
    place: dict[str, Any] = {"path": portable_text(stated.path)} if hasattr(stated, "path") else {}
    if isinstance(stated, Tfds) and _elsewhere(stated.path):
        # Inputs from elsewhere are listed by their bare names, and a rebuild lays them out so: in one folder, the recipe's own.
        place = {"path": ".", "name": None, "config": None, "version": None}
    return replace(stated, **place)


def portable_text(stated: str) -> str:
    """Return a path or URL of the recipe without what is particular to this machine, and without secrets."""
    if "://" in stated:
        from mlkit_build.fetch import shown

        return shown(stated)
    return PurePosixPath(stated).name if _elsewhere(stated) else stated


def _elsewhere(stated: str) -> bool:
    return Path(stated).is_absolute() or stated.startswith("~")
