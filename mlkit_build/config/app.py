"""Hydra's own program, for what only it can do: showing configs, completion, and other launchers and sweepers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mlkit_build.config.compose import CONFIG_NAME, VERSION_BASE, from_cfg, searching
from mlkit_build.config.explain import explained
from mlkit_build.config.roots import Roots
from mlkit_build.errors import ConfigError

if TYPE_CHECKING:
    from mlkit_build.job import JobReport


def run_app(arguments: list[str], roots: Roots) -> list[JobReport]:
    """Run Hydra with `arguments`; return the reports of the jobs that ran in this process.

    Raises:
        ConfigError: Hydra refuses the command line or the configuration.
    """
    from mlkit_build.build import build
    from mlkit_build.engine.pool import Pool
    from mlkit_build.report.screens import screen

    reports: list[JobReport] = []
    pool = Pool()

    def job(cfg: DictConfig) -> int:
        composed = from_cfg(cfg, roots, arguments)
        reports.append(build(composed, pool, screen(composed.settings.ui), [sys.argv[0], *arguments]))
        return int(reports[-1].exit_code)

    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["mlkit-build", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed with a traceback
    try:
        with searching(roots):
            hydra.main(version_base=VERSION_BASE, config_path=None, config_name=CONFIG_NAME)(job)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explained(error, arguments, roots) from error
    except SystemExit as error:
        if error.code not in (None, 0):
            raise ConfigError("the command line was not understood", "see `mlkit-build --help`") from error
    finally:
        pool.close()
        sys.argv = before[0]
        if before[1] is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = before[1]
    return reports
