"""What `inspect` prints last: a whole `recipe.yaml`, to paste; and the fields of a source that its command line states."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkit_build.config.explain import explained
from mlkit_build.config.roots import RECIPE_FILE, Roots
from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.recipe import AnySource, Python, Tf1Checkpoint
from mlkit_build.verbs.skeleton import MARK, Skeleton


def recipe_page(source: AnySource, base: Path, signature: str, beside: Skeleton, roots: Roots) -> list[str]:
    """Return where a recipe for a source goes, and its lines: what is known of the source, the rest as comments to fill in.

    Args:
        source: What was inspected.
        base: The folder that its paths are seen from.
        signature: The recipe's signature, as YAML.
        beside: The lines to fill in.
        roots: Where recipes are looked for.
    """
    place = base / (source.function.rpartition(":")[0] if isinstance(source, Python) else source.path)
    folder = _recipe_folder(place, roots)
    name = folder.name if folder else _name(place)
    folder = folder or Path("recipes") / name
    moved = _moved(source, base, folder)
    entries = ", ".join(f"{key}: {yaml_text(value)}" for key, value in _stated(moved).items())
    absolute = not isinstance(moved, Python) and Path(moved.path).is_absolute()
    said = "copy the function's files into this folder" if isinstance(source, Python) else "as seen from this file's folder"
    return [
        f'To go into the file below. The lines with "{MARK}" in front make it {beside.made_for}, and measured: fill them in, and',
        f'take the "{MARK}" away.',
        *(
            ["That file is there already: keep what it says, or take a folder of another name."]
            if (folder / RECIPE_FILE).exists()
            else []
        ),
        "",
        f"{_shown(folder)}/{RECIPE_FILE}:",
        "",
        *beside.first,
        f"name: {yaml_text(name)}",
        f"source: {{{entries}}}" + ("" if absolute or _lies_in(place, folder) else f"  # {said}"),
        *signature.splitlines(),
        *beside.last,
    ]


def _recipe_folder(place: Path, roots: Roots) -> Path | None:
    """Return the recipe's folder that a model lies in already, absolute; None where it lies in none."""
    recipes = {root.resolve() for root in roots.recipes}
    return next((folder for folder in place.absolute().parents if folder.parent.resolve() in recipes), None)


def _lies_in(place: Path, folder: Path) -> bool:
    return place.absolute().is_relative_to(folder.absolute())


def _moved(source: AnySource, base: Path, folder: Path) -> AnySource:
    """Return the source with its paths as a recipe in `folder` states them. A function stays: it must lie in that folder."""
    if isinstance(source, Python):
        module, _, function = source.function.rpartition(":")
        if not _lies_in(base / module, folder):
            return source
        files = tuple(_seen_from(folder, base / path) for path in source.files)
        return replace(source, function=f"{_seen_from(folder, base / module)}:{function}", files=files)
    if isinstance(source, Tf1Checkpoint) and source.graph is not None:
        source = replace(source, graph=_seen_from(folder, base / source.graph))
    return replace(source, path=_seen_from(folder, base / source.path))


def _seen_from(folder: Path, place: Path) -> str:
    if _lies_in(place, folder):
        return place.absolute().relative_to(folder.absolute()).as_posix()
    if place.is_absolute() or folder.is_absolute():
        return str(place.absolute())
    return Path(*[".."] * len(folder.parts), place).as_posix()


def _shown(folder: Path) -> str:
    here = Path().absolute()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def with_fields(source: AnySource, overrides: Sequence[str], roots: Roots) -> AnySource:
    """Return the source with the fields that `key=value` overrides state, as a recipe's `source` has them.

    Raises:
        ConfigError: One is not understood, or the kind of source has no such field.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    plain = to_plain(source)
    known = [field.name for field in dataclasses.fields(source) if field.name != "kind"]
    for override in overrides:
        try:
            (parsed,) = OverridesParser.create().parse_overrides([override])
        except HydraException as error:
            raise explained(error, overrides, roots) from error
        key, _, below = parsed.get_key_element().lstrip("+").removeprefix("source.").partition(".")
        if key not in known or (below and not isinstance(plain[key], Mapping)):
            raise ConfigError(
                f"override {override!r}: a source of kind {source.kind} has no field {key!r}; known: {', '.join(known)}",
                did_you_mean(key, known),
            )
        if below:
            plain[key] = {**plain[key], below: parsed.value()}
        else:
            plain[key] = parsed.value()
    try:
        return from_plain(type(source), plain, "source")
    except ConfigError as error:
        raise ConfigError(f"override: {error.message}", error.hint) from error


def _stated(source: AnySource) -> dict[str, Any]:
    """Return the fields of the source that a recipe has to state."""
    plain, defaults = to_plain(source), to_plain(type(source)())
    return {key: value for key, value in plain.items() if key == "kind" or value != defaults[key]}


def _name(place: Path) -> str:
    """Return a recipe's name for a model: that of its file or folder, or of the nearest one above that is no version."""
    for part in (place.name.partition(".")[0], *(parent.name for parent in place.absolute().parents)):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", part).strip("_-")[:100]
        if name and not name.isdecimal() and name not in ("model", "saved_model"):
            return name
    return "model"


def yaml_text(value: Any) -> str:
    """Return the value as it may stand in a flow mapping: a text without quotes where YAML reads it as the same text."""
    import yaml

    if isinstance(value, str):
        with contextlib.suppress(yaml.YAMLError):
            if yaml.safe_load(f"{{key: {value}}}") == {"key": value}:
                return value
    return json.dumps(value, ensure_ascii=False)
