"""`select=`: after a sweep, the best variant of each recipe that passes every gate, published once more as `best`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from mlkit_build.bundle.publish import CHECKSUMS, MANIFEST, PROVENANCE, is_published, publish
from mlkit_build.errors import ConfigError, MlkitBuildError, StageError, did_you_mean
from mlkit_build.job import Job
from mlkit_build.pipeline import is_timed
from mlkit_build.recipe.checks import BEST
from mlkit_build.store import Digest
from mlkit_build.sweep.outcome import Choice, Row

Rank = Callable[[Row], tuple[float, ...] | None]
"""Row -> what to compare, less is better; None where the row has no such value."""


def _size(row: Row) -> tuple[float, ...] | None:
    return None if row.report.size_bytes is None else (row.report.size_bytes, -row.quality.rank if row.quality else 0.0)


def _latency(row: Row) -> tuple[float, ...] | None:
    return None if row.latency_ms is None else (row.latency_ms, *(_size(row) or ()))


def _error(row: Row) -> tuple[float, ...] | None:
    return None if row.quality is None else (-row.quality.rank, row.report.size_bytes or 0)


SELECTIONS: dict[str, Rank] = {"smallest": _size, "fastest": _latency, "most_accurate": _error}


def selection_of(jobs: Sequence[Job]) -> str | None:
    """Return what `select=` says, after checking that the sweep can answer it; None where it says nothing.

    Raises:
        ConfigError: It is not known, not the same for all jobs, or asks for a value that nothing measures.
    """
    stated = list(dict.fromkeys(job.settings.select for job in jobs))
    if not any(stated):
        return None
    if len(stated) > 1:
        found = ", ".join(str(value or "null") for value in stated)
        raise ConfigError(
            f"select: expected one value for the whole sweep, found {found}", "run the second one again: it is cached"
        )
    by = check_selection(stated[0])
    for name in dict.fromkeys(job.recipe.name for job in jobs):
        measured = [job.recipe for job in jobs if job.recipe.name == name and job.recipe.dataset]
        if by == "most_accurate" and not measured:
            raise ConfigError(
                f"select={by}: recipe {name} has no dataset, so that nothing says how accurate a variant is",
                "add `dataset:` to the recipe, or use select=smallest",
            )
        if by == "fastest" and not any(is_timed(job.recipe) for job in jobs if job.recipe.name == name):
            raise ConfigError(
                f"select={by}: nothing says how fast a variant of {name} is: validation.latency.runs is 0, or Flex operators are "
                "allowed, which cannot be timed here",
                "use select=smallest or select=most_accurate",
            )
    return by


def check_selection(stated: str | None) -> str:
    """Return the value of `select=`. Raises ConfigError where it is none that is known."""
    if stated not in SELECTIONS:
        hint = did_you_mean(str(stated), list(SELECTIONS))
        raise ConfigError(f"select: expected one of {', '.join(SELECTIONS)}, found {stated!r}", hint)
    return stated


def select(by: str, recipe: str, rows: Sequence[Row]) -> Choice:
    """Choose among the rows of a recipe, and publish a copy of the bundle; where nothing passes, what was there stays.

    Equals are told apart by what is measured besides, then by name, so that the order of the sweep does not matter.
    """
    ranked = [
        (rank, row.report.variant, row.report.bundle)
        for row in rows
        if row.passed and row.report.bundle is not None and (rank := SELECTIONS[by](row)) is not None
    ]
    if not ranked:
        return Choice(recipe, by)
    _, variant, bundle = min(ranked)
    place = bundle.with_name(BEST)
    try:
        _copy(bundle, place)
    except MlkitBuildError as error:
        return Choice(recipe, by, variant, error=error)
    return Choice(recipe, by, variant, place)


def _copy(bundle: Path, place: Path) -> None:
    """Publish the bundle's files, byte for byte, at `place`.

    Raises:
        StageError: A file is not what the bundle's checksums say.
        StoreError: `place` cannot be written.
    """
    try:
        lines = (bundle / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
        manifest = (bundle / MANIFEST).read_bytes()
        sizes = {name: (bundle / name).stat().st_size for name in sums}
    except OSError as error:
        raise StageError(f"{bundle}: cannot be read: {error.strerror}", "run the sweep again") from error
    digests = {name: Digest(sha256, sizes[name]) for name, sha256 in sums.items()}
    contents = {name: digest for name, digest in digests.items() if name not in (MANIFEST, PROVENANCE)}
    if is_published(place, manifest, contents):
        return

    def write(folder: Path) -> None:
        for name, digest in digests.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / name, folder / name)
            if Digest.of_file(folder / name) != digest:
                raise StageError(f"{bundle / name}: its bytes are not those of {CHECKSUMS}", "run the sweep again")

    publish(place, write)
