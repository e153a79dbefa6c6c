"""What `inspect` prints last: a whole `recipe.yaml`, to paste; and the fields of a source that its command line states."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlkit_build.config.explain import explained
from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.recipe import AnySource, Python


def recipe_lines(source: AnySource, signature: str) -> list[str]:
    """Return the lines of a recipe for a source, with a data set as a comment, since nobody but its author has one.

    Args:
        source: What was inspected.
        signature: The recipe's signature, as YAML.
    """
    import yaml

    entries = ", ".join(f"{key}: {_yaml(value)}" for key, value in _stated(source).items())
    place = source.function.rpartition(":")[0] if isinstance(source, Python) else source.path
    relative = "" if Path(place).is_absolute() else "  # paths are relative to this file's folder"
    inputs = ((yaml.safe_load(signature) or {}).get("signature") or {}).get("inputs") or {}
    features = ", ".join(f"{_yaml(str(name))}: {_yaml(str(name))}" for name in inputs)
    return [
        f"name: {_yaml(_name(place))}",
        f"source: {{{entries}}}{relative}",
        *signature.splitlines(),
        "# dataset:  # what the model is measured on: input -> array of the archive; without classes, leave `label` out",
        f"#   {{kind: npz, path: samples.npz, features: {{{features}}}, label: labels}}",
    ]


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


def _name(place: str) -> str:
    """Return a recipe's name for a model: that of its file or folder, or of the nearest one above that is no version."""
    for part in (Path(place).name.partition(".")[0], *(parent.name for parent in Path(place).absolute().parents)):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", part).strip("_-")[:100]
        if name and not name.isdecimal() and name not in ("model", "saved_model"):
            return name
    return "model"


def _yaml(value: Any) -> str:
    """Return the value as it may stand in a flow mapping: a text without quotes where YAML reads it as the same text."""
    import yaml

    if isinstance(value, str):
        with contextlib.suppress(yaml.YAMLError):
            if yaml.safe_load(f"{{key: {value}}}") == {"key": value}:
                return value
    return json.dumps(value, ensure_ascii=False)
