"""A launcher of Hydra as the builder of a sweep: `-m hydra/launcher=joblib`.

The sweep composes, names and judges its jobs as always; the launcher decides where each runs, in this process or in another, on
this machine or on one that sees the same files. What came of a job comes back as a file, so that a process that dies, or a
launcher that gives up, loses only the jobs that were not done.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import initialize_config_module
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlkit_build.config.composing import CONFIG_NAME, VERSION_BASE, searching
from mlkit_build.config.explain import explained
from mlkit_build.config.plugins import CONF
from mlkit_build.config.roots import Roots
from mlkit_build.engine import pool as servers
from mlkit_build.errors import ConfigError, ExitCode, StageError
from mlkit_build.job import Job, JobReport
from mlkit_build.records import dataclass
from mlkit_build.report.screens import screen
from mlkit_build.screen import Screen
from mlkit_build.sweep.parallel import Finished, Voice
from mlkit_build.sweep.run import Builder
from mlkit_build.sweep.summary import FOLDER
from mlkit_build.temporary import folder_in, temporary_folder
from mlkit_build.workflow import build

_pools: dict[int, servers.Pool] = {}
"""Process -> its fork servers, for all jobs that a launcher runs in it."""


def launching(hydra: Sequence[str], roots: Roots) -> Builder:
    """Return the builder that the overrides `hydra` (`hydra/launcher=...`, `hydra.launcher.n_jobs=...`) name.

    Its jobs may run in any order and place; each says what it does, and the sweep what came of it.
    """

    def build_all(jobs: Sequence[Job], screen: Screen, command: Sequence[str], finished: Finished) -> None:
        with spooling(jobs[0].settings.output_dir if jobs else "") as spool:
            task = Task(tuple(jobs), spool, tuple(command))
            problem = ""
            try:
                _launch(task, hydra, roots)
            except (HydraException, OmegaConfBaseException, UserWarning) as error:
                raise explained(error, hydra, roots) from error
            except ConfigError:
                raise
            except Exception as error:  # whatever a launcher raises: its jobs that are done are done
                problem = f": {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
            finally:
                close_servers()
            for number in range(len(jobs)):
                finished(number, task.report(number, problem))

    return build_all


@dataclass(frozen=True)
class Task:
    """What a launcher runs per job, wherever that is; processes hand it over by pickle.

    Attributes:
        jobs: All jobs of the sweep.
        spool: Where reports are left.
        command: The command line, for the provenance.
    """

    jobs: tuple[Job, ...]
    spool: Path
    command: tuple[str, ...]

    def __call__(self, cfg: DictConfig) -> int:
        number = HydraConfig.get().job.num
        job = self.jobs[number]
        name = f"{job.recipe.name}/{job.recipe.variant_name}"
        report = build(job, process_servers(), Voice(screen(job.settings.ui).of(name)), self.command)
        leave(report, self.spool, str(number))
        return int(report.exit_code)

    def report(self, number: int, problem: str) -> JobReport:
        """Return what came of a job; that it was lost, where nothing did."""
        left = self.spool / str(number)
        if left.is_file():
            found: JobReport = pickle.loads(left.read_bytes())
            return found
        error = StageError(f"the launcher ended before this job was done{problem}", "run the sweep again: what is done is cached")
        recipe = self.jobs[number].recipe
        return JobReport(recipe.name, recipe.variant_name, "failed", ExitCode.STAGE_FAILED, error=error)


@contextlib.contextmanager
def spooling(output_dir: str) -> Iterator[Path]:
    """Yield a folder for reports that every process of the sweep sees: beside the bundles, which all of them write."""
    sweeps = Path(output_dir).expanduser().absolute() / FOLDER
    with contextlib.ExitStack() as stack:
        try:
            sweeps.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(folder_in(sweeps, ".running-", 0o700))
        except OSError:
            folder = stack.enter_context(temporary_folder())
        yield folder


def leave(came: object, spool: Path, name: str) -> None:
    """Leave what came of a job for the process that started the sweep."""
    made = spool / f".{name}"
    made.write_bytes(pickle.dumps(came))
    made.replace(spool / name)


def process_servers() -> servers.Pool:
    """Return the fork servers of this process; they end with it."""
    process = os.getpid()
    if process not in _pools:
        _pools[process] = servers.Pool()
    return _pools[process]


def close_servers() -> None:
    """End the fork servers of this process."""
    pool = _pools.pop(os.getpid(), None)
    if pool is not None:
        pool.close()


def _launch(task: Task, hydra: Sequence[str], roots: Roots) -> None:
    """Have Hydra's launcher run the task once per job, and wait for it."""
    own = [] if any("hydra.sweep.dir" in item for item in hydra) else [f"hydra.sweep.dir={task.spool / 'hydra'}"]
    with searching(roots), initialize_config_module(CONF, job_name="mlkit-build", version_base=VERSION_BASE):
        program = GlobalHydra.instance().hydra
        assert program is not None
        cfg = program.compose_config(
            config_name=CONFIG_NAME,
            overrides=[*hydra, *own],
            run_mode=RunMode.MULTIRUN,
            from_shell=False,
            with_log_configuration=False,
        )
        context = HydraContext(config_loader=program.config_loader, callbacks=Callbacks(cfg))
        try:
            launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=cfg)
        except ImportError as error:
            raise ConfigError(f"hydra/launcher: {error}", "install the launcher's package") from error
        if task.jobs:
            launcher.launch([[] for _ in task.jobs], initial_job_idx=0)
