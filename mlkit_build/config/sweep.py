"""A sweep's overrides as one list of overrides per job, by Hydra's own grammar: `a=1,2`, `range()`, `glob(*)`."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import initialize
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from mlkit_build.config.compose import VERSION_BASE, searching
from mlkit_build.config.explain import explained
from mlkit_build.config.roots import Roots


def jobs(overrides: Sequence[str], roots: Roots) -> list[list[str]]:
    """Return the overrides of every job, the last swept key varying fastest.

    Raises:
        ConfigError: An override is not understood.
    """
    try:
        with searching(roots), initialize(version_base=VERSION_BASE, config_path=None):
            loader = GlobalHydra.instance().config_loader()
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
            batches = BasicSweeper.split_arguments(parsed, None)
    except (HydraException, ValueError) as error:
        raise explained(error, overrides, roots) from error
    return [list(job) for batch in batches for job in batch]
