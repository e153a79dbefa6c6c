"""The recipe's dataclasses as Hydra structured configs, and the way back to frozen objects.

OmegaConf makes nodes of frozen dataclasses read-only, so that nothing could be merged into them: each class gets a mutable
twin of the same name and fields.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from mlkit_build.recipe import Adapter, AnyDataset, AnySource, Labels, MetricChoice, Recipe, Settings
from mlkit_build.records import dataclass

_DATASETS = typing.get_args(AnyDataset)
GROUPS: dict[str, tuple[type, ...]] = {"source": typing.get_args(AnySource), "dataset": _DATASETS, "calibration": _DATASETS}
"""Configuration group -> the kinds it offers. In a recipe, `kind:` makes the choice."""

CHOSEN = (*GROUPS, "quantization", "target")
"""Every group that a defaults list can choose from."""


@dataclass(frozen=True, kw_only=True)
class Root(Recipe, Settings):
    """Everything that `recipe=... key=value` can set.

    Attributes:
        recipe_dir: The recipe's folder; filled in when the recipe is found.
    """

    recipe_dir: str | None = None


def register() -> None:
    """Put the schema and the kinds into Hydra's store. Doing it again changes nothing."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=structured(Root), provider="mlkit-build")
    for group, kinds in GROUPS.items():
        known = store.repo.setdefault(group, {})
        for kind in kinds:
            known[f"{kind_of(kind)}.yaml"] = _kind_node()(group, kind)


@cache
def _kind_node() -> type:
    """Return the class of store entries that are made when they are chosen: a recipe needs three kinds of some thirty, and a
    build with nothing to do should not wait for the others."""
    from hydra.core.config_store import ConfigNode
    from omegaconf import OmegaConf

    class KindNode(ConfigNode):
        def __init__(self, group: str, kind: type) -> None:
            self.name, self.group, self.package, self.provider = f"{kind_of(kind)}.yaml", group, None, "mlkit-build"
            self._kind = kind
            self._node: Any = None

        @property
        def node(self) -> Any:
            if self._node is None:
                self._node = OmegaConf.structured(structured(self._kind))
            return self._node

        @node.setter
        def node(self, node: Any) -> None:  # Hydra gives out copies
            self._node = node

    return KindNode


@cache
def structured(cls: type) -> type:
    """Return the mutable twin of the frozen dataclass `cls`, in types that OmegaConf knows."""
    hints = typing.get_type_hints(cls)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(cls):
        annotation = _translate(hints[field.name])
        if dataclasses.is_dataclass(field.default_factory):
            default = dataclasses.field(default_factory=structured(typing.cast(type, field.default_factory)))
        elif field.default_factory is not dataclasses.MISSING:
            default = dataclasses.field(default_factory=field.default_factory)
        elif isinstance(field.default, tuple):
            default = dataclasses.field(default_factory=partial(list, field.default))
        else:
            default = dataclasses.field(default=None if field.default is dataclasses.MISSING else field.default)
        fields.append((field.name, annotation, default))
    return dataclasses.make_dataclass(cls.__name__, fields)


def kind_of(cls: type) -> str:
    """Return the `kind` that the dataclass `cls` stands for."""
    return str(next(field.default for field in dataclasses.fields(cls) if field.name == "kind"))


def kind_named(cls: str | None) -> str | None:
    """Return the `kind` of the dataclass called `cls`, or None if it is none of a group's."""
    return next((kind_of(kind) for kinds in GROUPS.values() for kind in kinds if kind.__name__ == cls), None)


def _translate(annotation: Any) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        members = [argument for argument in arguments if argument is not type(None)]
        if any(_has_kind(member) or member is Labels for member in members):  # labels: a path, or a mapping
            return Any
        return typing.Optional[_translate(members[0])]  # noqa: UP045 - OmegaConf reads typing.Optional
    if annotation in (Adapter, MetricChoice):  # a name, or a mapping with one name
        return Any
    if origin is tuple:
        return list[_translate(arguments[0])]  # type: ignore[misc]
    if origin is not None and issubclass(origin, Mapping):
        return dict[str, _translate(arguments[1])]  # type: ignore[misc]
    if dataclasses.is_dataclass(annotation):
        return structured(typing.cast(type, annotation))
    return annotation


def _has_kind(member: Any) -> bool:
    return dataclasses.is_dataclass(member) and any(field.name == "kind" for field in dataclasses.fields(member))
