"""The comparison: who says what of a file's bytes, who of them is wrong, and what belongs to no bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any

from mlkit_build.bundle.publish import CHECKSUMS, MANIFEST, PROVENANCE, SIGNATURE
from mlkit_build.bundle.sbom import SBOM
from mlkit_build.errors import ConfigError
from mlkit_build.formats.packing_list import PACKING_LIST
from mlkit_build.verification import bill, gates, model
from mlkit_build.verification.alone import Beside, verify_alone
from mlkit_build.verification.documents import StatedInFull, read_checksums, read_in_full
from mlkit_build.verification.findings import Findings, Verified, Wrong
from mlkit_build.verification.hashing import check_unchanged, hash_files, read_kept
from mlkit_build.verification.places import Place, UnsafeError
from mlkit_build.verification.provenance import Provenance, contradictions, read_provenance
from mlkit_build.verification.signed import Detached, check_signature, read_signature

if TYPE_CHECKING:
    from mlkit_build.signing import Trusted

DOCUMENTS = (MANIFEST, PROVENANCE, CHECKSUMS, SIGNATURE)


def verify(
    place: Place, trusted: Trusted | None = None, detached: Detached | None = None, beside: Beside | None = None
) -> Verified:
    """Hash every file of a bundle and compare it with what manifest, provenance, checksums and signature say.

    Or of an archive for apps, with what it says of itself, and with what the bundle's manifest says of it.

    Memory stays flat however large the model is; each file is read once.

    Args:
        trusted: Who must have signed it; None to ask nobody.
        detached: The signature to go by, of the files of the bundle or of the archive that it is in; its own when left out.
        beside: The manifest that speaks of an archive for apps; no bundle needs it.

    Raises:
        ConfigError: The place holds no bundle at all, and is no such archive.
    """
    findings = Findings()
    try:
        before = place.files()
    except UnsafeError as error:
        return Verified((Wrong(error.name, f"{error.found}: nothing of the kind is in a bundle"),), None, 0, 0, "")
    except OSError as error:
        return Verified((Wrong(".", f"cannot be read: {error.strerror or error}"),), None, 0, 0, "")
    if PACKING_LIST in before and before.keys().isdisjoint(DOCUMENTS):
        return verify_alone(place, before, trusted, detached, beside)
    if beside is not None and beside.is_asked:
        raise ConfigError("--manifest: a bundle has a manifest of its own", "leave it out: it is for an AAR that lies elsewhere")
    documents = (MANIFEST, CHECKSUMS) if place.is_archive else (MANIFEST, CHECKSUMS, PROVENANCE)
    if not {MANIFEST, CHECKSUMS, PROVENANCE} & before.keys():
        if "AndroidManifest.xml" in before:
            raise ConfigError(
                f"expected an AAR that says what is in it, found no {PACKING_LIST}", "verify the bundle that it is from"
            )
        raise ConfigError(f"expected a bundle, found no {MANIFEST} in it", "name the folder that a build published")
    for name in documents:
        if name not in before:
            findings.blame(name, "missing")
    kept = hash_files(place, before, DOCUMENTS, findings)
    stated = read_kept(kept, MANIFEST, read_in_full, findings)
    if stated is not None:
        findings.said[MANIFEST] = {entry.path: entry.sha256 for entry in stated.outputs}
    provenance = read_kept(kept, PROVENANCE, read_provenance, findings)
    if provenance is not None:
        findings.said[PROVENANCE] = provenance.files
    checksums = read_kept(kept, CHECKSUMS, read_checksums, findings)
    if checksums is not None:
        findings.said[CHECKSUMS] = checksums
    signature = read_signature(place, kept, detached, findings)
    _compare(findings, before)
    if stated is not None:
        _check_sizes(stated, findings)
        _check_contents(place, stated, provenance, findings)
    check_unchanged(place, before, findings)
    if trusted is not None:
        check_signature(signature, trusted, findings)
    sha256, _ = findings.digests.get(MANIFEST, ("", 0))
    return findings.verified(stated, sha256, signature.envelope if signature else None)


def _compare(findings: Findings, names: Mapping[str, Any]) -> None:
    """Find who is wrong: a file that no document knows as it is, or else the documents that contradict it."""
    told: dict[str, dict[str, str]] = {}
    for document, said in findings.said.items():
        for file, sha256 in said.items():
            told.setdefault(file, {})[document] = sha256
    for file, by in told.items():
        if file not in names:
            findings.blame(file, f"missing; {_by(list(by), 'lists', 'list')} it")
            continue
        if file not in findings.digests:
            continue
        found = findings.digests[file][0]
        against = [document for document, sha256 in by.items() if sha256 != found]
        if len(against) == len(by):
            findings.blame(file, f"its sha256 is {found}, expected {by[against[0]]}, as {_by(against, 'says', 'say')}")
        else:
            agreed = _by([document for document in by if document not in against], "says", "say")
            for document in against:
                findings.blame(document, f"says that the sha256 of {file} is {by[document]}, found {found}, as {agreed}")
    parts = {MANIFEST, PROVENANCE, CHECKSUMS, SIGNATURE}.union(
        *(findings.said.get(document, ()) for document in (MANIFEST, PROVENANCE))
    )
    for name in sorted(set(names) - parts):
        findings.blame(name, f"is no part of the bundle: neither {MANIFEST} nor {PROVENANCE} names it")
    bound = {file for file, by in told.items() if not {MANIFEST, PROVENANCE, CHECKSUMS}.isdisjoint(by)}
    _compare_lists(findings, bound | names.keys() & {MANIFEST, PROVENANCE, SIGNATURE})


def _compare_lists(findings: Findings, known: Set[str]) -> None:
    """Every document speaks of all that it has to: left out of one of them, a file could be exchanged."""
    owed = {PROVENANCE: findings.said.get(MANIFEST, {}).keys() | {MANIFEST}, CHECKSUMS: known - {CHECKSUMS}}
    for document, said in findings.said.items():
        signed = known - {CHECKSUMS, SIGNATURE} if document not in (MANIFEST, PROVENANCE, CHECKSUMS) else set()
        for file in sorted(owed.get(document, signed) - said.keys()):
            findings.blame(document, f"does not name {file}")


def _check_sizes(stated: StatedInFull, findings: Findings) -> None:
    for entry in stated.outputs:
        found = findings.digests.get(entry.path)
        if found is not None and found[1] != entry.size_bytes and entry.path not in findings.wrong:
            findings.blame(MANIFEST, f"says that {entry.path} has {entry.size_bytes} bytes, found {found[1]}")


def _check_contents(place: Place, stated: StatedInFull, provenance: Provenance | None, findings: Findings) -> None:
    """Only of a file with the right bytes is it worth knowing what it says."""
    if provenance is not None and MANIFEST not in findings.wrong:
        for found in contradictions(provenance, stated):
            findings.blame(PROVENANCE, found)
    for found in gates.contradictions(stated):
        findings.blame(MANIFEST, found)
    labels = model.LABELS if model.LABELS in findings.digests else None
    readers: dict[str, Callable[[str], Iterator[str]]] = {
        f"{stated.name}.tflite": lambda name: model.contradictions(place, name, stated, labels),
        SBOM: lambda name: bill.contradictions(place, name, stated),
    }
    for name, reader in readers.items():
        if name in findings.digests and name not in findings.wrong:
            try:
                for found in reader(name):
                    findings.blame(name, found)
            except place.damaged as error:
                findings.blame(name, f"cannot be read: {error}")


def _by(documents: list[str], one: str, several: str) -> str:
    *others, last = documents
    return f"{', '.join(others)} and {last} {several}" if others else f"{last} {one}"
