"""`mlkit-build verify PLACE ...`: is this bundle what it says it is? Nothing is imported that could run it."""

from __future__ import annotations

import argparse
import json

from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError, ExitCode
from mlkit_build.report.summary import size
from mlkit_build.verbs import VERBS
from mlkit_build.verification import Verified, verify
from mlkit_build.verification.places import bundle_above, open_place


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Verify each place; print what was found, and answer with 4 where a bundle is not what it says."""
    verb = VERBS["verify"]
    parser = argparse.ArgumentParser(prog="mlkit-build verify", description=f"{verb.summary[0].upper()}{verb.summary[1:]}.")
    parser.add_argument("places", nargs="+", metavar="BUNDLE", help="a bundle's folder, a zip or tar archive of it, or its URL")
    parser.add_argument("--json", action="store_true", help="print one JSON object per bundle")
    parsed = parser.parse_args(arguments)
    worst = ExitCode.OK
    for stated in parsed.places:
        try:
            with open_place(stated) as place:
                verified = verify(place)
        except ConfigError as error:
            message = error.message if stated in error.message else f"{stated}: {error.message}"
            raise ConfigError(f"verify: {message}", bundle_above(stated) or error.hint) from error
        print(_as_json(stated, verified) if parsed.json else _as_text(stated, verified))
        if verified.wrong:
            worst = ExitCode.VERIFICATION
    return worst


def _as_text(stated: str, verified: Verified) -> str:
    if not verified.wrong:
        assert verified.stated is not None
        what = f"{verified.stated.name} {verified.stated.version}, {verified.stated.variant}"
        return (
            f"{stated}: {what}: verified, {verified.files} files, {size(verified.size_bytes)}\n"
            f"  {verified.sha256}  manifest.json, which stands for all of them"
        )
    width = max(len(wrong.file) for wrong in verified.wrong)
    lines = [f"  {wrong.file:<{width}}  {wrong.found}" for wrong in verified.wrong]
    return "\n".join([f"{stated}: not what it says it is", *lines])


def _as_json(stated: str, verified: Verified) -> str:
    manifest = verified.stated
    return json.dumps(
        {
            "bundle": stated,
            "verified": not verified.wrong,
            "name": manifest.name if manifest else None,
            "version": manifest.version if manifest else None,
            "variant": manifest.variant if manifest else None,
            "manifest_sha256": verified.sha256 or None,
            "files": verified.files,
            "size_bytes": verified.size_bytes,
            "wrong": [{"file": wrong.file, "found": wrong.found} for wrong in verified.wrong],
        },
        ensure_ascii=False,
    )
