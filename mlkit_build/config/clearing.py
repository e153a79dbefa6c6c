"""Overrides that take something away: `dataset=null`, `~dataset`, `validation.gates={}`.

Hydra merges `{}` into what the recipe states, which changes nothing, and takes `null` for the name of a choice. What is cleared
here is left out when the recipe's file is read: it is as if the recipe did not state it, and other overrides come after that.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from mlkit_build.config.schema import CHOSEN, GROUPS, Root
from mlkit_build.recipe import Recipe

_NOTHING = re.compile(r"null|\{\s*\}", re.IGNORECASE)
_FROM_CONF = set(CHOSEN) - set(GROUPS)


def split(overrides: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the overrides that are Hydra's to apply, and the dotted keys of the recipe that the others clear."""
    kept: list[str] = []
    cleared: list[str] = []
    for override in overrides:
        key = cleared_key(override)
        if key is None:
            kept.append(override)
        else:
            cleared.append(key)
    return kept, tuple(cleared)


def cleared_key(override: str) -> str | None:
    """Return the key that the override clears: that of a mapping, a list or a part of the recipe; None if it clears none."""
    key, equals, value = override.partition("=")
    deletes = key.startswith("~")
    if not deletes and not (equals and _NOTHING.fullmatch(value.strip())):
        return None
    key = key.lstrip("+~").strip()
    return key if _holds_parts(key.split(".")) else None


def clear(recipe: DictConfig, cleared: Iterable[str]) -> None:
    """Delete the keys from a recipe's file."""
    for key in cleared:
        *above, last = key.split(".")
        node: Any = recipe
        for step in above:
            node = node.get(step) if isinstance(node, DictConfig) else None
        if isinstance(node, DictConfig):
            node.pop(last, None)


def _holds_parts(path: list[str]) -> bool:
    """Return whether what stands at `path` of a recipe is made of parts. Quantization and target are conf's to fill."""
    if path[0] not in {field.name for field in dataclasses.fields(Recipe)} or (len(path) == 1 and path[0] in _FROM_CONF):
        return False
    found: list[Any] = [Root]
    for key in path:
        found = [member for item in found for member in _members(_below(item, key))]
    return any(dataclasses.is_dataclass(item) or _is_container(item) for item in found)


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
