"""What inputs are called in a manifest, and the recipe that goes with these names: laid out so, they are found again.

What lies in the recipe's folder, or is stated relative to it, keeps its path. What the recipe states by an absolute path is
placed in the folder by its own name, `images`, or below its role where that is taken or meant twice: `calibration/images`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath

from mlkit_build.bundle.portable import is_elsewhere, portable_recipe, portable_text
from mlkit_build.bundle.sbom import SAMPLES
from mlkit_build.recipe import Recipe
from mlkit_build.records import dataclass
from mlkit_build.store import Tree


@dataclass(frozen=True)
class PlacedInput:
    """A file of the user, or a folder whose files nobody names.

    Attributes:
        name: What the manifest calls it: a path relative to the recipe's folder, or a bare name for what was fetched.
        path: Where it is on this machine.
        roles: The parts of the recipe that it belongs to.
    """

    name: str
    path: Path | Tree
    roles: tuple[str, ...]

    @property
    def samples(self) -> tuple[str, ...]:
        """Which samples it holds: `dataset`, `calibration`, both, or none."""
        return tuple(role for role in self.roles if role in SAMPLES)


class Placing:
    """The names of one recipe's inputs. Names follow from the recipe and from what was found alone, in a fixed order.

    Args:
        recipe: As it was composed.
        found: (role, file or folder) for every input, as `pipeline.Files.by_role` has them.
        folder: The recipe's folder.
    """

    def __init__(self, recipe: Recipe, found: Sequence[tuple[str, Path | Tree]], folder: Path) -> None:
        self._recipe = recipe
        self._found = found
        self._folder = folder.absolute()
        self._elsewhere: dict[str, list[Path]] = {}
        self._below: dict[Path, PurePosixPath] = {}
        self._stated_as: dict[tuple[str, Path | Tree], Path] = {}
        self._place()

    @property
    def recipe(self) -> Recipe:
        """The recipe as the manifest has it: its paths lead to the inputs where these are laid out by their names."""
        return portable_recipe(self._recipe, self._text)

    def inputs(self) -> list[PlacedInput]:
        """Return every input once, in the order in which they were found."""
        roles: dict[tuple[str, Path | Tree], dict[str, None]] = {}
        for role, path in self._found:
            roles.setdefault((self._name(role, path), path), {})[role] = None
        return [PlacedInput(name, path, tuple(named)) for (name, path), named in roles.items()]

    def _place(self) -> None:
        """Give a folder to everything that is stated by an absolute path."""
        taken = _Taken()
        roles: dict[Path, str] = {}
        for role, stated in _stated(self._recipe):
            if "://" in stated:
                continue
            if not is_elsewhere(stated):
                taken.add(PurePosixPath(os.path.normpath(stated)))
            elif self._inside(Path(stated)) is None:
                place = _known_as(stated)
                self._elsewhere.setdefault(role, []).append(place)
                roles.setdefault(place, role)
        for role, path in self._found:
            if stated_place := self._stated_place(role, _root(path)):
                self._stated_as[role, path] = stated_place
            else:
                taken.add(PurePosixPath(self._name(role, path)))
        meant = Counter(place.name for place in roles)
        for place, role in roles.items():
            parts = {PurePosixPath(place.name)}
            parts |= {_relative(path, place) for (_, path), of in self._stated_as.items() if of == place}
            numbered = chain([role], (f"{role}-{number}" for number in count(2)))
            below = (PurePosixPath(name) for name in chain([""] if meant[place.name] == 1 else [], numbered))
            self._below[place] = next(name for name in below if not any(taken.has(name / part) for part in parts))
            for part in parts:
                taken.add(self._below[place] / part)

    def _text(self, stated: str) -> str:
        """Return a path of the recipe as the manifest has it."""
        if "://" in stated or not is_elsewhere(stated):
            return portable_text(stated)
        inside = self._inside(Path(stated))
        place = _known_as(stated)
        return inside or (self._below.get(place, PurePosixPath()) / place.name).as_posix()

    def _name(self, role: str, path: Path | Tree) -> str:
        if place := self._stated_as.get((role, path)):
            return (self._below[place] / _relative(path, place)).as_posix()
        inside = self._inside(_root(path))
        return _root(path).name if inside is None else inside

    def _inside(self, path: Path) -> str | None:
        """Return the path relative to the recipe's folder, where it begins with that; it may go up again from there."""
        try:
            return path.absolute().relative_to(self._folder).as_posix()
        except ValueError:
            return None

    def _stated_place(self, role: str, path: Path) -> Path | None:
        """Return the absolute path that the recipe states for a file: its own, of a folder above it, or of a part beside it."""
        stated = self._elsewhere.get(role)
        if not stated or self._inside(path) is not None:
            return None
        whole = _normal(path)
        above = [place for place in stated if place == whole] or [place for place in stated if whole.is_relative_to(place)]
        return next(iter(above or (place for place in stated if whole.is_relative_to(place.parent))), None)


class _Taken:
    """Paths that something else has."""

    def __init__(self) -> None:
        self._paths: set[PurePosixPath] = set()
        self._above: set[PurePosixPath] = set()

    def add(self, path: PurePosixPath) -> None:
        if set(path.parts) - {".."}:  # the recipe's folder, or one above it: there is no place beside that
            self._paths.add(path)
            self._above.update(path.parents)

    def has(self, path: PurePosixPath) -> bool:
        """Return whether the path is taken, lies in one that is, or holds one that is."""
        return path in self._above or any(place in self._paths for place in (path, *path.parents))


def _stated(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield (role, path or URL), those first that keep their names best: an accuracy is compared by what it was measured on."""
    for role, part in (("dataset", recipe.dataset), ("source", recipe.source), ("calibration", recipe.calibration)):
        yield from ((role, text) for field in ("path", "graph") if (text := getattr(part, field, None)))
    if recipe.labels:
        yield from (("labels", text) for text in (recipe.labels.path, *recipe.labels.locales.values()) if text)
    if recipe.metadata.score_calibration:
        yield "score_calibration", recipe.metadata.score_calibration.path
    if recipe.validation.baseline:
        yield "baseline", recipe.validation.baseline


def _known_as(stated: str) -> Path:
    try:
        return _normal(Path(stated).expanduser())
    except RuntimeError:  # nobody knows where the home of that user is
        return _normal(Path(stated))


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _relative(path: Path | Tree, place: Path) -> PurePosixPath:
    return PurePosixPath(_normal(_root(path)).relative_to(place.parent))


def _root(path: Path | Tree) -> Path:
    return path.root if isinstance(path, Tree) else path
