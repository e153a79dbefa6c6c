"""The signature of a bundle as one more document that speaks of its files, and whether it is by whom the user trusts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlkit_build.bundle.publish import SIGNATURE
from mlkit_build.records import dataclass
from mlkit_build.strict_json import UnreadableError
from mlkit_build.verification.envelope import Envelope, read_envelope
from mlkit_build.verification.findings import Findings
from mlkit_build.verification.places import Place

if TYPE_CHECKING:
    from mlkit_build.signing import Trusted


@dataclass(frozen=True)
class Detached:
    """A signature that lies elsewhere than in the bundle.

    Attributes:
        name: Its absolute path: no file of a bundle is called so.
        data: Its bytes.
        is_asked: Whether the user named it; if not, it is for a place that has none of its own.
    """

    name: str
    data: bytes
    is_asked: bool = True


@dataclass(frozen=True)
class Signature:
    """The signature to go by.

    Attributes:
        name: Where it lies.
        data: Its bytes.
        envelope: What they say.
        is_of_archive: Whether it is over the archive itself, and not over the files in it.
    """

    name: str
    data: bytes
    envelope: Envelope
    is_of_archive: bool = False


def read_signature(place: Place, kept: Mapping[str, bytes], detached: Detached | None, findings: Findings) -> Signature | None:
    """Return the signature to go by; what the signatures say of files is added to the findings."""
    found = _read(SIGNATURE, kept[SIGNATURE], findings) if SIGNATURE in kept else None
    if found:
        findings.said[found.name] = found.envelope.files
    if detached is None or (SIGNATURE in kept and not detached.is_asked):
        return found
    other = _read(detached.name, detached.data, findings)
    if other and place.file is not None:
        with place.file.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 in other.envelope.files.values():
            return Signature(other.name, other.data, other.envelope, is_of_archive=True)
    if other:
        findings.said[other.name] = other.envelope.files
    return other


def check_signature(signature: Signature | None, trusted: Trusted, findings: Findings) -> None:
    """Blame the signature where it is not by whom the user trusts. Of files that are not as stated it is not asked."""
    if signature is None:
        findings.blame(SIGNATURE, "missing, or no signature: nobody answers for these files")
    elif not findings.wrong:
        files = signature.envelope.files
        found = files if signature.is_of_archive else {name: findings.digests[name][0] for name in files}
        reason = trusted.refused(signature.data, signature.envelope, found)
        if reason is not None:
            findings.blame(signature.name, reason)


def _read(name: str, data: bytes, findings: Findings) -> Signature | None:
    try:
        return Signature(name, data, read_envelope(data))
    except UnreadableError as error:
        findings.blame(name, str(error))
        return None
