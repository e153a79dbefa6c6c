"""Versions that YAML reads as numbers: 1.10 would silently become 1.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlkit_build.config.overrides import parsed
from mlkit_build.errors import ConfigError

VERSIONS = ("version", "package.min_runtime", "package.android.version")
"""The fields of a recipe that hold one."""
_PARTS = tuple({field.partition(".")[0] for field in VERSIONS})


def refuse_numbers(where: str, stated: Mapping[Any, Any]) -> None:
    """Refuse a version that a recipe's file states without quotes and YAML reads as a fraction.

    Args:
        where: The file.

    Raises:
        ConfigError: Names the field.
    """
    for field in VERSIONS:
        value = _at(stated, field.split("."))
        if isinstance(value, float):
            raise _refused(where, field, value, f'quote it, e.g. `{field.rpartition(".")[2]}: "{value}"`')


def refuse_numbers_in(overrides: Sequence[str]) -> None:
    """Refuse an override that states a version without quotes, which Hydra reads as a fraction. Raises ConfigError."""
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        found = parsed(override) if key.partition(".")[0] in _PARTS else None
        if found is None or found.is_sweep_override():
            continue
        value: Any = found.value()
        for field in VERSIONS:
            rest = field.removeprefix(key)
            whole = isinstance(value, float) and not rest
            inner = value if whole else _at(value, rest[1:].split(".")) if rest.startswith(".") else None
            if isinstance(inner, float):
                hint = f"quote it: '{key}=\"{text}\"'" if whole else f"quote it, e.g. '{field}=\"{inner}\"'"
                raise _refused(f"override {override!r}", field, inner, hint)


def _at(stated: Any, path: list[str]) -> Any:
    for step in path:
        stated = stated.get(step) if isinstance(stated, Mapping) else None
    return stated


def _refused(where: str, field: str, value: float, hint: str) -> ConfigError:
    return ConfigError(
        f"{where}: {field}: expected a text, found the number {value}; unquoted, a version 1.10 is the number 1.1", hint
    )
