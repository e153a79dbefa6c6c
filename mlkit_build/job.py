"""One job of the command line: what to build, how to run, and what came of it. Data only; every room may hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlkit_build.engine.action import Result
from mlkit_build.errors import ConfigError, ExitCode, MlkitBuildError
from mlkit_build.forms import Hops
from mlkit_build.gates import Limit, Verdict
from mlkit_build.metrics import Measurement
from mlkit_build.recipe import Recipe, Settings
from mlkit_build.records import dataclass
from mlkit_build.runtimes.verdicts import RuntimeVerdict
from mlkit_build.timing import Timing


@dataclass(frozen=True)
class Job:
    """One job, ready to run.

    Attributes:
        recipe: What to build.
        settings: How to run.
        folder: The recipe's folder; its paths are relative to it.
        warnings: What the user should know and nothing stops for.
        conf: The folders of configuration that it was composed from.
    """

    recipe: Recipe
    settings: Settings
    folder: Path
    warnings: tuple[str, ...] = ()
    conf: tuple[Path, ...] = ()


@dataclass(frozen=True)
class JobReport:
    """What came of one job.

    Attributes:
        recipe: The recipe's name; empty when it could not even be composed.
        variant: The variant's name.
        status: `built`, `unchanged` (the bundle was already there), `gate_failed`, `failed`, or `config_error`.
        exit_code: See ExitCode.
        bundle: The published folder.
        size_bytes: Of the model.
        metrics: Measured values.
        gates: Every limit, judged.
        actions: What ran and what was reused.
        seconds: How long the job took.
        error: What went wrong.
        stage: The stage that failed; empty where none did, or where there was nothing to build yet.
        latency: How fast the model is on this machine, where that was measured.
        hops: How far every form of the model is from the one before it, where that was measured.
        runtimes: What other runtimes made of the model, judged.
        unjudged: The limits that the job did not come to, since it ended before.
    """

    recipe: str
    variant: str
    status: str
    exit_code: ExitCode
    bundle: Path | None = None
    size_bytes: int | None = None
    metrics: Mapping[str, Measurement] | None = None
    gates: tuple[Verdict, ...] = ()
    actions: tuple[Result, ...] = ()
    seconds: float = 0.0
    error: MlkitBuildError | None = None
    stage: str = ""
    latency: Timing | None = None
    hops: Hops | None = None
    runtimes: tuple[RuntimeVerdict, ...] = ()
    unjudged: tuple[Limit, ...] = ()


def refused(error: MlkitBuildError, overrides: Sequence[str], job: Job | None = None) -> JobReport:
    """Return the report of a job that is not built, and of which nothing is known but `overrides` where it did not compose."""
    values = dict(item.partition("=")[::2] for item in overrides)
    chosen = values.get("quantization", "")
    name, variant = values.get("recipe", ""), values.get("variant") or (chosen if chosen[:1] != "{" else "") or "default"
    if job is not None:
        name, variant = job.recipe.name, job.recipe.variant_name
    return JobReport(name, variant, "config_error", error.exit_code, error=error)


def refuse_select(stated: str | None) -> None:
    """Refuse `select=` outside of a sweep. Raises ConfigError."""
    if stated is not None:
        raise ConfigError(
            f"select={stated}: chooses among the variants of a sweep, and this is a single build",
            "on the command line, add -m and values to choose from, e.g. `-m quantization=float16,int8`",
        )
