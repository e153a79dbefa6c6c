"""The first place where plain values do not fit the schema, in the words of the user.

OmegaConf finds that something does not fit, but cannot always say where: inside a list it names the last key alone, and where a
list meets a mapping none at all. So once it has refused, what was stated is held against the schema's own annotations.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import BooleanNode, FloatNode, IntegerNode, StringNode, ValueNode
from omegaconf.errors import OmegaConfBaseException

from mlkit_build.config.schema import CHOSEN, Root, kind_of
from mlkit_build.errors import did_you_mean
from mlkit_build.recipe import Adapter, Labels, MetricChoice
from mlkit_build.records import dataclass

_LONGEST = 100
_OPEN = "..."
"""A size that the model leaves open, in what `inspect` and freeze print to paste."""
_SCALARS: dict[Any, tuple[str, Callable[..., ValueNode]]] = {
    str: ("a text", StringNode),
    int: ("an integer", IntegerNode),
    float: ("a number", FloatNode),
    bool: ("true or false", BooleanNode),
}
"""Type -> what it is called, and OmegaConf's judge of what may be read as one."""


@dataclass(frozen=True)
class Mismatch:
    """A value that does not fit.

    Attributes:
        key: Where it stands: `quantization.rules[1].mode`.
        problem: What was expected, and what was found.
        hint: What to do, as far as it is known.
    """

    key: str
    problem: str
    hint: str = ""


def mismatch(stated: Mapping[Any, Any], kinds: Mapping[str, str]) -> Mismatch | None:
    """Return the first mismatch in what is stated at the top level, or None where all of it fits.

    Args:
        stated: Plain values; those that are missing (`???`) or interpolated (`${...}`) fit.
        kinds: Group -> kind in use, whatever `stated` says of it.
    """
    return _in_fields(Root, stated, "", kinds)


def nested(path: list[str], value: Any) -> Any:
    """Return the mapping that has `value` at the dotted `path`."""
    for step in reversed(path):
        value = {step: value}
    return value


def _of(annotation: Any, value: Any, where: str, kind: str | None = None) -> Mismatch | None:
    if (
        annotation in (Any, Adapter, MetricChoice)
        or (annotation is Labels and isinstance(value, str))
        or (isinstance(value, str) and (value == "???" or "${" in value))
    ):
        return None
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _of(_member(arguments, value, kind), value, where)
    if origin is tuple:
        return _in_list(arguments[0], value, where)
    if origin is not None:
        return _in_mapping(arguments[1], value, where)
    if dataclasses.is_dataclass(annotation):
        if isinstance(value, Mapping):
            return _in_fields(annotation, value, where, {})
        chosen = where in CHOSEN and isinstance(value, str)
        hint = f"to choose from conf/{where}, write `defaults: [override /{where}: {value}]`" if chosen else ""
        return Mismatch(where, f"expected a mapping of {_listed(annotation)}, found {_told(value)}", hint)
    called, judge = _SCALARS[annotation]
    try:
        judge(value, is_optional=False)
    except OverflowError:
        return Mismatch(where, f"expected {called} of at most 308 digits, found {_told(value)}")
    except OmegaConfBaseException:
        hint = "put the size that the app feeds in its place: the model leaves it open" if value == _OPEN else ""
        return Mismatch(where, f"expected {called}, found {_told(value)}", hint)
    return None


def _member(arguments: tuple[Any, ...], value: Any, kind: str | None) -> Any:
    """Return what a value that is there is to be: of several kinds the one in use, else the one that it states."""
    members = [argument for argument in arguments if argument is not type(None)]
    if len(members) == 1:
        return members[0]
    kind = kind or (value.get("kind") if isinstance(value, Mapping) else None)
    return next((member for member in members if kind_of(member) == kind), Any)


def _in_fields(cls: Any, value: Mapping[Any, Any], where: str, kinds: Mapping[str, str]) -> Mismatch | None:
    hints = typing.get_type_hints(cls)
    for key, item in value.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in hints:
            return Mismatch(place, f"unknown field; known: {_listed(cls)}", did_you_mean(str(key), list(hints)))
        found = _of(hints[key], item, place, kinds.get(key))
        if found is not None:
            return found
    return None


def _in_mapping(annotation: Any, value: Any, where: str) -> Mismatch | None:
    if not isinstance(value, Mapping):
        each = f", each with {_listed(annotation)}" if dataclasses.is_dataclass(annotation) else ""
        return Mismatch(where, f"expected a mapping of names{each}, found {_told(value)}")
    for key, item in value.items():
        if not isinstance(key, str):
            return Mismatch(f"{where}.{key}", f"expected a text as the name, found {_told(key)}", f"quote it: '{key}'")
        found = _of(annotation, item, f"{where}.{key}")
        if found is not None:
            return found
    return None


def _in_list(annotation: Any, value: Any, where: str) -> Mismatch | None:
    if isinstance(value, Mapping) and value and all(str(key).isdecimal() for key in value):  # `rules.0.mode=int8`
        items = [(int(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        item = isinstance(value, Mapping) if dataclasses.is_dataclass(annotation) else _of(annotation, value, where) is None
        hint = f"a list has brackets: [{_flow(value)}]" if item and value is not None else ""
        return Mismatch(where, f"expected a list, found {_told(value)}", hint)
    return next((found for index, item in items if (found := _of(annotation, item, f"{where}[{index}]"))), None)


def _listed(cls: Any) -> str:
    return ", ".join(field.name for field in dataclasses.fields(cls))


def _told(value: Any) -> str:
    """Return the value as YAML has it, and what it is where that is the question."""
    kind = "the mapping " if isinstance(value, Mapping) else "the list " if isinstance(value, (list, tuple)) else ""
    text = kind + (repr(value) if isinstance(value, str) else _flow(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _flow(value: Any) -> str:
    """Return the value in one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
