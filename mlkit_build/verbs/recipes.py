"""`mlkit-build recipes`: the recipes that can be built, and where they are."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mlkit_build.config.roots import RecipeFolder, Roots
from mlkit_build.errors import ConfigError, ExitCode


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Print the list."""
    parser = argparse.ArgumentParser(prog="mlkit-build recipes", description="List the recipes that can be built.")
    parser.add_argument("--json", action="store_true", help="print one JSON object per recipe")
    as_json = parser.parse_args(arguments).json
    recipes = roots.all_recipes()
    for recipe in recipes:
        facts = _facts(recipe)
        if as_json:
            shadows = [str(path) for path in recipe.shadows]
            print(
                json.dumps(
                    {
                        "name": recipe.name,
                        "path": str(recipe.path),
                        "builtin": recipe.builtin,
                        "shadows": shadows,
                        **facts,
                    }
                )
            )
            continue
        where = "built in" if recipe.builtin else str(recipe.path)
        print(f"{recipe.name:<16} {facts['version']:<8} {facts['description']} ({where})")
        for path in recipe.shadows:
            print(f"{'':<16} hides the recipe of the same name in {path}")
    if not recipes and not as_json:
        print(f"no recipes in {', '.join(str(path) for path in roots.recipes)}")
    return ExitCode.OK


def _facts(recipe: RecipeFolder) -> dict[str, Any]:
    """Return version and description as the file states them, without composing."""
    from omegaconf.errors import OmegaConfBaseException

    from mlkit_build.config.plugins import read_recipe

    try:
        config = read_recipe(recipe.path / "recipe.yaml")
        return {"version": str(config.get("version", "")), "description": str(config.get("description", ""))}
    except (ConfigError, OmegaConfBaseException) as error:
        return {"version": "?", "description": f"cannot be read: {str(error).splitlines()[0]}"}
