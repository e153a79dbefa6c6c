"""`mlkit-build lock recipe=...`: build, and keep beside the recipe what it was made of and what came of it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mlkit_build.bundle.publish import MANIFEST
from mlkit_build.config import Roots, compose
from mlkit_build.config.roots import builtin
from mlkit_build.config.sweep import refuse_several
from mlkit_build.errors import ConfigError, ExitCode
from mlkit_build.job import Job, refuse_select
from mlkit_build.locking import changes_between, locked_variant, read_lock, write_variant
from mlkit_build.printable import shown
from mlkit_build.recipe import LOCK_FILE
from mlkit_build.report.screens import screen
from mlkit_build.verbs import VERBS
from mlkit_build.verification.documents import read_manifest


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Build one variant and write it into the recipe's lock. A build that fails leaves the lock as it was."""
    from mlkit_build.engine.pool import Pool
    from mlkit_build.workflow import build

    verb = VERBS["lock"]
    parser = argparse.ArgumentParser(
        prog="mlkit-build lock",
        description=f"{verb.summary[0].upper()}{verb.summary[1:]}. `locked=true` holds later builds to it.",
    )
    parser.add_argument("overrides", nargs="+", metavar="key=value", help="recipe=NAME, and any other override of a build")
    refuse_several("lock", arguments)
    parsed = parser.parse_intermixed_args(arguments)
    job = compose(parsed.overrides, roots)
    refuse_select(job.settings.select)
    _refuse_builtin(job)
    recipe = job.recipe
    lock = read_lock(job.folder, recipe.name)
    before = lock.variants.get(recipe.variant_name) if lock else None
    pool = Pool()
    try:
        report = build(replace(job, settings=replace(job.settings, locked=False)), pool, screen(job.settings.ui), sys.argv)
    finally:
        pool.close()
    if report.bundle is None:
        return report.exit_code
    data = (report.bundle / MANIFEST).read_bytes()
    variant = locked_variant(read_manifest(data), data)
    if any(line.endswith("  .") for line in variant.inputs):
        raise ConfigError(
            f"lock: {job.folder}: the recipe's folder itself is an input, and the lock would be a part of it",
            "keep the samples in a folder below the recipe's",
        )
    changes = changes_between(before, variant) if before else []
    what = "locked" if before is None else "renewed the lock of" if changes else "nothing to renew in the lock of"
    if before != variant:
        write_variant(job.folder, recipe.name, recipe.variant_name, variant)
    out = sys.stderr if job.settings.ui == "json" else sys.stdout
    lines = [
        f"{what} {recipe.name}/{recipe.variant_name}: {_shown(job.folder / LOCK_FILE)}",
        *(f"  {shown(line)}" for line in changes),
    ]
    print("\n".join(lines), file=out)
    return ExitCode.OK


def _refuse_builtin(job: Job) -> None:
    """Refuse to write into an installed package; in a checkout of it, one works on its recipes."""
    folder = job.folder.resolve()
    if folder.parent == builtin("recipes").resolve() != (Path.cwd() / "recipes").resolve():
        raise ConfigError(
            f"lock: {job.folder}: the recipe is built in, and its folder is part of the installed mlkit-build",
            f"copy the folder to ./recipes/{folder.name}, which comes first, and lock that",
        )


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
