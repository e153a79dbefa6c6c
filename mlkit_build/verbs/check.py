"""`mlkit-build check recipe=...`: does this recipe give the same bytes again, and where not, where does it begin?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mlkit_build.config import Roots, compose
from mlkit_build.config.sweep import refuse_several
from mlkit_build.errors import ExitCode, MlkitBuildError
from mlkit_build.reproduction import Checked, Difference, check
from mlkit_build.reproduction.conditions import VARIED
from mlkit_build.temporary import keep, named_or_temporary
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
    kept = parsed.keep is not None
    with named_or_temporary(parsed.keep, "check: --keep") as folder:
        try:
            found = check(job, parsed.overrides, roots, folder, lambda text: print(f"check: {text}", file=sys.stderr, flush=True))
        except MlkitBuildError as error:
            if error.log:  # which lies there
                keep(folder)
            raise
        if found.differences and not kept:
            keep(folder)
            kept = True
    name = f"{job.recipe.name}/{job.recipe.variant_name}"
    print(_as_json(name, found, folder if kept else None) if parsed.json else _as_text(name, found, folder if kept else None))
    return ExitCode.VERIFICATION if found.differences else ExitCode.OK


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
