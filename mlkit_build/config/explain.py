"""Hydra's and OmegaConf's errors in the words of the user: which file or override, which field, found, expected."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlkit_build.config.mismatch import Mismatch, mismatch, nested
from mlkit_build.config.overrides import parsed
from mlkit_build.config.roots import builtin
from mlkit_build.config.schema import CHOSEN, GROUPS, kind_named, kind_of
from mlkit_build.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from mlkit_build.config.roots import Roots

REFUSALS = (HydraException, OmegaConfBaseException, UserWarning, ValueError, TypeError, OverflowError)
"""What composing raises for what a user wrote; a TypeError for the choice `[1]` of a group, an OverflowError for 400 digits."""

_LONGEST = 100
_CHOICES = ("recipe", *CHOSEN)
_IN_FILE = re.compile(r"In '(?P<config>[^']+)': \w+ raised while composing config:\n(?P<problem>.*)", re.DOTALL)
_FULL_KEY = re.compile(r"full_key: (\S+)")
_CLASS = re.compile(r"object_type=(\w+)|not in '(\w+)'")
_NOT_FOUND = re.compile(r"Could not find '(?P<group>[^']+?)(?:/(?P<name>[^'/]+))?'")
_IN_DEFAULTS = re.compile(r"In '(?P<config>[^']+)': (?P<problem>.*)")
_NO_LIST = re.compile(r"is not a ListConfig, list or tuple")
_NOT_DELETED = re.compile(r"does not support deletion|^Could not delete from config")
_NO_REASON = re.compile(r"^(\w+Exception: |Error parsing override ).*")
"""What Hydra says where its lexer or the end of the text stops it: a class of its parser, and the override once more."""
_NO_SUCH_ENTRY = re.compile(r"\w+ is not a subclass of \w+\. value: ")


def explained(error: Exception, overrides: Sequence[str], roots: Roots, place: str = "configuration") -> ConfigError:
    """Return `error` as a ConfigError; `place` is the file to name where the error names none."""
    if isinstance(error, ConfigError):
        return error
    if isinstance(error, UserWarning):
        return ConfigError(f"hydra.searchpath: {error}", "name folders that exist, as file://DIR or pkg://PACKAGE")
    if isinstance(error, MissingConfigException):
        return _missing_choice(error, overrides, roots)
    if isinstance(error, OverrideParseException):
        hint = _quoted_value(error.override or "") or "write key=value; quote values with commas, spaces or braces: 'key=\"a,b\"'"
        items = (error.override or "").partition("=")[0].partition("[")
        if error.override and (quoted := _quoted_items(error.override)):
            hint = f"quote its items: {quoted}"
        elif items[1]:
            hint = f"a list is given whole: {items[0]}=[...]"
        elif error.override and not error.override.isascii():
            key, _, value = error.override.partition("=")
            quoted = f"\"{key}='{value}'\""
            hint = f"Hydra's grammar knows ASCII letters alone: give it a name in ASCII, or quote it twice: {quoted}"
        reason = _NO_REASON.sub("", str(error).splitlines()[0])
        return ConfigError(f"override {error.override!r}: not understood{reason and f': {reason}'}", hint)
    if isinstance(error, OverflowError):
        return _too_large(overrides, roots)
    text = str(error)
    deletion = next((item for item in overrides if item.startswith("~")), None)
    if deletion and _NOT_DELETED.search(text if error.__cause__ is None else str(error.__cause__)):
        return _no_deletion(deletion)
    in_file = _IN_FILE.search(text)
    if in_file:
        return _wrong_file(in_file["config"], in_file["problem"], roots)
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return _wrong_override(text, cause, overrides, roots)
    if isinstance(error, OmegaConfBaseException):
        return _wrong_value(place, text)
    return _wrong_choice(text or type(error).__name__, overrides, roots)


def _too_large(overrides: Sequence[str], roots: Roots) -> ConfigError:
    """Find the integer that no float holds: what OmegaConf raises for it names neither a place nor a field."""
    for override in overrides:
        key, _, choice = override.lstrip("+~").partition("=")
        if key in _CHOICES:
            file = Path(_place(f"{key}/{choice}", roots))
            place, found = str(file), mismatch(_stated_in(file, key), {})
        else:
            place, found = f"override {override[:_LONGEST]!r}", _stated_wrong(override, key.split("."), {})
        if found:
            return ConfigError(f"{place}: {found.key}: {found.problem}", found.hint)
    return ConfigError("configuration: expected numbers of at most 308 digits, found one of more")


def _quoted_value(override: str) -> str:
    """Return to quote the value, where that is all that the override lacks; else an empty string."""
    key, equals, value = override.partition("=")
    right = f'{key}="{value}"'
    plain = equals and value and not set(value) & set("\"'\\[]{}()\n")
    return f"quote the value: '{right}'" if plain and parsed(right) else ""


def _quoted_items(override: str) -> str:
    """Return the override with every item of its list in quotes, as a shell takes it; empty where that is not what it lacks."""
    key, _, value = override.partition("=")
    value = value.strip()
    if not (value.startswith("[") and value.endswith("]")):
        return ""
    items = ['"' + item.strip().strip("'\"") + '"' for item in value[1:-1].split(",")]
    quoted = f"{key}=[{','.join(items)}]"
    return f"'{quoted}'" if parsed(quoted) and "'" not in quoted else ""


def _no_deletion(override: str) -> ConfigError:
    """Return what to say to `~jobs`, `~dataset.lable`."""
    key = override.lstrip("~").partition("=")[0]
    path = key.split(".")
    if path[0] in GROUPS:  # what any kind of it has could be taken away
        known = {field.name for kind in GROUPS[path[0]] for field in dataclasses.fields(kind)}
        return ConfigError(f"override {override!r}: {key}: unknown field", did_you_mean(path[1], sorted(known)))
    found = mismatch(nested(path, "???"), {})
    if found:
        return ConfigError(f"override {override!r}: {found.key}: {found.problem}", found.hint)
    expected = f"override {override!r}: expected something that a recipe states, found the setting {key}"
    return ConfigError(expected, f"it has a value always; set another with {key}=VALUE")


def _wrong_choice(text: str, overrides: Sequence[str], roots: Roots) -> ConfigError:
    """Explain what Hydra says of the defaults list in one line: the place is a file or an override."""
    line = text.splitlines()[0]
    unnamed = next((item for item in overrides if item.lstrip("+").partition("=")[0] in _CHOICES and _is_no_name(item)), None)
    if unnamed:
        return _no_name(unnamed, roots)
    in_defaults = _IN_DEFAULTS.match(line)
    if in_defaults:
        hint = "a choice that replaces another is written `- override /group: choice`"
        return ConfigError(f"{_place(in_defaults['config'], roots)}: defaults: {in_defaults['problem']}", hint)
    if line.startswith("Ambiguous value"):
        return ConfigError(line, "to build each of them add -m; a list is written key=[a,b]")
    return ConfigError(line)


def _no_name(override: str, roots: Roots) -> ConfigError:
    """Return what to say to `recipe=`, `quantization=8`, `target=[custom]`."""
    group, _, value = override.lstrip("+").partition("=")
    known = f"{'known recipes' if group == 'recipe' else 'known'}: {', '.join(_choices(group, roots)) or 'none'}"
    hint = f"""a choice whose name reads as a number is quoted twice: "{group}='{value}'" """.strip()
    return ConfigError(
        f"override {override!r}: expected the name of a choice, found {value or 'nothing'}; {known}",
        hint if _reads_as_value(value) else f"write {group}=NAME",
    )


def _choices(group: str, roots: Roots) -> list[str]:
    """Return the names that the group takes."""
    if group == "recipe":
        return [recipe.name for recipe in roots.all_recipes()]
    files = [file.stem for folder in (*roots.conf, builtin("conf")) for file in (folder / group).glob("*.yaml")]
    return sorted({*files, *map(kind_of, GROUPS.get(group, ()))})


def _is_no_name(override: str) -> bool:
    value = override.partition("=")[2]
    return not value or value[0] == "[" or _reads_as_value(value)


def _reads_as_value(text: str) -> bool:
    """Return whether Hydra reads the text as a number, a truth value or null."""
    try:
        return text.lower() in ("null", "true", "false") or float(text) is not None
    except ValueError:
        return False


def _missing_choice(error: MissingConfigException, overrides: Sequence[str], roots: Roots) -> ConfigError:
    match = _NOT_FOUND.search(str(error))
    options = list(error.options or [])
    if match is None or match["name"] is None:
        return _wrong_choice(str(error), overrides, roots)
    group, name = match["group"], match["name"]
    if group == "recipe":
        options = _choices(group, roots)
        where = "searched " + ", ".join(str(path) for path in roots.recipes)
        return ConfigError(
            f"recipe={name}: no such recipe; known recipes: {', '.join(options) or 'none'}",
            did_you_mean(name, options) or where,
        )
    return ConfigError(f"{group}={name}: no such choice; known: {', '.join(options)}", did_you_mean(name, options))


def _wrong_override(text: str, error: OmegaConfBaseException, overrides: Sequence[str], roots: Roots) -> ConfigError:
    cause, key = str(error), error.full_key or ""
    named = re.search(r"Error merging override (.*)", text) or re.search(r"Could not override '([^']+)'", text)
    named_so = [item for item in overrides if named and item.lstrip("+").startswith(named[1].lstrip("+"))]
    override = next((item for item in sorted(named_so, key=lambda item: "={" not in item)), None)  # a choice has no fields
    override = override or next((item for item in overrides if item.lstrip("+~").split("=")[0] == key), None)
    override = override or (named[1] if named else key)
    path = override.lstrip("+~").split("=")[0].split(".")
    if path == ["recipe"]:
        return _no_name(override, roots)
    found = _stated_wrong(override, path, _kinds(path[0], cause))
    if found:
        return ConfigError(f"override {override!r}: {found.key}: {found.problem}", found.hint)
    parent, value = ".".join(path[:-1]), override.partition("=")[2]
    position = next((index for index, step in enumerate(path) if step.isdecimal()), 0)
    if position:
        items = ".".join(path[:position])
        problem = f"override {override!r}: {items} has no item {path[position]}"
        return ConfigError(problem, f"a list is given whole: {items}=[...]")
    if "reference_type=Dict" in cause and "not in struct" in cause:
        return ConfigError(
            f"override {override!r}: {parent} has no entry {path[-1]!r} that could be changed", f"to add it write +{override}"
        )
    if path[0] in GROUPS and "not in struct" in cause:
        return ConfigError(
            f"override {override!r}: {path[0]}: expected one whose {'.'.join(path[1:])} to set, found none",
            f"state all of it: '{path[0]}={{kind: ..., ...}}'",
        )
    if _NO_SUCH_ENTRY.search(cause) and len(path) > 2:  # an entry of a name that Hydra's grammar does not take as it is
        for step in reversed(path[2:]):
            value = f"{{{step}:{value}}}"
        return ConfigError(
            f"override {override!r}: there is no {'.'.join(path[:3])}", f"add it with +{'.'.join(path[:2])}={value}"
        )
    if _NO_LIST.search(cause):
        return ConfigError(f"override {override!r}: {key}: expected a list, found something else", "a list has brackets: [a, b]")
    return ConfigError(f"override {override!r}: {_first_line(cause)}")


def _stated_wrong(override: str, path: list[str], kinds: Mapping[str, str]) -> Mismatch | None:
    """Return what in the override does not fit the schema."""
    found = parsed(override)
    return mismatch(nested(path, found.value() if found else "???"), kinds)  # of what cannot be read only the key is known


def _wrong_file(config: str, problem: str, roots: Roots) -> ConfigError:
    place, group = _place(config, roots), config.partition("/")[0]
    full_key = _FULL_KEY.search(problem)
    kinds = _kinds(full_key[1].partition(".")[0] if full_key else group, problem)
    found = mismatch(_stated_in(Path(place), group), kinds)
    return ConfigError(f"{place}: {found.key}: {found.problem}", found.hint) if found else _wrong_value(place, problem)


def _wrong_value(place: str, problem: str) -> ConfigError:
    full_key = _FULL_KEY.search(problem)
    return ConfigError(f"{place}: {full_key[1]}: {_first_line(problem)}" if full_key else f"{place}: {_first_line(problem)}")


def _kinds(group: str, problem: str) -> dict[str, str]:
    """Return the kind in use in the group, where OmegaConf's words tell it."""
    stated = _CLASS.search(problem)
    kind = kind_named(stated[1] or stated[2]) if stated else None
    return {group: kind} if kind else {}


def _place(config: str, roots: Roots) -> str:
    group, _, name = config.partition("/")
    recipe = roots.recipe(name) if group == "recipe" else None
    files = [recipe.path / "recipe.yaml"] if recipe else [folder / f"{config}.yaml" for folder in roots.conf]
    return next((str(file) for file in files if file.is_file()), config)


def _stated_in(file: Path, group: str) -> dict[Any, Any]:
    """Return what the file of a recipe, or of a choice of the group, states of the recipe; nothing where it is not at hand."""
    config = OmegaConf.load(file) if file.is_file() else None
    plain = OmegaConf.to_container(config) if isinstance(config, DictConfig) else {}
    assert isinstance(plain, dict)
    stated = {key: item for key, item in plain.items() if key not in ("defaults", "hydra")}  # these are Hydra's own
    return stated if group == "recipe" else nested([group], stated)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]
