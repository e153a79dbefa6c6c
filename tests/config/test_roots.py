"""The search path: the current folder, the roots that were named, and what ships, in that order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlkit_build.config.roots import Roots, builtin
from mlkit_build.errors import ConfigError
from tests.conftest import Workspace


def root(folder: Path, *recipes: str) -> Path:
    """Make a root that holds empty recipes of these names."""
    for name in recipes:
        (folder / "recipes" / name).mkdir(parents=True)
        (folder / "recipes" / name / "recipe.yaml").write_text("")
    return folder


def test_without_folders_of_the_user_only_the_built_in_ones_are_searched(workspace: Workspace) -> None:
    assert Roots.find() == Roots(recipes=(builtin("recipes"),), conf=())


def test_the_current_folder_comes_first_then_flags_then_the_environment_then_what_ships(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, flag, first, second = root(workspace.folder, "a"), *(root(tmp_path / name, "a") for name in ("f", "e1", "e2"))
    monkeypatch.setenv("MLKIT_BUILD_PATH", os.pathsep.join([str(first), str(second)]))
    found = Roots.find([str(flag)])
    assert found.recipes == (*(folder / "recipes" for folder in (here, flag, first, second)), builtin("recipes"))
    recipe = found.recipe("a")
    assert recipe is not None
    assert recipe.path == here / "recipes/a"
    assert recipe.shadows == tuple(folder / "recipes/a" for folder in (flag, first, second))
    assert not recipe.builtin


def test_a_root_named_twice_is_searched_once(workspace: Workspace) -> None:
    root(workspace.folder, "a")
    assert Roots.find([str(workspace.folder), "."]).recipes == (workspace.folder / "recipes", builtin("recipes"))


def test_a_relative_root_is_taken_from_the_current_folder(workspace: Workspace) -> None:
    folder = root(workspace.folder / "deep/er", "a")
    assert Roots.find(["deep/er"]).recipes[0] == folder / "recipes"


def test_a_folder_without_a_recipe_file_is_no_recipe(workspace: Workspace) -> None:
    root(workspace.folder, "a")
    (workspace.folder / "recipes/notes").mkdir()
    (workspace.folder / "recipes/README.md").write_text("")
    assert "notes" not in {recipe.name for recipe in Roots.find().all_recipes()}


def test_an_empty_environment_variable_names_no_root(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLKIT_BUILD_PATH", os.pathsep)
    assert Roots.find() == Roots(recipes=(builtin("recipes"),), conf=())


def test_a_wrong_folder_in_the_environment_names_the_variable(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLKIT_BUILD_PATH", "/nowhere/at/all")
    with pytest.raises(ConfigError, match=r"^MLKIT_BUILD_PATH: expected a folder with recipes/ or conf/ in it"):
        Roots.find()


def test_the_built_in_recipes_are_marked_as_such(workspace: Workspace) -> None:
    assert {recipe.name for recipe in Roots.find().all_recipes() if recipe.builtin} >= {"add_one", "mnist", "multiply"}
    assert Roots.find().recipe("nothing") is None
