"""Overrides in, frozen dataclasses out: composing ends here, and so does OmegaConf."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlkit_build import recipe as schema
from mlkit_build.config import plugins
from mlkit_build.config.clearing import Cleared
from mlkit_build.config.explain import REFUSALS, explained
from mlkit_build.config.overrides import for_hydra
from mlkit_build.config.roots import RECIPE_FILE, Roots, builtin
from mlkit_build.config.schema import GROUPS, Root, register
from mlkit_build.config.versions import refuse_numbers_in
from mlkit_build.errors import ConfigError
from mlkit_build.job import Job
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe, Settings

CONFIG_NAME = "config"
VERSION_BASE = "1.3"
UNUSED = tuple(f"~hydra/{group}" for group in ("env", "help", "hydra_help", "hydra_logging", "job_logging", "output"))
"""Groups of Hydra's own program, which a composed recipe never reads: leaving them out saves a build with nothing to do 5%."""
T = TypeVar("T")
_NOTHING = Cleared()


def compose(overrides: Sequence[str], roots: Roots) -> Job:
    """Compose one job from Hydra overrides, e.g. `["recipe=mnist", "quantization=int8"]`.

    Raises:
        ConfigError: Anything in the overrides or the files is wrong; names file or override, field, and what was expected.
    """
    asked = for_hydra(overrides)
    try:
        with searching(roots, asked.cleared), initialize_config_module(plugins.CONF, version_base=VERSION_BASE):
            cfg = hydra_compose(CONFIG_NAME, overrides=[*asked.kept, *UNUSED])
    except REFUSALS as error:
        raise explained(error, asked.stated, roots) from error
    return from_cfg(cfg, roots, overrides)


def from_cfg(cfg: DictConfig, roots: Roots, overrides: Sequence[str] = ()) -> Job:
    """Turn a composed config into a job.

    Args:
        cfg: The config.
        roots: Where it was found.
        overrides: What the command line said, to blame the right place for a wrong value.

    Raises:
        ConfigError: No recipe was chosen, a mandatory value is missing, or values do not fit together.
    """
    if cfg.get("recipe_dir") is None:
        raise no_recipe(roots)
    refuse_numbers_in(overrides)
    folder = Path(cfg.recipe_dir)
    file = folder / "recipe.yaml"
    try:
        plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise explained(error, (), roots, str(file)) from error
    missing = sorted(_missing(plain))
    if missing:
        lacking = f"{missing[0]}: missing, and it has no default"
        override = _place(lacking, overrides)
        hint = (
            f"add {missing[0]}=..." if override and "[" not in missing[0] else f"state `{missing[0].rpartition('.')[2]}:` there"
        )
        raise ConfigError(f"{override or file}: {lacking}", hint)
    try:
        for group in GROUPS:
            _check_kind(group, cfg.get(group))
        if plain["source"] is None:
            raise ConfigError("source: missing", f"add `source: {{kind: {GROUPS['source'][0].kind}, path: ...}}`")  # type: ignore[attr-defined]
        plain["adapters"] = _choices("adapters", plain["adapters"])
        plain["validation"]["metrics"] = _choices("validation.metrics", plain["validation"]["metrics"])
        if isinstance(plain["labels"], str):
            plain["labels"] = {"path": plain["labels"]}
        root = from_plain(Root, plain)
        recipe, settings = _part(Recipe, root), _part(Settings, root)
        schema.check(recipe)
        schema.check_settings(settings)
    except ConfigError as error:
        raise type(error)(f"{_place(error.message, overrides) or file}: {error.message}", error.hint) from error
    found = roots.recipe(folder.name)
    shadowed = found.shadows if found and found.path == folder else ()
    notes = [f"recipe {folder.name!r} also exists in {path}; using {folder}" for path in shadowed]
    notes += [
        f"{file} calls itself {recipe.name!r}, as does {twin}: each replaces the bundles of the other; give it a name of its own"
        for twin in _twins(recipe.name, folder, roots)
    ]
    notes += [f"{file} hides the built-in choice {choice}" for file, choice in roots.hidden_choices()]
    own = builtin("conf")  # nobody edits it, but in a checkout of mlkit-build
    conf = (*roots.conf, own) if own.resolve() == (Path.cwd() / "conf").resolve() else roots.conf
    return Job(recipe, settings, folder, tuple(notes), conf)


