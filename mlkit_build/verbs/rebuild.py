"""`mlkit-build rebuild BUNDLE/manifest.json`: do the inputs that a manifest lists give the bundle again that it describes?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mlkit_build.bundle.publish import MANIFEST
from mlkit_build.config import Roots
from mlkit_build.errors import ConfigError, ExitCode, MlkitBuildError, SourceError
from mlkit_build.printable import shown
from mlkit_build.reproduction.rebuild import OTHERWISE_WRITTEN, Rebuilt, rebuild, without_folder
from mlkit_build.store.layered import default_folder
from mlkit_build.strict_json import MAX_BYTES, UnreadableError
from mlkit_build.temporary import keep, named_or_temporary
from mlkit_build.verbs import VERBS
from mlkit_build.verification import Verified, verify
from mlkit_build.verification.documents import Stated, read_manifest
from mlkit_build.verification.places import Place, UnsafeError, open_place


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Build again and compare; answer with 4 where bytes differ, and with 2 where inputs are missing."""
    verb = VERBS["rebuild"]
    parser = argparse.ArgumentParser(
        prog="mlkit-build rebuild",
        description=f"{verb.summary[0].upper()}{verb.summary[1:]}. Inputs are recognized by their content: in the folder of the "
        "recipe of that name and where it says that they are, in the folders that are named, behind the recipe's URLs.",
    )
    parser.add_argument(
        "manifest",
        metavar="MANIFEST",
        help="a bundle's manifest.json; or its folder or an archive of it, which is verified first",
    )
    parser.add_argument(
        "--inputs", type=Path, metavar="DIR", action="append", default=[], help="look for inputs there too; may be given again"
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="build in this new folder, and keep it")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parsed = parser.parse_args(arguments)
    for folder in parsed.inputs:
        if not folder.is_dir():
            raise ConfigError(
                f"rebuild: --inputs {folder}: expected a folder, found {'a file' if folder.exists() else 'nothing'}"
            )
    data, stated, verified = _read(parsed.manifest)
    name = f"{stated.name}/{stated.variant}"
    if verified is not None and verified.wrong:
        print(_damaged_as_json(name, verified) if parsed.json else _damaged_as_text(name, verified))
        return ExitCode.VERIFICATION
    kept = parsed.to is not None
    with named_or_temporary(parsed.to, "rebuild: --to") as folder:
        try:
            named = [path.absolute() for path in parsed.inputs]
            found = rebuild(stated, data, roots, named, folder, default_folder(), _tell)
            if not found.equal and not kept:
                keep(folder)
                kept = True
        except MlkitBuildError as error:
            if error.log and not kept:  # which lies there
                keep(folder)
                kept = True
            message, hint = (text if kept else without_folder(text, folder) for text in (error.message, error.hint))
            raise type(error)(f"rebuild: {parsed.manifest}: {message}", hint, log=error.log) from error
    print(_as_json(name, found, kept) if parsed.json else _as_text(name, found, kept, of_bundle=verified is not None))
    return ExitCode.OK if found.equal else ExitCode.VERIFICATION


def _read(stated: str) -> tuple[bytes, Stated, Verified | None]:
    """Return the manifest's bytes, what they say, and whether the bundle is that; None where a manifest alone was named."""
    try:
        if Path(stated).is_file() and Path(stated).suffix == ".json":
            with Path(stated).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            return data, read_manifest(data), None
        with open_place(stated) as place:
            data = _packed(stated, place)
            return data, read_manifest(data), verify(place) if place.files().keys() - {MANIFEST} else None
    except (UnreadableError, UnsafeError) as error:
        raise ConfigError(
            f"rebuild: {stated}: {shown(str(error))}", "only a manifest that a build wrote can be built again"
        ) from error
    except OSError as error:
        raise SourceError(f"rebuild: {stated}: cannot be read: {error.strerror or error}", "see that you may read it") from error


def _packed(stated: str, place: Place) -> bytes:
    try:
        if MANIFEST not in place.files():
            raise ConfigError(
                f"rebuild: {stated}: expected a bundle, found no {MANIFEST} in it", "name a bundle, or its manifest"
            )
        with place.open(MANIFEST) as file:
            return file.read(MAX_BYTES + 1)
    except place.damaged as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(
            f"rebuild: {stated}: {MANIFEST} cannot be read: {reason}", "fetch or make it again; `mlkit-build verify` says more"
        ) from error


def _tell(text: str) -> None:
    print(f"rebuild: {shown(text)}", file=sys.stderr, flush=True)


def _damaged_as_text(name: str, verified: Verified) -> str:
    lines = "".join(f"\n  {shown(f'{wrong.file}: {wrong.found}')}" for wrong in verified.wrong)
    return f"{name}: not what its manifest says, so nothing was built; that is tried of the manifest.json alone{lines}"


def _damaged_as_json(name: str, verified: Verified) -> str:
    differences = [f"{wrong.file}: {wrong.found}" for wrong in verified.wrong]
    assert isinstance(verified.stated, Stated | None)
    return _json(name, False, len(verified.stated.outputs) if verified.stated else 0, differences)


def _as_text(name: str, found: Rebuilt, kept: bool, *, of_bundle: bool) -> str:
    if not found.equal:
        head = f"{name}: not equal"
    elif found.toolchain:
        but = "".join(f", and {listing} but for the tools that it lists" for listing in found.follows)
        head = f"{name}: equal, though made with other tools: {found.count - len(found.follows)} files are the same bytes{but}"
    else:
        stated = "" if of_bundle else ", as it states them"
        head = f"{name}: equal: {found.count} files and the manifest are the same bytes{stated}"
    lines = [*found.files, *(f"manifest.json: {line}" for line in found.manifest)]
    if found.toolchain:
        lines += [f"another toolchain: {line}" for line in found.toolchain]
    elif any(line.startswith("actions") for line in found.manifest):
        lines.append(
            "from the same inputs, with the same tools, the actions have other keys: another state of mlkit-build made it"
        )
    elif not found.files and found.manifest == (OTHERWISE_WRITTEN,):
        lines.append("somebody, or another state of mlkit-build, wrote that file: the bundle itself came again")
    elif not found.equal:
        lines.append("the inputs and the toolchain are the same: `mlkit-build check` tells which action is not reproducible")
    if kept:
        lines.append(f"kept in {found.bundle}")
    return "\n".join([head, *(f"  {shown(line, longest=len(line))}" for line in lines)])


def _as_json(name: str, found: Rebuilt, kept: bool) -> str:
    return _json(
        name,
        found.equal,
        found.count,
        found.files,
        found.follows,
        found.manifest,
        found.toolchain,
        str(found.bundle) if kept else None,
    )


def _json(
    name: str,
    equal: bool,
    files: int,
    differences: Sequence[str],
    other_tools: Sequence[str] = (),
    manifest: Sequence[str] = (),
    toolchain: Sequence[str] = (),
    kept: str | None = None,
) -> str:
    return json.dumps(
        {
            "bundle": name,
            "equal": equal,
            "files": files,
            "differences": list(differences),
            "other_tools": list(other_tools),
            "manifest": list(manifest),
            "toolchain": list(toolchain),
            "kept": kept,
        },
    )
