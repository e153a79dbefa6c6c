"""What `build` and `export` are called with, checked before anything is done: each message names the parameter."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.recipe import UI_MODES

_OVERRIDE = 'as on the command line, e.g. "quantization=int8"'


def check_build(recipe: Any, overrides: Sequence[Any], ui: Any) -> None:
    """Refuse arguments of `build` that are of another kind.

    Raises:
        ConfigError: One is; names it, what was found, and what was expected.
    """
    _expect("build", "recipe", isinstance(recipe, (str, os.PathLike)), "a recipe's name, or the path of its folder", recipe)
    _check_overrides("build", overrides)
    _check_ui("build", ui)


def check_export(given: Mapping[str, Any]) -> None:
    """Refuse arguments of `export` that are of another kind. What a recipe's field may be, its schema knows.

    Raises:
        ConfigError: One is; names it, what was found, and what was expected.
    """
    expected: dict[str, tuple[Any, str]] = {
        "constants": ((Mapping, type(None)), "a mapping of placeholders and their values"),
        "name": (str, "a text"),
        "to": ((str, os.PathLike), "the folder for bundles"),
        "quantization": ((str, Mapping), "a mode like 'int8', or a mapping as in a recipe"),
        "target": (str, "a target like 'image_labeling'"),
        "labels": ((str, os.PathLike, Iterable, type(None)), "the classes' names, or the path of a labels file"),
        "recipe_dir": ((str, os.PathLike, type(None)), "a folder"),
    }
    for parameter, (kinds, words) in expected.items():
        _expect("export", parameter, isinstance(given[parameter], kinds), words, given[parameter])
    _check_overrides("export", given["overrides"])
    _check_ui("export", given["ui"])


def check_named(inputs: Any, known: Sequence[str]) -> None:
    """Refuse a stated input that says nothing but a name which the model does not have: it is misspelt.

    Raises:
        ConfigError: There is one; lists those that the model has.
    """
    for name in inputs if isinstance(inputs, Mapping) else ():
        if inputs[name] is None and name not in known:
            raise ConfigError(
                f"export: inputs.{name}: the model has no input of that name; it has {', '.join(known) or 'none'}",
                did_you_mean(str(name), list(known)) or f'to rename one, say which: inputs={{"{name}": "NAME"}}',
            )


def check_names_differ(inputs: Iterable[str], outputs: Mapping[str, Any]) -> None:
    """Refuse an input and an output of one name, as a dict of outputs and a model that passes an input on may have them.

    Raises:
        ConfigError: There are such; says how to name the output.
    """
    for name in inputs:
        if name in outputs:
            renamed = ", ".join(f'"{f"{key}_out" if key == name else key}": "{key}"' for key in outputs)
            raise ConfigError(
                f"export: {name!r} names an input and an output; expected different names",
                f"name the output otherwise: outputs={{{renamed}}}",
            )


def _check_overrides(function: str, overrides: Any) -> None:
    listed = isinstance(overrides, Sequence) and not isinstance(overrides, (str, bytes))
    _expect(function, "overrides", listed, f"a list of texts {_OVERRIDE}", overrides)
    for index, override in enumerate(overrides):
        _expect(function, f"overrides[{index}]", isinstance(override, str), f"a text {_OVERRIDE}", override)


def _check_ui(function: str, ui: Any) -> None:
    if ui not in UI_MODES:
        hint = did_you_mean(ui, UI_MODES) if isinstance(ui, str) else ""
        raise ConfigError(f"{function}: ui: expected one of {', '.join(UI_MODES)}, found {ui!r}", hint)


def _expect(function: str, parameter: str, holds: bool, expected: str, found: Any) -> None:
    if not holds:
        raise ConfigError(f"{function}: {parameter}: expected {expected}, found {repr(found)[:80]}")
