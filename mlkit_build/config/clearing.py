"""Overrides that take something away: `dataset=null`, `~dataset`, `~dataset.label`, `validation.gates={}`.

Hydra merges `{}` into what the recipe states, which changes nothing, takes `null` for the name of a choice, and deletes no field.
What is cleared here is left out when the recipe's file is read: it is as if the recipe did not state it, and other overrides come
after that.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from mlkit_build.config.schema import CHOSEN, GROUPS, Root
from mlkit_build.recipe import Recipe
from mlkit_build.records import dataclass

_NOTHING = re.compile(r"null|\{\s*\}", re.IGNORECASE)
_FROM_CONF = set(CHOSEN) - set(GROUPS)


@dataclass(frozen=True)
class Cleared:
    """What a recipe's file is read without.

    Attributes:
        keys: Dotted keys.
        kinds: (group, kind) that takes the place of what the recipe states there, where that is of another kind: fields of the
            one mean nothing to the other.
    """

    keys: tuple[str, ...] = ()
    kinds: tuple[tuple[str, str], ...] = ()


def cleared_key(override: str) -> str | None:
    """Return the key that the override clears: that of a mapping, a list or a part of the recipe; None if it clears none.

    With `~`, that of any field which the recipe's file can state.
    """
    key, equals, value = override.partition("=")
    deletes = key.startswith("~")
    if not deletes and not (equals and _NOTHING.fullmatch(value.strip())):
        return None
    adds = key.startswith("+") and value.strip().startswith("{")
    key = key.lstrip("+~").strip()
    path = key.split(".")
    if adds and entry_depth(path) == len(path) - 1 > 0:  # `+dataset.features.image={}` is an entry with nothing but defaults
        return None
    found = _annotations(path)
    return key if any(deletes or dataclasses.is_dataclass(item) or _is_container(item) for item in found) else None


def clear(recipe: DictConfig, cleared: Cleared) -> None:
    """Delete from a recipe's file what is cleared."""
    for key in cleared.keys:
        *above, last = key.split(".")
        node: Any = recipe
        for step in above:
            node = node.get(step) if isinstance(node, DictConfig) else None
        if isinstance(node, DictConfig):
            node.pop(last, None)
    for group, kind in cleared.kinds:
        node = recipe.get(group)
        if isinstance(node, DictConfig) and node.get("kind") != kind:
            recipe.pop(group)


def entry_depth(path: Sequence[str]) -> int:
    """Return how many steps of the path lead to a mapping of names to parts, where it goes on to one of these; else 0."""
    for depth in range(1, len(path)):
        for annotation in _annotations(path[:depth]):
            if _is_container(annotation) and any(map(dataclasses.is_dataclass, typing.get_args(annotation))):
                return depth
    return 0


def _annotations(path: Sequence[str]) -> list[Any]:
    """Return what may stand at `path` of a recipe's file. Quantization and target are conf's to fill."""
    if path[0] not in {field.name for field in dataclasses.fields(Recipe)} or (len(path) == 1 and path[0] in _FROM_CONF):
        return []
    found: list[Any] = [Root]
    for key in path:
        found = [member for item in found for member in _members(_below(item, key)) if member is not None]
    return found


def _below(annotation: Any, key: str) -> Any:
    if dataclasses.is_dataclass(annotation):
        return typing.get_type_hints(annotation).get(key)
    if _is_container(annotation) and issubclass(typing.get_origin(annotation), Mapping):
        return typing.get_args(annotation)[1]
    return None


def _is_container(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, (Mapping, tuple))


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    return typing.get_args(annotation) if is_union else (annotation,)
