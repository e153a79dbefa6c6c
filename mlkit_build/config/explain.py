"""Hydra's and OmegaConf's errors in the words of the user: which file or override, which field, found, expected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from mlkit_build.config.schema import CHOSEN, fields_at, fields_of, kind_named
from mlkit_build.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from mlkit_build.config.roots import Roots

_IN_FILE = re.compile(r"In '(?P<config>[^']+)': \w+ raised while composing config:\n(?P<problem>.*)", re.DOTALL)
_FULL_KEY = re.compile(r"full_key: (\S+)")
_UNKNOWN = re.compile(r"Key '([^']+)' (?:is )?not in(?: '(\w+)')?")
_NOT_FOUND = re.compile(r"Could not find '(?P<group>[^']+?)(?:/(?P<name>[^'/]+))?'")


_IN_DEFAULTS = re.compile(r"In '(?P<config>[^']+)': (?P<problem>.*)")
_NOT_A_MAPPING = re.compile(r"\w+ is not a subclass of (?P<cls>\w+)\. value: (?P<value>.*)")

_NOT_A_LIST = re.compile(r"Invalid value assigned: \w+ is not a ListConfig, list or tuple\.")


def explained(error: Exception, overrides: Sequence[str], roots: Roots, place: str = "configuration") -> ConfigError:
    """Return `error` as a ConfigError; `place` is the file to name where the error names none."""
    if isinstance(error, ConfigError):
        return error
    if isinstance(error, UserWarning):
        return ConfigError(f"hydra.searchpath: {error}", "name folders that exist, as file://DIR or pkg://PACKAGE")
    if isinstance(error, MissingConfigException):
        return _missing_choice(error, roots)
    if isinstance(error, OverrideParseException):
        hint = "write key=value; quote values with commas, spaces or braces: 'key=\"a,b\"'"
        if error.override and not error.override.isascii():
            key, _, value = error.override.partition("=")
            quoted = f"\"{key}='{value}'\""
            hint = f"Hydra's grammar knows ASCII letters alone: give it a name in ASCII, or quote it twice: {quoted}"
        return ConfigError(f"override {error.override!r}: not understood: {str(error).splitlines()[0]}", hint)
    text = str(error)
    in_file = _IN_FILE.search(text)
    if in_file:
        return _wrong_value(_place(in_file["config"], roots), in_file["problem"])
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return _wrong_override(text, str(cause), cause.full_key or "", overrides)
    if isinstance(error, OmegaConfBaseException):
        return _wrong_value(place, text)
    return _wrong_choice(text or type(error).__name__, overrides, roots)


def _wrong_choice(text: str, overrides: Sequence[str], roots: Roots) -> ConfigError:
    """Explain what Hydra says of the defaults list in one line: the place is a file or an override."""
    line = text.splitlines()[0]
    in_defaults = _IN_DEFAULTS.match(line)
    if in_defaults:
        hint = "a choice that replaces another is written `- override /group: choice`"
        return ConfigError(f"{_place(in_defaults['config'], roots)}: defaults: {in_defaults['problem']}", hint)
    if line.startswith("Ambiguous value"):
        return ConfigError(line, "to build each of them add -m; a list is written key=[a,b]")
    groups = ("recipe", *CHOSEN)
    unnamed = next((item for item in overrides if item.partition("=")[0] in groups and _reads_as_value(item)), None)
    if unnamed and line.startswith("Config group override"):
        group, _, value = unnamed.partition("=")
        hint = f"""a choice whose name reads as a number is quoted twice: "{group}='{value}'" """.strip()
        return ConfigError(f"override {unnamed!r}: expected the name of a choice, found {value}", hint)
    return ConfigError(line)


def _reads_as_value(override: str) -> bool:
    """Return whether Hydra reads the override's value as a number, a truth value or null."""
    value = override.partition("=")[2].lower()
    try:
        return value in ("null", "true", "false") or float(value) is not None
    except ValueError:
        return False


def _missing_choice(error: MissingConfigException, roots: Roots) -> ConfigError:
    match = _NOT_FOUND.search(str(error))
    options = list(error.options or [])
    if match is None or match["name"] is None:
        return _wrong_choice(str(error), (), roots)
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
    if override and "reference_type=Dict" in cause and "not in struct" in cause:
        return ConfigError(
            f"override {override!r}: {'.'.join(path[:-1])} has no entry {path[-1]!r} that could be changed",
            f"to add it write +{override}",
        )
    if _UNKNOWN.search(cause) or "not in struct" in cause or "Could not override" in text:
        stated = re.search(r"object_type=(\w+)", cause)
        kinds = {path[0]: kind} if stated and (kind := kind_named(stated[1])) else {}
        depth = next(
            (i for i in range(len(path)) if path[i] not in fields_at(path[:i], kinds) and fields_at(path[:i], kinds)),
            len(path) - 1,
        )
        known = fields_at(path[:depth], kinds)
        return ConfigError(
            f"override {override or key!r}: no field {'.'.join(path[: depth + 1])}; known: {', '.join(known)}",
            did_you_mean(path[depth], known),
        )
    if override and _NOT_A_MAPPING.search(cause) and len(path) > 2:  # an entry of validation.gates, or of the signature
        value = override.partition("=")[2]
        for step in reversed(path[2:]):
            value = f"{{{step}:{value}}}"
        return ConfigError(
            f"override {override!r}: there is no {'.'.join(path[:3])}", f"add it with +{'.'.join(path[:2])}={value}"
        )
    return ConfigError(f"override {override or key!r}: {_first_line(cause)}")


def _wrong_value(place: str, problem: str) -> ConfigError:
    full_key = _FULL_KEY.search(problem)
    key = full_key[1] if full_key else ""
    flat = _NOT_A_MAPPING.search(problem)
    if flat:
        field, names = fields_of(flat["cls"], key)
        hint = f"to choose from conf/{field}, write `defaults: [override /{field}: {flat['value']}]`" if field in CHOSEN else ""
        return ConfigError(f"{place}: {field}: expected a mapping of {', '.join(names)}, found {flat['value']}", hint)
    unknown = _UNKNOWN.search(problem)
    if unknown:
        path = re.sub(r"\[.*?\]", "", key).split(".")
        kinds = {path[0]: kind} if (kind := kind_named(unknown[2])) else {}
        known = fields_at(path[:-1], kinds)
        return ConfigError(
            f"{place}: {key or unknown[1]}: unknown field; known: {', '.join(known)}", did_you_mean(path[-1], known)
        )
    return ConfigError(f"{place}: {key}: {_first_line(problem)}" if key else f"{place}: {_first_line(problem)}")


def _place(config: str, roots: Roots) -> str:
    group, _, name = config.partition("/")
    recipe = roots.recipe(name) if group == "recipe" else None
    files = [recipe.path / "recipe.yaml"] if recipe else [folder / f"{config}.yaml" for folder in roots.conf]
    return next((str(file) for file in files if file.is_file()), config)


def _first_line(text: str) -> str:
    line = _NOT_A_LIST.sub("expected a list", text.strip().splitlines()[0])
    return line.replace("could not be converted to Integer", "is not an integer").replace(
        "could not be converted to Float", "is not a number"
    )
