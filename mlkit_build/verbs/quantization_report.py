"""`mlkit-build quantization-report recipe=...`: where a quantized model's accuracy went, and what to do about it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mlkit_build import pipeline
from mlkit_build.config import Roots, compose
from mlkit_build.config.sweep import refuse_several
from mlkit_build.engine import Engine
from mlkit_build.engine import pool as pools
from mlkit_build.errors import ConfigError, ExitCode, MlkitBuildError
from mlkit_build.job import Job
from mlkit_build.locating import open_locator
from mlkit_build.opening import cache_folder
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.quantization.attribution import Attribution
from mlkit_build.recipe import Recipe
from mlkit_build.report import attribution as shown
from mlkit_build.report.documents import replace_file
from mlkit_build.report.screens import screen
from mlkit_build.store import open_store

SAMPLES = 32
TRIES = 8


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Build what is needed of the recipe, compare the quantized model with the float one, and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="mlkit-build quantization-report",
        description="Show the error of every operator of the quantized model against the float model on samples of the recipe, "
        "and what leaving the worst of them float recovers. Takes the overrides of a build.",
    )
    parser.add_argument("overrides", nargs="+", metavar="key=value", help="recipe=NAME, and any other override of a build")
    parser.add_argument("--samples", type=_count, default=SAMPLES, help="compare on so many samples (default: %(default)s)")
    parser.add_argument(
        "--tries", type=_count_or_none, default=TRIES, help="leave so many operators float in turn (default: %(default)s)"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="what to print on stdout (default: table)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that explains itself, too")
    refuse_several("quantization-report", arguments)
    parsed = parser.parse_intermixed_args(arguments)
    job = compose(parsed.overrides, roots)
    _refuse(job.recipe)
    if parsed.html is not None:
        _check_place(parsed.html)
    found = _attributed(job, parsed.samples, parsed.tries)
    name = f"{job.recipe.name}/{job.recipe.variant_name}"
    if parsed.html is not None:
        replace_file("--html", parsed.html, shown.page(job.recipe, found).encode("utf-8"))
    if parsed.format == "json":
        print(json.dumps({"recipe": job.recipe.name, "variant": job.recipe.variant_name, **to_plain(found)}, ensure_ascii=False))
    else:
        print("\n".join(shown.lines(name, found)))
    return ExitCode.OK


def _refuse(recipe: Recipe) -> None:
    """Refuse what there is nothing to say of.

    Raises:
        ConfigError: The recipe quantizes nothing, or has no samples.
    """
    if recipe.quantization.is_float:
        raise ConfigError(
            "quantization: float32 quantizes nothing, so there is no error to tell of", "e.g. add quantization=int8"
        )
    if recipe.dataset is None and recipe.calibration is None:
        raise ConfigError(
            "dataset: expected samples to compare the models on, found neither dataset nor calibration",
            "state one of them in the recipe",
        )


def _attributed(job: Job, samples: int, tries: int) -> Attribution:
    """Run the actions up to `attribute`; everything is cached like a build."""
    events = screen(job.settings.ui)
    for warning in job.warnings:
        events.warning(warning)
    folder = cache_folder(job)
    kept = folder if job.settings.cache.enabled else None
    pool = pools.Pool()
    try:
        with (
            open_store(kept, events.warning) as store,
            open_locator(kept, job.folder, events.warning, events.fetching, fetches=True) as locate,
        ):
            try:
                files = pipeline.load(job.recipe, job.folder, locate)
                logs, tell = folder / "logs", pipeline.telling(job.recipe)
                engine = Engine(store, pool, events, scope=job.recipe.name, logs=logs, jobs=job.settings.jobs, tell=tell)
                engine.run(pipeline.attributing(job.recipe, files, job.folder, samples, tries, locate))
                return from_plain(Attribution, json.loads(engine.output("attribute", "attribution.json").read_bytes()))
            except MlkitBuildError as error:
                raise locate.as_stated(error) from error
    finally:
        pool.close()


def _check_place(path: Path) -> None:
    """Refuse a page that could not be written. Raises ConfigError."""
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--html: expected a file in a folder that exists, found {path}", "make the folder first")
    if path.is_dir():
        raise ConfigError(f"--html: expected a file, found the folder {path}", f"e.g. --html {path / 'report.html'}")


def _count(text: str) -> int:
    return _at_least(1, text)


def _count_or_none(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, found {text!r}")
    return int(text)
