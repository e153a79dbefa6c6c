"""The recipe that a manifest states, as far as every version of its schema goes: the rest of the bundle has to agree with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mlkit_build.errors import ConfigError
from mlkit_build.plain import from_plain
from mlkit_build.records import dataclass


@dataclass(frozen=True)
class StatedInput:
    """How an image is normalized; None where the input is no image."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class StatedGate:
    """The limits on a measured value; None where there is no such limit."""

    min: float | None = None
    max: float | None = None
    max_drop: float | None = None
    max_regression: float | None = None


@dataclass(frozen=True)
class StatedRecipe:
    """See `mlkit_build.recipe.Recipe`.

    Attributes:
        variant: None where the quantization names it.
        inputs: Name -> how it is normalized; none where the model's own signature names them.
        mode: How the model is quantized.
        io: What its float inputs and outputs are in the file.
        source: The kind of it.
        gates: Value name -> its limits.
    """

    name: str
    version: str
    description: str
    author: str
    license: str
    variant: str | None
    inputs: Mapping[str, StatedInput]
    mode: str
    io: str
    source: str
    task: str
    gates: Mapping[str, StatedGate]

    def names_variant(self, variant: str) -> bool:
        """Return whether a bundle of this recipe may be called so: what is unusual of a quantization follows its mode."""
        return variant == self.variant if self.variant else variant == self.mode or variant.startswith(f"{self.mode}_")


def read_recipe(recipe: Mapping[str, Any]) -> StatedRecipe:
    """Return what a manifest's recipe says.

    Raises:
        ConfigError: A field is missing, or of another type.
    """
    texts = {name: _part(recipe, name) for name in ("name", "version", "description", "author", "license")}
    inputs = _mapping(_part(recipe, "signature", "inputs"), "recipe.signature.inputs")
    ends = {name: _known(StatedInput, found, f"recipe.signature.inputs.{name}") for name, found in inputs.items()}
    limits = _mapping(_part(recipe, "validation", "gates"), "recipe.validation.gates")
    gates = {name: _known(StatedGate, found, f"recipe.validation.gates.{name}") for name, found in limits.items()}
    nested = {
        "mode": _part(recipe, "quantization", "mode"),
        "io": _part(recipe, "quantization", "io"),
        "source": _part(recipe, "source", "kind"),
        "task": _part(recipe, "target", "task"),
    }
    return from_plain(
        StatedRecipe, {**texts, "variant": recipe.get("variant"), "inputs": ends, "gates": gates, **nested}, "recipe"
    )


def _part(found: Any, *path: str) -> Any:
    where = "recipe"
    for name in path:
        holder = _mapping(found, where)
        where = f"{where}.{name}"
        if name not in holder:
            raise ConfigError(f"{where}: missing")
        found = holder[name]
    return found


def _known(cls: type[StatedInput | StatedGate], found: Any, where: str) -> dict[str, Any]:
    stated = _mapping(found, where)
    return {field.name: stated[field.name] for field in fields(cls) if field.name in stated}


def _mapping(found: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise ConfigError(f"{where}: expected a mapping, found {found!r}")
    return found
