"""The packing list of an archive for apps, by which it is verified alone: the bundle's manifest, which has its digest, cannot
be in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlkit_build.formats.zipping import Content
from mlkit_build.plain import pretty
from mlkit_build.records import dataclass
from mlkit_build.store import Digest

PACKING_LIST = "META-INF/mlkit-build/packing_list.json"
"""Android's tools take nothing from `META-INF` into an app but what they know: no app grows by it, and two models keep apart."""
SCHEMA = "mlkit-build/packing-list/v1"


@dataclass(frozen=True)
class Identity:
    """What the archive was made of.

    Attributes:
        name: The recipe's name.
        version: The recipe's version, which need not be the archive's.
        variant: The bundle's folder under the name.
    """

    name: str
    version: str
    variant: str


def packing_list(identity: Identity, model: str, entries: Iterable[tuple[str, Content]]) -> bytes:
    """Return the bytes of an archive's packing list: what it is, and the SHA-256 and size of every other entry.

    Args:
        model: The entry that is the model.
        entries: All others, which need not be in order.
    """
    listed: list[dict[str, Any]] = []
    for path, content in sorted(entries, key=lambda entry: entry[0]):
        digest = Digest.of_bytes(content) if isinstance(content, bytes) else Digest.of_file(content)
        listed.append({"path": path, "sha256": digest.sha256, "size_bytes": digest.size_bytes})
    identified = {"name": identity.name, "version": identity.version, "variant": identity.variant}
    return pretty({"schema": SCHEMA, **identified, "model": model, "files": listed})
