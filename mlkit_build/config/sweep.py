"""The jobs of a sweep: overrides split by Hydra's own grammar (`a=1,2`, `range()`, `glob(*)`), and each of them composed.

Composing one job from scratch takes 0.1 s, nearly all of it the same for every job. So what the choices of groups decide (which
files are read and how they merge) is composed once per set of choices, and each job applies its values to a copy, as Hydra
itself does last. The answer is that of `compose`, job by job.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from mlkit_build.config import plugins
from mlkit_build.config.clearing import Cleared
from mlkit_build.config.composing import CONFIG_NAME, UNUSED, VERSION_BASE, from_cfg, searching
from mlkit_build.config.explain import REFUSALS, explained
from mlkit_build.config.overrides import for_hydra
from mlkit_build.config.plugins import CONF
from mlkit_build.config.roots import RecipeFolder, Roots
from mlkit_build.errors import ConfigError
from mlkit_build.job import Job


def refuse_several(caller: str, overrides: Sequence[str]) -> None:
    """Refuse overrides that ask for a sweep, where one build is meant.

    Args:
        caller: What takes one build, e.g. a verb.
        overrides: As on the command line; `-m` may be among them.

    Raises:
        ConfigError: Names those with several values.
    """
    found = [override for override in overrides if override in ("-m", "--multirun") or _has_several_values(override)]
    if found:
        raise ConfigError(
            f"{caller}: takes one build, found {' '.join(found)}",
            f"give every key one value, and call {caller} once for each variant; `mlkit-build -m` only builds several "
            "and compares them",
        )


def _has_several_values(override: str) -> bool:
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except HydraException:  # whoever composes says what is wrong with it
        return False


class Composer:
    """Composes the jobs of one sweep. A context manager: Hydra sees our files between its beginning and its end."""

    def __init__(self, roots: Roots) -> None:
        self._roots = _Seen(roots.recipes, roots.conf)
        self._stack = ExitStack()
        self._bases: dict[tuple[tuple[str, ...], Cleared], DictConfig] = {}
        self._parsed: dict[str, Override] = {}

    def __enter__(self) -> Composer:
        with ExitStack() as stack:
            stack.enter_context(searching(self._roots))
            stack.enter_context(initialize_config_module(CONF, version_base=VERSION_BASE))
            self._loader = GlobalHydra.instance().config_loader()
            assert isinstance(self._loader, ConfigLoaderImpl)
            self._loader.repository = self._repository = _Remembering(self._loader.config_search_path)
            self._parser = OverridesParser.create(config_loader=self._loader)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def jobs(self, overrides: Sequence[str]) -> list[list[str]]:
        """Return the overrides of every job, the last swept key varying fastest.

        Raises:
            ConfigError: An override is not understood.
        """
        try:
            batches = BasicSweeper.split_arguments(self._parser.parse_overrides(list(overrides)), None)
        except (HydraException, ValueError) as error:
            raise explained(error, overrides, self._roots) from error
        return [list(job) for batch in batches for job in batch]

    def compose(self, overrides: Sequence[str]) -> Job:
        """Compose one job, as `mlkit_build.config.composing` would.

        Raises:
            ConfigError: Anything in the overrides or the files is wrong.
        """
        asked = for_hydra(overrides)
        try:
            parsed = [self._parse(override) for override in asked.kept]
            special = any(map(_is_special, parsed))
            chosen = [line for line, item in zip(asked.kept, parsed, strict=True) if special or self._chooses(item)]
            cfg = copy.deepcopy(self._base(tuple(chosen), asked.cleared))
            ConfigLoaderImpl._apply_overrides_to_config([self._parsed[line] for line in asked.kept if line not in chosen], cfg)
        except REFUSALS as error:
            raise explained(error, asked.stated, self._roots) from error
        return from_cfg(cfg, self._roots, overrides)

    def _parse(self, override: str) -> Override:
        if override not in self._parsed:
            self._parsed[override] = self._parser.parse_overrides([override])[0]
        return self._parsed[override]

    def _chooses(self, override: Override) -> bool:
        """Return whether Hydra takes the override for a choice of a group (`Overrides` in hydra/_internal/defaults_list.py)."""
        return not isinstance(override.value(), dict) and self._repository.group_exists(override.key_or_group)

    def _base(self, chosen: tuple[str, ...], cleared: Cleared) -> DictConfig:
        """Return what the choices make, before any value is set. Not to be changed."""
        if (chosen, cleared) not in self._bases:
            plugins.activate(self._roots, cleared)
            try:
                self._bases[chosen, cleared] = hydra_compose(CONFIG_NAME, overrides=[*chosen, *UNUSED])
            finally:
                plugins.activate(self._roots)
        return self._bases[chosen, cleared]


class _Seen(Roots):
    """Looks at the folders once: what a sweep found at its beginning holds to its end."""

    def all_recipes(self) -> tuple[RecipeFolder, ...]:
        return self._recipes

    def hidden_choices(self) -> tuple[tuple[Path, str], ...]:
        return self._hidden

    @cached_property
    def _recipes(self) -> tuple[RecipeFolder, ...]:
        return super().all_recipes()

    @cached_property
    def _hidden(self) -> tuple[tuple[Path, str], ...]:
        return super().hidden_choices()


class _Remembering(ConfigRepository):
    """Reads each file once. A recipe's file is read for every set of choices: what the user clears is left out of it."""

    def __deepcopy__(self, _: object) -> _Remembering:
        return _Remembering(self.config_search_path, self._read)

    def __init__(self, search_path: ConfigSearchPath, read: dict[str, ConfigResult | None] | None = None) -> None:
        super().__init__(search_path)
        self.config_search_path = search_path
        self._read = {} if read is None else read

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path.startswith("recipe/"):
            return super().load_config(config_path)
        if config_path not in self._read:
            self._read[config_path] = super().load_config(config_path)
        return copy.deepcopy(self._read[config_path])


def _is_special(override: Override) -> bool:
    """Return whether the override reaches beyond the recipe, or is one that a single job cannot have: Hydra's to judge."""
    return override.is_sweep_override() or override.package is not None or override.is_hydra_override()
