"""The structured configs are the recipe's dataclasses, field for field, and the way back gives equal objects."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from omegaconf import OmegaConf

from mlkit_build.config.schema import CHOSEN, GROUPS, Root, kind_of, structured
from mlkit_build.errors import ConfigError
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.recipe import MANDATORY, Idx, Npy, Npz, Python, Recipe, Settings
from tests.conftest import Workspace

KINDS = [(group, kind) for group, kinds in GROUPS.items() for kind in kinds]


def names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("cls", [Root, *dict.fromkeys(kind for _, kind in KINDS)], ids=lambda cls: cls.__name__)
def test_a_twin_has_the_same_fields_in_the_same_order(cls: type) -> None:
    assert names(structured(cls)) == names(cls)


def test_root_is_the_recipe_and_the_settings() -> None:
    assert set(names(Root)) == {*names(Recipe), *names(Settings), "recipe_dir"}


@pytest.mark.parametrize(("group", "kind"), KINDS, ids=lambda item: item if isinstance(item, str) else kind_of(item))
def test_every_kind_survives_the_way_through_omegaconf(group: str, kind: type) -> None:
    node = OmegaConf.structured(structured(kind))
    needed = [field.name for field in dataclasses.fields(kind) if field.default == MANDATORY]
    stated = {name: 5 if name == "samples" else "some/where" for name in needed}
    for name, value in stated.items():
        node[name] = value
    back: Any = from_plain(kind, OmegaConf.to_container(node))
    assert back == kind(**stated)
    assert back.kind == kind_of(kind)
    assert from_plain(kind, to_plain(back)) == back


@pytest.mark.parametrize(
    ("group", "kind"),
    # A recipe cannot become one of a kind that needs other fields: what it states stays.
    [item for item in KINDS if (item[0] == "source" and item[1] is not Python) or item[1] in (Npz, Npy, Idx)],
    ids=lambda item: item if isinstance(item, str) else kind_of(item),
)
def test_every_kind_is_a_choice_of_its_group(workspace: Workspace, group: str, kind: type) -> None:
    features = [] if group == "source" else [f"++{group}.features.x=x"]
    recipe = workspace.compose("recipe=add_one", f"{group}={kind_of(kind)}", f"{group}.path=other", *features).recipe
    assert type(getattr(recipe, group)) is kind
    assert getattr(recipe, group).path == "other"


def test_a_field_of_another_kind_is_refused_with_this_kinds_fields(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"source\.path: unknown field; known: kind, function, arguments, files, timeout_s"):
        workspace.compose("recipe=add_one", "source=python", "source.function=model.py:build", "source.path=model.pb")


def test_kinds_have_different_names_within_a_group() -> None:
    for kinds in GROUPS.values():
        assert len({kind_of(kind) for kind in kinds}) == len(kinds)


def test_every_group_with_choices_is_a_field_of_the_recipe() -> None:
    assert set(CHOSEN) <= set(names(Recipe))
