"""Every file of a place, hashed once; and whether it is still the same when that is done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Mapping
from typing import Any, TypeVar

from mlkit_build.strict_json import MAX_BYTES, UnreadableError
from mlkit_build.verification.findings import Findings
from mlkit_build.verification.places import Place, UnsafeError

T = TypeVar("T")


def hash_files(place: Place, names: Mapping[str, Any], documents: Container[str], findings: Findings) -> dict[str, bytes]:
    """Hash every file into the findings; return the bytes of the documents, from the same reading."""
    kept: dict[str, bytes] = {}
    for name in names:
        try:
            with place.open(name) as file:
                if name in documents:
                    kept[name] = file.read(MAX_BYTES + 1)
                    sha256 = hashlib.sha256(kept[name])
                    size = len(kept[name])
                    while rest := file.read(1 << 20):
                        sha256.update(rest)
                        size += len(rest)
                    findings.digests[name] = sha256.hexdigest(), size
                else:
                    found = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
                    findings.digests[name] = found.hexdigest(), file.tell()
        except place.damaged as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            findings.blame(name, f"cannot be read: {reason}")
    return kept


def read_kept(kept: Mapping[str, bytes], name: str, reader: Callable[[bytes], T], findings: Findings) -> T | None:
    """Return what a document says; None where there is none or, blamed, where it cannot be read."""
    if name not in kept:
        return None
    try:
        return reader(kept[name])
    except UnreadableError as error:
        findings.blame(name, str(error))
        return None


def check_unchanged(place: Place, before: Mapping[str, Any], findings: Findings) -> None:
    """Blame every file that is not as it was listed before it was hashed."""
    try:
        after = place.files()
    except (UnsafeError, OSError) as error:
        findings.blame(getattr(error, "name", "."), f"changed while it was verified: {error}")
        return
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            findings.wrong[name] = "changed while it was verified"  # which explains whatever else was found of it
