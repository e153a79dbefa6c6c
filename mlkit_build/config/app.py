"""Hydra's own program, for what only it can do: showing configs, completion, and other launchers and sweepers."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mlkit_build.config.composing import CONFIG_NAME, VERSION_BASE, from_cfg, searching
from mlkit_build.config.explain import REFUSALS, explained
from mlkit_build.config.launcher import close_servers, leave, process_servers
from mlkit_build.config.overrides import for_hydra
from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError, ExitCode, MlkitBuildError
from mlkit_build.job import Job, refuse_select, refused
from mlkit_build.records import dataclass
from mlkit_build.report.documents import Documents
from mlkit_build.report.screens import screen
from mlkit_build.sweep.asked import Asked
from mlkit_build.sweep.outcome import worst
from mlkit_build.sweep.run import conclude, not_composed, stated_ui
from mlkit_build.sweep.selection import selection_of
from mlkit_build.temporary import temporary_folder
from mlkit_build.workflow import build


def run_app(arguments: list[str], roots: Roots) -> ExitCode:
    """Run Hydra with `arguments`; return the exit code of what ran.

    Raises:
        ConfigError: Hydra refuses the command line or the configuration.
    """
    started = time.time()
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    understood = for_hydra(arguments)
    sys.argv = ["mlkit-build", *understood.kept]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed with a traceback
    sweeps = any(flag in arguments for flag in ("-m", "--multirun"))
    with temporary_folder() as spool:
        task = _Task(roots, tuple(arguments), spool, sweeps)
        try:
            with searching(roots, understood.cleared):
                hydra.main(version_base=VERSION_BASE, config_path=None, config_name=CONFIG_NAME)(task)()
        except REFUSALS as error:
            raise explained(error, understood.stated, roots) from error
        except SystemExit as error:
            if error.code not in (None, 0):
                raise ConfigError("the command line was not understood", "see `mlkit-build --help`") from error
        except KeyError as error:
            if error.args == ("COMP_LINE",):
                raise ConfigError("--shell-completion: expected to be called by a shell, which sets COMP_LINE") from error
            raise
        finally:
            close_servers()
            sys.argv = before[0]
            if before[1] is None:
                os.environ.pop("HYDRA_FULL_ERROR", None)
            else:
                os.environ["HYDRA_FULL_ERROR"] = before[1]
        came = [pickle.loads(file.read_bytes()) for file in sorted(spool.glob("[0-9]*"), key=lambda file: int(file.name))]
    if came:
        Documents.stated(arguments).write([report for _, report, _ in came])
    if not sweeps or not came:
        return worst([report.exit_code for _, report, _ in came])
    asked = [Asked(overrides, job) for overrides, _, job in came]
    by = selection_of([item.job for item in asked if item.job is not None])
    return conclude([(overrides, report) for overrides, report, _ in came], asked, by, screen(task.ui), started).exit_code


@dataclass(frozen=True)
class _Task:
    """What Hydra runs per job, here or in another process: a sweeper that is not ours decides on the jobs as it goes.

    Attributes:
        roots: Where recipes and groups are looked for.
        arguments: The command line.
        spool: Where what came of each job is left.
        sweeps: Whether it is a sweep.
    """

    roots: Roots
    arguments: tuple[str, ...]
    spool: Path
    sweeps: bool

    @property
    def ui(self) -> str:
        """Which screen to speak on."""
        return stated_ui(self.arguments)

    def __call__(self, cfg: DictConfig) -> int:
        overrides = tuple(HydraConfig.get().overrides.task)
        number = HydraConfig.get().job.num if self.sweeps else 0
        shown, job = screen(self.ui), None
        try:
            job = from_cfg(cfg, self.roots, overrides)
            if self.sweeps:
                shown = shown.of(f"{job.recipe.name}/{job.recipe.variant_name}")
                self._claim(job)
            else:
                refuse_select(job.settings.select)
            report = build(job, process_servers(), shown, [sys.argv[0], *self.arguments])
        except MlkitBuildError as error:  # the other jobs of a sweep go on
            report = not_composed(error, overrides, job) if self.sweeps else refused(error, overrides, job)
            shown.job_finished(report)
        leave((overrides, report, job), self.spool, str(number))
        return int(report.exit_code)

    def _claim(self, job: Job) -> None:
        """Be the one job that writes this bundle. Raises ConfigError: another one does."""
        place = "/".join((job.settings.output_dir, job.recipe.name, job.recipe.variant_name))
        try:
            (self.spool / f"place-{hashlib.sha256(place.encode()).hexdigest()}").touch(exist_ok=False)
        except FileExistsError:
            raise ConfigError(
                f"variant: this job would write the bundle {place} of another job of the sweep",
                "give each a name of its own with variant=",
            ) from None
