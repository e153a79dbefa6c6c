"""The one decision function: hit or miss, with the reason. A build runs what it says; `plan` and `explain` print it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from mlkit_build.changes import Change, changes
from mlkit_build.engine.action import Action, Decision
from mlkit_build.plain import canonical
from mlkit_build.store import Digest, Record

KEY_SCHEMA = 1
Tell = Callable[[Action, Change], str]
"""Returns in one line how people read a change."""


class Records(Protocol):
    """The part of a store that a decision reads."""

    def find(self, key: str) -> Record | None:
        """Return a usable record, or None."""

    def recent(self, scope: str) -> Iterator[Record]:
        """Yield earlier records of the scope, newest first."""


def key_document(action: Action, inputs: Mapping[str, Digest], toolchain: Mapping[str, str]) -> dict[str, Any]:
    """Return everything that decides the action's result. Its canonical JSON's SHA-256 is the key."""
    return {
        "schema": KEY_SCHEMA,
        "action": action.name,
        "version": action.version,
        "params": dict(action.params),
        "inputs": {name: digest.sha256 for name, digest in inputs.items()},
        "toolchain": dict(toolchain),
    }


def as_keyed(action: Action, change: Change) -> str:
    """Return a change as the key document spells it."""
    return str(change)


def decide(
    action: Action,
    inputs: Mapping[str, Digest],
    toolchain: Mapping[str, str],
    records: Records,
    scope: str,
    waits_for: Sequence[str] = (),
    tell: Tell = as_keyed,
) -> Decision:
    """Decide whether `action` must run.

    Args:
        inputs: Name -> digest of every input; of what waits, those that are known.
        toolchain: Tool -> version, of the tools its runtime uses.
        records: Where earlier results are.
        scope: The history that explains a miss: the same action of the same recipe.
        waits_for: The actions that must run first; with any, there is no key yet.
        tell: How the reason tells what changed.
    """
    document = key_document(action, inputs, toolchain)
    if waits_for:
        unknown = action.inputs.keys() - inputs.keys()
        nearest = _nearest(document, (_without(record.document, unknown) for record in records.recent(scope)))
        return waiting(action, waits_for, nearest or ())
    key = Digest.of_bytes(canonical(document)).sha256
    record = records.find(key)
    if record is not None and set(record.outputs) == set(action.outputs):
        return Decision(action, key, document, record, "unchanged")
    earlier = list(records.recent(scope))
    if any(record.key == key for record in earlier):
        return Decision(action, key, document, None, "its cached files are gone or damaged")
    nearest = _nearest(document, (record.document for record in earlier))
    reason = "never built here" if nearest is None else in_short(action, nearest, tell)
    return Decision(action, key, document, None, reason, nearest or ())


def in_short(action: Action, found: Sequence[Change], tell: Tell) -> str:
    """Return the first of the changes in one line."""
    return "; ".join(tell(action, change) for change in found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def waiting(action: Action, waits_for: Sequence[str], changes: tuple[Change, ...] = ()) -> Decision:
    """Return the decision about an action that cannot be decided before others have run."""
    return Decision(action, "", {}, None, f"waits for {', '.join(waits_for)}", changes)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return what differs between two plain values, one line each: `params.samples: 100 -> 200`."""
    return list(map(str, changes(old, new, path)))


def _nearest(document: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]]) -> tuple[Change, ...] | None:
    """Return what differs from the document that differs least, of equal ones the newest; None without any."""
    return min((tuple(changes(old, document)) for old in earlier), key=len, default=None)


def _without(document: Mapping[str, Any], inputs: Iterable[str]) -> dict[str, Any]:
    known = {name: digest for name, digest in document["inputs"].items() if name not in inputs}
    return {**document, "inputs": known}
