"""Hydra's and OmegaConf's errors in the words of the user: which file or override, which field, found, expected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from mlkit_build.config.schema import fields_at
from mlkit_build.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from mlkit_build.config.roots import Roots

_IN_FILE = re.compile(r"In '(?P<config>[^']+)': \w+ raised while composing config:\n(?P<problem>.*)", re.DOTALL)
_FULL_KEY = re.compile(r"full_key: (\S+)")
_UNKNOWN = re.compile(r"Key '([^']+)' (?:is )?not in")
_NOT_FOUND = re.compile(r"Could not find '(?P<group>[^'/]+)(?:/(?P<name>[^']+))?'")


def explained(error: Exception, overrides: Sequence[str], roots: Roots) -> ConfigError:
    """Return `error` as a ConfigError."""
    if isinstance(error, ConfigError):
        return error
    if isinstance(error, MissingConfigException):
        return _missing_choice(error, roots)
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"override {error.override!r}: not understood: {str(error).splitlines()[0]}",
            "write key=value; quote values with commas, spaces or braces: 'key=\"a,b\"'",
        )
    text = str(error)
    in_file = _IN_FILE.search(text)
    if in_file:
        return _wrong_value(_place(in_file["config"], roots), in_file["problem"])
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return _wrong_override(text, str(cause), cause.full_key or "", overrides)
    if isinstance(error, OmegaConfBaseException):
        return _wrong_value("configuration", text)
    return ConfigError(text.splitlines()[0] if text else type(error).__name__)


def _missing_choice(error: MissingConfigException, roots: Roots) -> ConfigError:
    match = _NOT_FOUND.search(str(error))
    options = list(error.options or [])
    if match is None or match["name"] is None:
        return ConfigError(str(error).splitlines()[0])
    group, name = match["group"], match["name"]
    if group == "recipe":
        options = [recipe.name for recipe in roots.all_recipes()]
        where = "searched " + ", ".join(str(path) for path in roots.recipes)
        return ConfigError(
            f"recipe={name}: no such recipe; known recipes: {', '.join(options) or 'none'}",
            did_you_mean(name, options) or where,
        )
    return ConfigError(f"{group}={name}: no such choice; known: {', '.join(options)}", did_you_mean(name, options))


def _wrong_override(text: str, cause: str, key: str, overrides: Sequence[str]) -> ConfigError:
    override = next((item for item in overrides if item.lstrip("+~").split("=")[0] == key), None)
    named = re.search(r"Error merging override (.*)", text) or re.search(r"Could not override '([^']+)'", text)
    if override is None and named:
        override = next((item for item in overrides if item.startswith(named[1])), named[1])
    path = (override or key).lstrip("+~").split("=")[0].split(".")
    if _UNKNOWN.search(cause) or "not in struct" in cause or "Could not override" in text:
        depth = next(
            (i for i in range(len(path)) if path[i] not in fields_at(path[:i], {}) and fields_at(path[:i], {})),
            len(path) - 1,
        )
        known = fields_at(path[:depth], {})
        return ConfigError(
            f"override {override or key!r}: no field {'.'.join(path[: depth + 1])}; known: {', '.join(known)}",
            did_you_mean(path[depth], known),
        )
    return ConfigError(f"override {override or key!r}: {_first_line(cause)}")


def _wrong_value(place: str, problem: str) -> ConfigError:
    full_key = _FULL_KEY.search(problem)
    key = full_key[1] if full_key else ""
    unknown = _UNKNOWN.search(problem)
    if unknown:
        path = re.sub(r"\[.*?\]", "", key).split(".")
        known = fields_at(path[:-1], {})
        return ConfigError(
            f"{place}: {key or unknown[1]}: unknown field; known: {', '.join(known)}", did_you_mean(path[-1], known)
        )
    return ConfigError(f"{place}: {key}: {_first_line(problem)}" if key else f"{place}: {_first_line(problem)}")


def _place(config: str, roots: Roots) -> str:
    group, _, name = config.partition("/")
    recipe = roots.recipe(name) if group == "recipe" else None
    return str(recipe.path / "recipe.yaml") if recipe else config


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0]
    return line.replace("could not be converted to Integer", "is not an integer").replace(
        "could not be converted to Float", "is not a number"
    )
