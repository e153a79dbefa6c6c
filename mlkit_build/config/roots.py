"""Where recipes and configuration groups are looked for: the user's folders first, the built-in ones last.

A root is a folder with `recipes/` and `conf/` in it. The current folder is the first root, then those given with
`--root` or in `MLKIT_BUILD_PATH`, then what ships with the package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from mlkit_build.errors import ConfigError
from mlkit_build.records import dataclass

ENVIRONMENT_VARIABLE = "MLKIT_BUILD_PATH"
RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class RecipeFolder:
    """A recipe that can be named.

    Attributes:
        name: What `recipe=` takes.
        path: Its folder, absolute.
        builtin: Whether it ships with mlkit-build.
        shadows: Folders of the same name further down the search path.
    """

    name: str
    path: Path
    builtin: bool
    shadows: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Roots:
    """The search path.

    Attributes:
        recipes: Folders that hold recipe folders, first wins.
        conf: Folders that hold configuration groups, first wins; the built-in one is not among them.
    """

    recipes: tuple[Path, ...]
    conf: tuple[Path, ...]

    @classmethod
    def find(cls, extra: Iterable[str] = ()) -> Roots:
        """Return the roots as seen from the current folder.

        Args:
            extra: Folders given on the command line, before those of the environment variable.

        Raises:
            ConfigError: A folder that was named does not exist or holds neither `recipes/` nor `conf/`, or one cannot be read.
        """
        try:
            current = Path.cwd()
        except OSError as error:
            raise ConfigError(f"the current folder cannot be used: {error.strerror}", "change to another one") from error
        named = [("--root", value) for value in extra]
        named += [(ENVIRONMENT_VARIABLE, value) for value in os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep) if value]
        roots = [current]
        for origin, value in named:
            root = Path(value).expanduser().absolute()
            if not (root / "recipes").is_dir() and not (root / "conf").is_dir():
                raise ConfigError(
                    f"{origin}: expected a folder with recipes/ or conf/ in it, found {value!r}",
                    "name the folder above your recipes/",
                )
            roots.append(root)
        recipes = [root / "recipes" for root in roots] + [builtin("recipes")]
        conf = [root / "conf" for root in roots]
        builtin_conf = builtin("conf").resolve()
        found = cls(
            recipes=_distinct(path for path in recipes if path.is_dir()),
            conf=_distinct(path for path in conf if path.is_dir() and path.resolve() != builtin_conf),
        )
        found.all_recipes()
        return found

    def all_recipes(self) -> tuple[RecipeFolder, ...]:
        """Return every recipe once, by name; a name found twice lists what it shadows.

        Raises:
            ConfigError: A folder cannot be read.
        """
        found: dict[str, list[Path]] = {}
        try:
            for root in self.recipes:
                for folder in sorted(root.iterdir()):
                    if (folder / RECIPE_FILE).is_file():
                        found.setdefault(folder.name, []).append(folder)
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error
        own = builtin("recipes").resolve()
        return tuple(
            RecipeFolder(name, paths[0], paths[0].resolve().parent == own, tuple(paths[1:]))
            for name, paths in sorted(found.items())
        )

    def hidden_choices(self) -> tuple[tuple[Path, str], ...]:
        """Return (file, group=choice) for every file of a user's `conf/` that hides a built-in choice of the same name."""
        own = builtin("conf")
        found = []
        for folder in self.conf:
            for file in sorted(folder.glob("*/*.yaml")):
                if (own / file.relative_to(folder)).is_file():
                    found.append((file, f"{file.parent.name}={file.stem}"))
        return tuple(found)

    def recipe(self, name: str) -> RecipeFolder | None:
        """Return the recipe called `name`, or None."""
        return next((recipe for recipe in self.all_recipes() if recipe.name == name), None)


def builtin(part: str) -> Path:
    """Return the folder that ships `conf` or `recipes`, from a wheel or from a checkout."""
    spec = find_spec(f"mlkit_build.{part}")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).resolve().parents[2] / part


def _distinct(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple({path.resolve(): path for path in reversed(list(paths))}.values())[::-1]
