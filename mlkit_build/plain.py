"""Between frozen dataclasses and plain JSON values, in both directions and with one canonical spelling.

Rooms hand each other dataclasses; processes, keys and files hold JSON. This module is the only place that translates.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mlkit_build.errors import ConfigError

T = typing.TypeVar("T")
_PAST_FLOATS = 1 << 1023
_SCALARS = frozenset({str, int, float, bool, type(None)})


def to_plain(value: Any) -> Any:
    """Return `value` as dicts, lists, strings, numbers, booleans and None. Fields keep their declared order."""
    if type(value) in _SCALARS:  # most values are, and the questions below are slow
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    return value


def from_plain(cls: type[T], value: Any, where: str = "") -> T:
    """Build `cls` from plain values, turning lists into tuples and dicts into dataclasses as the annotations say.

    Args:
        cls: A frozen dataclass.
        value: A mapping of its field names.
        where: The dotted path of `value`, for messages.

    Raises:
        ConfigError: A field is missing, unknown, or has a value of another type.
    """
    return typing.cast(T, _convert(cls, value, where))


def canonical(value: Any) -> bytes:
    """Return the one JSON spelling of `value`: sorted keys, no spaces, ASCII, no NaN. Equal values, equal bytes."""
    text = json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def pretty(value: Any) -> bytes:
    """Return `value` as indented JSON in field order, for files that people read too; deterministic."""
    return (json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(annotation: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, where)
    if dataclasses.is_dataclass(annotation):
        return _convert_dataclass(typing.cast(type, annotation), value, where)
    if origin is tuple:
        _expect(isinstance(value, Sequence) and not isinstance(value, str), "a list", value, where)
        return tuple(_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        _expect(isinstance(value, Mapping), "a mapping", value, where)
        return {str(key): _convert(arguments[1], item, _join(where, str(key))) for key, item in value.items()}
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        _expect(abs(value) < _PAST_FLOATS, "a number", value, where)
        return float(value)
    _expect(
        isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool)),
        _NAMES.get(annotation, str(annotation)),
        value,
        where,
    )
    return value


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    members = [argument for argument in arguments if argument is not type(None)]
    if len(members) == 1:
        return _convert(members[0], value, where)
    kinds = {_kind(member): member for member in members}
    kind = value.get("kind") if isinstance(value, Mapping) else None
    _expect(isinstance(kind, str) and kind in kinds, f"a mapping whose `kind` is one of {sorted(kinds)}", value, where)
    return _convert(kinds[str(kind)], value, where)


def _convert_dataclass(cls: type, value: Any, where: str) -> Any:
    _expect(isinstance(value, Mapping), "a mapping", value, where)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise ConfigError(f"{_join(where, unknown[0])}: unknown field; known: {', '.join(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{_join(where, missing[0])}: missing, and it has no default")
    hints = _hints(cls)
    return cls(**{name: _convert(hints[name], item, _join(where, name)) for name, item in value.items()})


def _kind(cls: Any) -> str:
    return str(next(field.default for field in dataclasses.fields(cls) if field.name == "kind"))


_NAMES = {int: "an integer", float: "a number", str: "a text", bool: "true or false", dict: "a mapping", list: "a list"}


def _expect(holds: bool, expected: str, value: Any, where: str) -> None:
    if not holds:
        raise ConfigError(f"{where or 'the top level'}: expected {expected}, found {value!r}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
