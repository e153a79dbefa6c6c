"""`mlkit-build check recipe=...`: does this recipe give the same bytes again, and where not, where does it begin?"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from mlkit_build.config import Roots, compose
from mlkit_build.config.sweep import refuse_several
from mlkit_build.errors import ConfigError, ExitCode, StoreError
from mlkit_build.reproduction import Checked, Difference, check
from mlkit_build.reproduction.conditions import VARIED
from mlkit_build.verbs import VERBS


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Build twice and compare; answer with 4 where bytes differ, and keep both builds to look at."""
    verb = VERBS["check"]
    parser = argparse.ArgumentParser(
        prog="mlkit-build check",
        description=f"{verb.summary[0].upper()}{verb.summary[1:]}. Other conditions: {', '.join(VARIED)}.",
    )
    parser.add_argument("overrides", nargs="+", metavar="key=value", help="recipe=NAME, and any other override of a build")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep both builds in this new folder, also when they are equal")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    refuse_several("check", arguments)
    parsed = parser.parse_intermixed_args(arguments)
    job = compose(parsed.overrides, roots)
    folder = _folder(parsed.keep)
    keep = parsed.keep is not None
    try:
        found = check(job, parsed.overrides, roots, folder, lambda text: print(f"check: {text}", file=sys.stderr, flush=True))
        if found.differences and not keep:
            folder, found = _kept(folder, found)
            keep = True
    finally:
        if not keep:
            _removed(folder)
    name = f"{job.recipe.name}/{job.recipe.variant_name}"
    print(_as_json(name, found, folder if keep else None) if parsed.json else _as_text(name, found, folder if keep else None))
    return ExitCode.VERIFICATION if found.differences else ExitCode.OK


def _folder(keep: Path | None) -> Path:
    if keep is None:
        # Named as the engine names its folders, so that the next build sweeps it up when this one is killed.
        return Path(tempfile.mkdtemp(prefix=f"mlkit-build-{os.getpid()}-"))
    folder = keep.expanduser().absolute()
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(
            f"check: --keep {keep}: expected a folder that is not there yet", "name another, or remove it"
        ) from error
    except OSError as error:
        raise StoreError(f"check: --keep {keep}: {error.strerror or error}") from error
    return folder


def _kept(folder: Path, found: Checked) -> tuple[Path, Checked]:
    """Give the temporary folder a name that nobody sweeps up; return it, and what was found there."""
    kept = folder.with_name(folder.name.replace(f"-{os.getpid()}-", "-check-", 1))
    folder.rename(kept)

    def moved(path: Path | None) -> Path | None:
        return kept / path.relative_to(folder) if path and path.is_relative_to(folder) else path

    differences = (replace(item, first=moved(item.first), second=moved(item.second)) for item in found.differences)
    return kept, replace(found, differences=tuple(differences))


def _removed(folder: Path) -> None:
    """Blobs are read-only, and so may be folders that code of the recipe made."""
    shutil.rmtree(folder, ignore_errors=True)


def _as_text(name: str, found: Checked, folder: Path | None) -> str:
    held = f", {found.cached} of them as the cache has them" if found.cached else ""
    kept = [f"  both are kept in {folder}"] if folder else []
    if not found.differences:
        return "\n".join([f"{name}: reproducible: {len(found.actions)} actions gave the same bytes twice{held}", *kept])
    first = found.differences[0]
    lines = [f"{name}: not reproducible: it begins with {first.action}, from equal inputs"]
    for difference in found.differences:
        lines.append(f"  {difference.action:<10} {difference.file}, {_where(difference)}")
        lines += [f"    {line}" for line in difference.found]
    return "\n".join([*lines, *kept])


def _where(difference: Difference) -> str:
    return "as things are and otherwise" if difference.against == "otherwise" else f"done again and in {difference.against}"


def _as_json(name: str, found: Checked, folder: Path | None) -> str:
    return json.dumps(
        {
            "bundle": name,
            "reproducible": not found.differences,
            "actions": found.actions,
            "compared_with_cache": found.cached,
            "kept": str(folder) if folder else None,
            "differences": [
                {
                    "action": item.action,
                    "file": item.file,
                    "against": item.against,
                    "first": str(item.first) if item.first else None,
                    "second": str(item.second) if item.second else None,
                    "found": item.found,
                }
                for item in found.differences
            ],
        },
        ensure_ascii=False,
    )
