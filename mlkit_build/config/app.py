"""Hydra's own program, for what only it can do: showing configs, completion, and other launchers and sweepers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlkit_build.config.compose import CONFIG_NAME, VERSION_BASE, from_cfg, searching
from mlkit_build.config.explain import explained
from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError, MlkitBuildError
from mlkit_build.job import refused
from mlkit_build.recipe import UI_MODES

if TYPE_CHECKING:
    from mlkit_build.job import JobReport


def run_app(arguments: list[str], roots: Roots) -> list[JobReport]:
    """Run Hydra with `arguments`; return the reports of the jobs that ran in this process.

    Raises:
        ConfigError: Hydra refuses the command line or the configuration.
    """
    from mlkit_build.engine.pool import Pool
    from mlkit_build.report.screens import screen
    from mlkit_build.workflow import build

    reports: list[JobReport] = []
    shown = screen("auto")
    pool = Pool()

    def job(cfg: DictConfig) -> int:
        nonlocal shown
        shown = screen(str(cfg.get("ui")) if cfg.get("ui") in UI_MODES else "auto")
        try:
            reports.append(build(from_cfg(cfg, roots, arguments), pool, shown, [sys.argv[0], *arguments]))
        except MlkitBuildError as error:  # the other jobs of a sweep go on
            reports.append(refused(error, HydraConfig.get().overrides.task))
            shown.job_finished(reports[-1])
        return int(reports[-1].exit_code)

    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["mlkit-build", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed with a traceback
    try:
        with searching(roots):
            hydra.main(version_base=VERSION_BASE, config_path=None, config_name=CONFIG_NAME)(job)()
    except (HydraException, OmegaConfBaseException, UserWarning, ValueError) as error:
        raise explained(error, arguments, roots) from error
    except SystemExit as error:
        if error.code not in (None, 0):
            raise ConfigError("the command line was not understood", "see `mlkit-build --help`") from error
    except KeyError as error:
        if error.args == ("COMP_LINE",):
            raise ConfigError("--shell-completion: expected to be called by a shell, which sets COMP_LINE") from error
        raise
    finally:
        pool.close()
        sys.argv = before[0]
        if before[1] is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = before[1]
    if len(reports) > 1:
        shown.sweep_finished(reports)
    return reports
