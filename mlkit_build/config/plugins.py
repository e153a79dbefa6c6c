"""Hydra plugins: a recipe folder as one choice of the group `recipe`, and the search path in the right order.

`recipes/<name>/recipe.yaml` is composed at the top level. Its `kind:` keys choose from the groups `source`, `dataset` and
`calibration`, so that their other keys are checked against that kind's fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlkit_build.config.clearing import Cleared, clear
from mlkit_build.config.roots import RECIPE_FILE, Roots
from mlkit_build.config.schema import GROUPS
from mlkit_build.config.versions import refuse_numbers
from mlkit_build.errors import ConfigError, did_you_mean

CONF = "mlkit_build.conf"
"""The module that holds the built-in groups. Hydra is initialized with it, which spares it a look for the calling file."""

_GROUP = "recipe"
_MAIN = "main"
"""What Hydra calls the place that a program is initialized with."""
_active: Roots | None = None
_cleared = Cleared()


class RecipeConfigSource(FileConfigSource):
    """`recipes://<folder>`: each subfolder with a `recipe.yaml` is a choice of the group `recipe`."""

    @staticmethod
    def scheme() -> str:
        return "recipes"

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", _GROUP)

    def is_config(self, config_path: str) -> bool:
        return self._file(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [_GROUP] if results_filter in (None, ObjectType.GROUP) else []
        if config_path != _GROUP or results_filter == ObjectType.GROUP:
            return []
        return sorted(folder.name for folder in Path(self.path).iterdir() if (folder / RECIPE_FILE).is_file())

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._file(config_path)
        assert file is not None, config_path
        return ConfigResult(
            config=read_recipe(file),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header={"package": "_global_"},
        )

    def _file(self, config_path: str) -> Path | None:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        file = Path(self.path, name, RECIPE_FILE)
        return file if group == _GROUP and name and "/" not in name and file.is_file() else None


class UserConfigSource(FileConfigSource):
    """`groups://<folder>`: a user's `conf/`, without its top level, where another Hydra program may keep its own config."""

    @staticmethod
    def scheme() -> str:
        return "groups"

    def is_config(self, config_path: str) -> bool:
        return "/" in config_path and super().is_config(config_path)


class RootsSearchPath(SearchPathPlugin):
    """Adds our folders while a recipe is being composed, and nothing to any other Hydra program in this process."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if _active is None:
            return
        if not any(place.path == f"pkg://{CONF}" for place in search_path.get_path()):
            search_path.append(_MAIN, f"pkg://{CONF}")
        for folder in _active.conf:
            search_path.prepend("user", f"groups://{folder}", _MAIN)
        for folder in _active.recipes:
            search_path.prepend("recipes", f"recipes://{folder}", _MAIN)


def activate(roots: Roots | None, cleared: Cleared = _cleared) -> None:
    """Register the plugins, once, and let Hydra see `roots` from now on; None lets it see nothing of ours.

    Args:
        roots: Where to look.
        cleared: What a recipe is read without.
    """
    global _active, _cleared
    _active, _cleared = roots, cleared
    plugins = Plugins.instance()
    for plugin in (RecipeConfigSource, UserConfigSource, RootsSearchPath):
        plugins.register(plugin)


def read_recipe(file: Path) -> DictConfig:
    """Return the recipe file as a config whose `kind:` keys became choices in its defaults list.

    Raises:
        ConfigError: The file is not readable YAML, or not a mapping.
    """
    config = _load_yaml(file)
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{file}: expected a mapping of recipe fields at the top level", "see `name:`, `source:`, `signature:`")
    try:
        clear(config, _cleared)
        plain = OmegaConf.to_container(config)
        assert isinstance(plain, dict)
        refuse_numbers(str(file), plain)
        return _with_choices(config, file)
    except OmegaConfBaseException as error:
        where = f"{file}: {error.full_key}" if error.full_key else str(file)
        raise ConfigError(f"{where}: {str(error).splitlines()[0]}") from error


def _with_choices(config: DictConfig, file: Path) -> DictConfig:
    defaults = _defaults(config, file)
    for group in GROUPS:
        node = config.get(group)
        if node is None:
            continue
        try:
            refuse_unknown_kind(group, node)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error.message}", error.hint) from None
        defaults.append({f"override /{group}": node.pop("kind")})
    config["defaults"] = defaults
    config["recipe_dir"] = str(file.parent.absolute())
    return config


def _defaults(config: DictConfig, file: Path) -> list[Any]:
    """Return the recipe's defaults list: texts and mappings with one entry, as Hydra wants them."""
    defaults = config.get("defaults")
    if defaults is None:
        return []
    plain = OmegaConf.to_container(defaults) if isinstance(defaults, ListConfig) else defaults
    if not isinstance(plain, list) or not all(_is_choice(item) for item in plain):
        raise ConfigError(
            f"{file}: defaults: expected a list of choices, found {plain!r}",
            "write `defaults:` and below it lines like `- override /quantization: int8`",
        )
    left_out = {f"override /{key}" for key in _cleared.keys if key in GROUPS}
    return [item for item in plain if isinstance(item, str) or not left_out & item.keys()]


def _is_choice(item: Any) -> bool:
    if not isinstance(item, dict):
        return isinstance(item, str)
    return len(item) == 1 and all(isinstance(text, str) for entry in item.items() for text in entry)


def refuse_unknown_kind(group: str, node: Any) -> None:
    """Refuse a part of a recipe that does not say which kind of the group it is, or one that there is not. Raises ConfigError."""
    known = choices(group)
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{group}: expected a mapping with `kind`, found {node!r}", f"known kinds: {', '.join(known)}")
    if "kind" not in node:
        raise ConfigError(f"{group}.kind: missing", f"known kinds: {', '.join(known)}")
    kind = node.get("kind")
    if not isinstance(kind, str) or kind not in known:
        expected = f"{group}.kind: expected one of {', '.join(known)}, found {kind!r}"
        raise ConfigError(expected, did_you_mean(str(kind), known))


def choices(group: str) -> list[str]:
    """Return the kinds that the group offers."""
    from mlkit_build.config.schema import kind_of

    return [kind_of(kind) for kind in GROUPS[group]]


def _load_yaml(file: Path) -> Any:
    import yaml

    try:
        return OmegaConf.load(file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise ConfigError(f"{file}: not valid YAML at {place}: {error.problem or error.context}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read as YAML: {error}") from error
