"""An archive for apps, verified without its bundle: every entry against what the archive says of itself, and the archive against
the bundle's manifest, where that is at hand. Without it, somebody could have made up archive and statement together."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mlkit_build.formats.packing_list import PACKING_LIST
from mlkit_build.records import dataclass
from mlkit_build.strict_json import UnreadableError
from mlkit_build.verification import model
from mlkit_build.verification.documents import PackingList, StatedInFull, read_in_full, read_packing_list
from mlkit_build.verification.findings import Findings, Verified
from mlkit_build.verification.hashing import check_unchanged, hash_files, read_kept
from mlkit_build.verification.places import Place
from mlkit_build.verification.signed import Detached, check_signature, read_signature

if TYPE_CHECKING:
    from mlkit_build.signing import Trusted

_OURS = b'"mlkit-build/manifest/'


@dataclass(frozen=True)
class Beside:
    """A manifest that may speak of an archive.

    Attributes:
        name: Its absolute path.
        data: Its bytes.
        is_asked: Whether the user named it; if not, it lies above the archive, and may be a stranger's of the same name.
    """

    name: str
    data: bytes
    is_asked: bool = True


def verify_alone(
    place: Place, before: Mapping[str, Any], trusted: Trusted | None, detached: Detached | None, beside: Beside | None
) -> Verified:
    """Hash every entry of an archive and compare it with the archive's own statement.

    Args:
        before: The entries.
        trusted: Who must have signed the archive; None to ask nobody.
        detached: The signature to go by.
        beside: The manifest that speaks of the archive.
    """
    assert place.file is not None
    findings = Findings()
    kept = hash_files(place, before, (PACKING_LIST,), findings)
    listed = read_kept(kept, PACKING_LIST, read_packing_list, findings)
    with place.file.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if listed is not None:
        _compare(listed, before, findings)
    stated = _manifest(beside, findings)
    if beside is not None and stated is not None:
        in_it = findings.digests.get(listed.model, ("", 0))[0] if listed is not None else ""
        _check_digest(place.file.name, sha256, in_it, beside, stated, findings)
    if listed is not None and listed.model in findings.digests and listed.model not in findings.wrong:
        labels = str(PurePosixPath(listed.model).with_name(model.LABELS))
        for found in _said(place, listed, stated, labels if labels in findings.digests else None):
            findings.blame(listed.model, found)
    if not findings.wrong:
        _check_packing(place, place.file.name, findings)
    check_unchanged(place, before, findings)
    signature = read_signature(place, {}, detached, findings)
    if signature is not None and not signature.is_of_archive:
        findings.blame(signature.name, f"is over no archive with the sha256 {sha256}")
    if trusted is not None:
        check_signature(signature, trusted, findings)
    compared = beside.name if beside is not None and stated is not None else ""
    return findings.verified(listed, sha256, signature.envelope if signature else None, compared)


def _compare(listed: PackingList, names: Mapping[str, Any], findings: Findings) -> None:
    for entry in listed.files:
        if entry.path not in names:
            findings.blame(entry.path, f"missing; {PACKING_LIST} lists it")
            continue
        if entry.path not in findings.digests:
            continue
        sha256, size_bytes = findings.digests[entry.path]
        if sha256 != entry.sha256:
            findings.blame(entry.path, f"its sha256 is {sha256}, expected {entry.sha256}, as {PACKING_LIST} says")
        elif size_bytes != entry.size_bytes:
            findings.blame(PACKING_LIST, f"says that {entry.path} has {entry.size_bytes} bytes, found {size_bytes}")
    for name in sorted(names.keys() - {entry.path for entry in listed.files} - {PACKING_LIST}):
        findings.blame(name, f"is no part of the archive: {PACKING_LIST} does not name it")


def _check_packing(place: Place, name: str, findings: Findings) -> None:
    """Blame the archive where it holds more than its entries, or says of them what nobody has the digest of."""
    from mlkit_build.verification.packed import Zip

    try:
        found = place.parting() if isinstance(place, Zip) else "its first byte: it is no zip archive"
    except (ValueError, OverflowError, struct.error) as error:
        found = f"what it states of them: {error}"
    if found:
        findings.blame(name, f"its entries are right, but it was not packed so by mlkit-build: it differs from {found}")


def _said(place: Place, listed: PackingList, stated: StatedInFull | None, labels: str | None) -> list[str]:
    """Return what the model says otherwise; a manifest says more of it than the archive."""
    try:
        return list(model.contradictions(place, listed.model, stated or listed, labels))
    except place.damaged as error:
        return [f"cannot be read: {error}"]


def _manifest(beside: Beside | None, findings: Findings) -> StatedInFull | None:
    if beside is None:
        return None
    try:
        return read_in_full(beside.data)
    except UnreadableError as error:
        if beside.is_asked or _OURS in beside.data:
            findings.blame(beside.name, str(error))
        return None


def _check_digest(name: str, sha256: str, model_sha256: str, beside: Beside, stated: StatedInFull, findings: Findings) -> None:
    """Blame the archive where the manifest knows none of that content; it may have been renamed."""
    archives = [entry for entry in stated.outputs if entry.path.endswith(".aar")]
    if any(entry.sha256 == sha256 for entry in archives):
        return
    if not archives:
        findings.blame(
            name, f"{beside.name} lists no such archive: {stated.name} {stated.version}, {stated.variant} was built without"
        )
        return
    own = next((entry.sha256 for entry in stated.outputs if entry.path == f"{stated.name}.tflite"), None)
    same = "the model in it is that of the bundle" if own == model_sha256 else "the model in it is another, too"
    known = next((entry for entry in archives if PurePosixPath(entry.path).name == name), archives[0])
    findings.blame(name, f"its sha256 is {sha256}, expected {known.sha256}, as {beside.name} says of {known.path}; {same}")