def no_recipe(roots: Roots) -> ConfigError:
    """Return the answer to a command that names no recipe: the list of recipes."""
    names = ", ".join(recipe.name for recipe in roots.all_recipes())
    return ConfigError(f"recipe: none given; known recipes: {names or 'none'}", "run `mlkit-build recipe=<name>`")


class searching:  # noqa: N801 - reads as a word: `with searching(roots)`
    """Let Hydra see our schema, recipes and groups inside the block, and put things back as they were afterwards.

    A folder of `hydra.searchpath` that does not exist is only warned about by Hydra; here it raises that UserWarning.

    Args:
        roots: Where to look.
        cleared: What the recipe is read without.
    """

    def __init__(self, roots: Roots, cleared: Cleared = _NOTHING) -> None:
        self._roots = roots
        self._cleared = cleared
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        self._warnings.__enter__()
        warnings.filterwarnings("error", r".*path=.* is not available\.", UserWarning)
        register()
        plugins.activate(self._roots, self._cleared)

    def __exit__(self, *_: object) -> None:
        plugins.activate(None)
        self._warnings.__exit__(None, None, None)


def _choices(field: str, entries: list[Any]) -> list[dict[str, Any]]:
    return [_choice(f"{field}[{index}]", entry) for index, entry in enumerate(entries)]


def _choice(where: str, entry: Any) -> dict[str, Any]:
    """Return an entry of a list with its name and options apart: `softmax`, or `{resize: {height: 96, width: 96}}`."""
    if isinstance(entry, str):
        return {"name": entry, "options": {}}
    if isinstance(entry, dict) and len(entry) == 1:
        name, options = next(iter(entry.items()))
        if isinstance(name, str) and isinstance(options, dict | None):
            return {"name": name, "options": options or {}}
    raise ConfigError(f"{where}: expected a name, or one name with its options as `{{name: {{...}}}}`, found {entry!r}")


def _check_kind(group: str, node: Any) -> None:
    """A kind is chosen with `source=<kind>`, which brings its fields; setting `source.kind` alone would mix two kinds."""
    if node is None:
        return
    plugins.refuse_unknown_kind(group, node)
    default = getattr(OmegaConf.get_type(node), "kind", node.kind)
    if node.kind != default:
        raise ConfigError(
            f"{group}.kind: expected {default!r}, found {node.kind!r}",
            f"choose another kind with `{group}={node.kind}`, which brings that kind's fields",
        )


def _place(message: str, overrides: Sequence[str]) -> str:
    """Return the override that set the field which `message` begins with, or an empty string."""
    field = message.partition(":")[0]
    for override in reversed(overrides):
        key = override.lstrip("+~").partition("=")[0]
        part = key.removesuffix(".kind")  # a kind decides on all fields beside it
        holds = field in (key, part) or field.startswith((f"{part}.", f"{part}["))
        adds = override[0] == "+" and key.startswith((f"{field}.", f"{field.removesuffix('.kind')}."))
        if ("=" in override or override[0] == "~") and (holds or adds):
            return f"override {override!r}"
    return ""


def _twins(name: str, folder: Path, roots: Roots) -> list[Path]:
    """Return the files of other recipes of that name, where the folder is called otherwise. Composes none of them."""
    if name == folder.name:
        return []
    stated = re.compile(rf"""^name:\s*["']?{re.escape(name)}["']?\s*(#.*)?$""", re.MULTILINE)
    others = [found.path / RECIPE_FILE for found in roots.all_recipes() if found.path.resolve() != folder.resolve()]
    return [file for file in others if stated.search(file.read_text(encoding="utf-8", errors="replace"))]


def _missing(value: Any, key: str = "") -> Iterator[str]:
    """Yield the keys of mandatory values that nothing sets; `OmegaConf.missing_keys` says the same in thirty times the time."""
    if value == MISSING:
        yield key
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _missing(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _missing(item, f"{key}[{index}]")


def _part(cls: type[T], root: Root) -> T:
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    return cls(**{name: getattr(root, name) for name in names})
