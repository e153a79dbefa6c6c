"""The one decision function: hit or miss, with the reason. A build runs what it says; `plan` and `explain` print it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from mlkit_build.changes import changes
from mlkit_build.engine.action import Action, Decision
from mlkit_build.plain import canonical
from mlkit_build.store import Digest, Record

KEY_SCHEMA = 1


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


def decide(action: Action, inputs: Mapping[str, Digest], toolchain: Mapping[str, str], records: Records, scope: str) -> Decision:
    """Decide whether `action` must run.

    Args:
        inputs: Name -> digest of every input.
        toolchain: Tool -> version, of the tools its runtime uses.
        records: Where earlier results are.
        scope: The history that explains a miss: the same action of the same recipe.
    """
    document = key_document(action, inputs, toolchain)
    key = Digest.of_bytes(canonical(document)).sha256
    record = records.find(key)
    if record is not None and set(record.outputs) == set(action.outputs):
        return Decision(action, key, document, record, "unchanged")
    return Decision(action, key, document, None, _why(document, key, records.recent(scope)))


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return what differs between two plain values, one line each: `params.samples: 100 -> 200`."""
    return list(map(str, changes(old, new, path)))


def _why(document: Mapping[str, Any], key: str, earlier: Iterator[Record]) -> str:
    nearest: list[str] | None = None
    for record in earlier:
        if record.key == key:
            return "its cached files are gone or damaged"
        changes = differences(record.document, document)
        if nearest is None or len(changes) < len(nearest):
            nearest = changes
    if nearest is None:
        return "never built here"
    return "; ".join(nearest[:3]) + (f"; and {len(nearest) - 3} more" if len(nearest) > 3 else "")
