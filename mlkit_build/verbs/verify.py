"""`mlkit-build verify PLACE ...`: is this bundle what it says it is? Nothing is imported that could run it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlkit_build.bounded import read_regular
from mlkit_build.bundle.publish import MANIFEST, SIGNATURE
from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError, ExitCode, MlkitBuildError, SourceError
from mlkit_build.fetch import urls
from mlkit_build.printable import shown
from mlkit_build.report.summary import size
from mlkit_build.strict_json import MAX_BYTES
from mlkit_build.verbs import VERBS
from mlkit_build.verification import Beside, Detached, Verified, verify
from mlkit_build.verification.documents import PackingList, Stated
from mlkit_build.verification.envelope import METHODS, OPTIONS
from mlkit_build.verification.places import bundle_above, open_place

if TYPE_CHECKING:
    from mlkit_build.signing import Trusted


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Verify each place; print what was found, and answer with 4 where a bundle is not what it says."""
    verb = VERBS["verify"]
    parser = argparse.ArgumentParser(prog="mlkit-build verify", description=f"{verb.summary[0].upper()}{verb.summary[1:]}.")
    parser.add_argument(
        "places", nargs="+", metavar="BUNDLE", help="a bundle's folder, a zip or tar archive of it, an AAR, or their URL"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per bundle")
    parser.add_argument(
        "--manifest", metavar="FILE", help=f"the {MANIFEST} of the bundle that an AAR is from, where that is not above it"
    )
    signed = parser.add_argument_group(
        "who signed it",
        "with the extra `sign`; without these options a signature is compared with the files, and trusted by nobody",
    )
    signed.add_argument("--key", metavar="FILE", help="the public key, in PEM, that must have signed it")
    signed.add_argument(
        "--certificate-chain",
        action="append",
        metavar="FILE",
        help="certificates, in PEM, that must vouch for who signed it; repeatable",
    )
    signed.add_argument("--identity", metavar="WHO", help="who must have signed it with Sigstore, as the provider knows them")
    signed.add_argument("--identity-provider", metavar="URL", help="who vouches for that identity")
    signed.add_argument(
        "--signature", metavar="FILE", help=f"the signature, where it is not the {SIGNATURE} in or above the bundle"
    )
    parsed = parser.parse_args(arguments)
    trusted = _trusted(parsed)
    worst = ExitCode.OK
    for stated in parsed.places:
        name = urls.shown(stated)
        try:
            verified = _verified(stated, parsed, trusted)
        except MlkitBuildError as error:  # what follows is verified all the same: a script asks about all of them
            _tell(error)
            worst = max(worst, error.exit_code)
            continue
        print(_as_json(name, verified, trusted) if parsed.json else _as_text(name, verified, trusted), flush=True)
        if verified.wrong:
            worst = max(worst, ExitCode.VERIFICATION)
    return worst


def _verified(stated: str, parsed: argparse.Namespace, trusted: Trusted | None) -> Verified:
    detached = _detached(stated, parsed.signature) if trusted else None
    beside, name = _beside(stated, parsed.manifest), urls.shown(stated)
    try:
        with open_place(stated) as place:
            return verify(place, trusted, detached, beside)
    except ConfigError as error:
        message = error.message if name in error.message else f"{name}: {error.message}"
        above = bundle_above(stated)
        hint = f"it lies in the bundle {above}: verify that" if above else error.hint
        raise ConfigError(f"verify: {message}", hint) from error
    except OSError as error:
        raise SourceError(f"verify: {name}: cannot be read: {error.strerror or error}", "see that you may read it") from error


def _tell(error: MlkitBuildError) -> None:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def _trusted(parsed: argparse.Namespace) -> Trusted | None:
    """Return who must have signed. Raises ConfigError where that is not clear, or nobody could tell."""
    if bool(parsed.identity) != bool(parsed.identity_provider):
        raise ConfigError(
            "verify: --identity and --identity-provider go together", "one says who, the other who vouches for them"
        )
    stated = {"--key": parsed.key, "--certificate-chain": parsed.certificate_chain, "--identity": parsed.identity}
    given = [option for option, value in stated.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(
            f"verify: expected one of {', '.join(stated)}, found {' and '.join(given)}", "a bundle has one signature"
        )
    if not given:
        if parsed.signature is not None:
            raise ConfigError("verify: --signature says nothing without whom to trust", f"add one of {', '.join(stated)}")
        return None
    from mlkit_build.signing import Trusted

    if parsed.key is not None:
        return Trusted.by_key(parsed.key)
    if parsed.certificate_chain is not None:
        return Trusted.by_certificates(parsed.certificate_chain)
    return Trusted.by_identity(parsed.identity, parsed.identity_provider)


def _detached(stated: str, named: str | None) -> Detached | None:
    """Return the signature that does not lie in the bundle itself: the one that the user named, or that of the bundle above."""
    above = bundle_above(stated)
    file = Path(named).expanduser() if named else above / SIGNATURE if above else None
    if file is None or (named is None and not file.is_file()):
        return None
    return Detached(str(file.absolute()), _read("--signature", file), is_asked=named is not None)


def _beside(stated: str, named: str | None) -> Beside | None:
    """Return the manifest that may speak of an AAR: the one that the user named, or that of the bundle above."""
    above = bundle_above(stated) if Path(stated).suffix == ".aar" else None
    file = Path(named).expanduser() if named else above / MANIFEST if above else None
    return Beside(str(file.absolute()), _read("--manifest", file), is_asked=named is not None) if file else None


def _read(option: str, file: Path) -> bytes:
    try:
        return read_regular(file, MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"verify: {option}: {file}: cannot be read: {error.strerror}", "name a file that you may read"
        ) from error


def _as_text(stated: str, verified: Verified, trusted: Trusted | None) -> str:
    """Return what was found, in lines of our own alone: what a bundle says may not break a line, nor move a terminal's cursor."""
    if not verified.wrong:
        assert verified.stated is not None
        what = f"{verified.stated.name} {verified.stated.version}, {verified.stated.variant}"
        lines = [
            f"{_path(stated)}: {shown(what)}: verified, {verified.files} files, {size(verified.size_bytes)}",
            f"  {verified.sha256}  {_path(_stands_for(verified))}",
            *_signed(verified, trusted),
        ]
        return "\n".join(lines)
    found = [(_path(wrong.file), shown(wrong.found)) for wrong in verified.wrong]
    width = max(len(file) for file, _ in found)
    return "\n".join([f"{_path(stated)}: not what it says it is", *(f"  {file:<{width}}  {text}" for file, text in found)])


def _path(text: str) -> str:
    """Return a path, or a text with one, as it can be printed: of a whole length."""
    return shown(text, longest=len(text))


def _stands_for(verified: Verified) -> str:
    if isinstance(verified.stated, Stated):
        return "manifest.json, which stands for all of them"
    if verified.compared:
        return f"the archive itself, as {verified.compared} says"
    return (
        "the archive itself, by its own packing list; who built it is not known: give --manifest to compare it with its bundle's"
    )


def _signed(verified: Verified, trusted: Trusted | None) -> list[str]:
    if verified.signed is None:
        return []
    if trusted is not None:
        return [f"  signed by {_path(trusted.shown)}"]
    method = verified.signed.method
    return [f"  signed with {METHODS[method]}; give {OPTIONS[method]} to check who signed it"]


def _as_json(stated: str, verified: Verified, trusted: Trusted | None) -> str:
    """Return one object in ASCII: other letters are escaped, as not every terminal or pipe takes them."""
    manifest = verified.stated
    return json.dumps(
        {
            "bundle": stated,
            "verified": not verified.wrong,
            "name": manifest.name if manifest else None,
            "version": manifest.version if manifest else None,
            "variant": manifest.variant if manifest else None,
            "manifest_sha256": None if isinstance(manifest, PackingList) else verified.sha256 or None,
            "archive_sha256": verified.sha256 if isinstance(manifest, PackingList) else None,
            "compared_with": verified.compared or None,
            "files": verified.files,
            "size_bytes": verified.size_bytes,
            "signed": verified.signed.method if verified.signed else None,
            "signed_by": trusted.shown if trusted and not verified.wrong else None,
            "wrong": [{"file": wrong.file, "found": wrong.found} for wrong in verified.wrong],
        }
    )
