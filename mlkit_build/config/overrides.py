"""The overrides of a command line in the words that Hydra takes, so that what reads well does what it says.

A kind that is stated with its part, `dataset={kind: idx, path: x}` or `dataset.kind=idx`, is the choice `dataset=idx`, as in a
recipe's file, and a part of another kind that the recipe states gives way as a whole. What adds a field of an entry that may not
be there, `+validation.gates.top1.max_drop=0`, adds the entry. What takes something away is left to `clearing`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from mlkit_build.config.clearing import Cleared, cleared_key, entry_depth
from mlkit_build.config.schema import GROUPS, kind_of
from mlkit_build.records import dataclass

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""A key of a mapping that Hydra's grammar takes as it is."""


@dataclass(frozen=True)
class Overrides:
    """What a command line asks for.

    Attributes:
        kept: What is Hydra's to apply.
        stated: The same as the user wrote it, for messages.
        cleared: What the recipe's file is read without.
    """

    kept: tuple[str, ...]
    stated: tuple[str, ...]
    cleared: Cleared


def for_hydra(overrides: Sequence[str]) -> Overrides:
    """Return the overrides in Hydra's words. What it cannot read stays, for Hydra to refuse."""
    keys = [(override, cleared_key(override)) for override in overrides]
    stated = tuple(override for override, key in keys if key is None)
    kinds = dict(filter(None, map(_kind, stated)))
    implied = kinds.keys() - {override.lstrip("+").partition("=")[0] for override in stated if _is_choice(override)}
    kept: list[str] = []
    for override in stated:
        group, kind = _kind(override) or ("", "")
        if group in implied and kinds[group] == kind:
            implied -= {group}
            kept.append(f"{group}={kind}")  # beside the override: Hydra's parser of arguments wants all of them in one place
        kept.append(_whole_entry(override))
    cleared = Cleared(tuple(key for _, key in keys if key is not None), tuple(kinds.items()))
    return Overrides(tuple(kept), stated, cleared)


def parsed(override: str) -> Override | None:
    """Return the override as Hydra reads it; None where it cannot."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _is_choice(override: str) -> bool:
    key, equals, value = override.lstrip("+").partition("=")
    return bool(equals) and key in GROUPS and not value.lstrip().startswith("{")


def _kind(override: str) -> tuple[str, str] | None:
    """Return the group and the kind that the override states, if it does."""
    key, equals, value = override.lstrip("+").partition("=")
    group, _, field = key.partition(".")
    if not equals or group not in GROUPS or field not in ("", "kind"):
        return None
    kind: object = value.strip(" '\"")
    if not field and value.lstrip().startswith("{"):
        found = parsed(override)
        whole = found.value() if found else None
        kind = whole.get("kind") if isinstance(whole, dict) else None
    kind = str(kind)
    return (group, kind) if kind in map(kind_of, GROUPS[group]) else None


def _whole_entry(override: str) -> str:
    """Return `+validation.gates={top1: {max_drop: 0}}` for `+validation.gates.top1.max_drop=0`, and any other as it is.

    OmegaConf makes no entry of a typed mapping on its way to a field of it, and merges one that is there already. A part that is
    stated as a whole, `dataset={...}` or `validation.gates={...}`, may add entries without saying so.
    """
    key, equals, value = override.partition("=")
    path = key.lstrip("+").split(".")
    is_whole = key in GROUPS or entry_depth([*path, ""]) == len(path)
    if is_whole and value.lstrip().startswith("{") and not override.startswith("+"):
        return f"+{override}"
    depth = entry_depth(path) if override.startswith("+") and value else 0
    if depth == len(path) - 1 and not value.lstrip().startswith("{"):
        return override
    found = parsed(override) if depth and all(map(_NAME.fullmatch, path)) else None
    if found is None or found.is_sweep_override():
        return override
    for name in reversed(path[depth:]):
        value = f"{{{name}: {value}}}"
    return f"+{'.'.join(path[:depth])}{equals}{value}"
