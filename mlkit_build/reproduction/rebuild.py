"""The rebuild: a manifest's recipe, built anew from the same inputs with an empty cache, and compared with the manifest."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mlkit_build import pipeline
from mlkit_build.bundle.manifest import FileEntry, entries
from mlkit_build.bundle.placing import Placing
from mlkit_build.bundle.publish import MANIFEST
from mlkit_build.bundle.sbom import SBOM, with_toolchain
from mlkit_build.config import Roots
from mlkit_build.config.roots import RECIPE_FILE
from mlkit_build.engine.decide import differences
from mlkit_build.engine.toolchain import toolchain_beside
from mlkit_build.errors import ConfigError, MlkitBuildError, SourceError
from mlkit_build.job import Job
from mlkit_build.locating import open_locator
from mlkit_build.recipe import Cache, Recipe, Settings
from mlkit_build.records import dataclass
from mlkit_build.report.screens import Quiet, Warnings
from mlkit_build.reproduction.check import share_fetched
from mlkit_build.reproduction.embedded import (
    code_roles,
    embedded_recipe,
    fetched_digests,
    fetches,
    functions,
    levels_up,
    names_code,
)
from mlkit_build.reproduction.inputs import find_inputs, lay_out, new_digests
from mlkit_build.reproduction.own_words import OwnWords
from mlkit_build.store import Digest, Tree
from mlkit_build.strict_json import read_json
from mlkit_build.verification.documents import Stated

_FOLLOWS = ("toolchain", "actions")
"""What another toolchain changes in a manifest by itself."""
OTHERWISE_WRITTEN = "the same values, written in another way"
"""Of the manifest: what differs where nothing that it says does."""


@dataclass(frozen=True)
class Rebuilt:
    """What came of a rebuild.

    Attributes:
        bundle: What was built.
        files: What differs in the bundle's files, one line each.
        manifest: What else differs in the manifest.
        toolchain: Which tools have another version here than where the manifest was made.
        count: How many files were compared, the manifest not counted.
        follows: Those of them that differ in nothing but the versions of the tools, which they list.
    """

    bundle: Path
    files: tuple[str, ...]
    manifest: tuple[str, ...]
    toolchain: tuple[str, ...]
    count: int
    follows: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every file has the same bytes, and the manifest too, but for what another toolchain changes by itself."""
        return not self.files and not self.manifest


def rebuild(
    stated: Stated, data: bytes, roots: Roots, named: Sequence[Path], folder: Path, cache: Path, tell: Callable[[str], None]
) -> Rebuilt:
    """Build what a manifest describes, in `folder`, and compare.

    Args:
        stated: The manifest as it was read.
        data: Its bytes.
        roots: Where the recipe's own folder may be.
        named: Folders that the user named to look for inputs in.
        folder: New and empty.
        cache: The user's cache: of it, only what was fetched is used.
        tell: Told what is being done.

    Raises:
        ConfigError: The manifest cannot be built from.
        SourceError: Inputs are missing.
        MlkitBuildError: The build failed.
    """
    recipe = embedded_recipe(stated)
    tools = tuple(differences(dict(sorted(stated.toolchain.items())), toolchain_beside(stated.toolchain)))
    for line in tools:
        tell(f"another toolchain than the manifest's: {line}")
    root = folder / "recipe"
    place = root.joinpath(*["above"] * levels_up(stated.recipe), recipe.name)
    brought = _bring(stated, recipe, roots, named, place, root)
    share_fetched(cache, folder / "cache")
    settings = Settings(output_dir=str(folder / "dist"), cache=Cache(dir=str(folder / "cache")), ui="quiet")
    job = Job(recipe, settings, place)
    _refuse_others(job, stated.inputs, brought)
    tell(f"building {recipe.name}/{recipe.variant_name}")
    return _compared(stated, data, _built(job), tools)


def without_folder(text: str, folder: Path) -> str:
    """Return a message in the recipe's words: a folder that is gone when somebody reads of it says nothing."""
    inside = re.sub(rf"{re.escape(str(folder))}/recipe/(above/)*[^/\s]+/", "", text)
    return inside.replace(f"{folder}/recipe", "the folder of the rebuild").replace(str(folder), "the folder of the rebuild")


def _bring(stated: Stated, recipe: Recipe, roots: Roots, named: Sequence[Path], place: Path, root: Path) -> frozenset[str]:
    """Find the inputs and lay them out; what lies behind a URL is fetched by the build.

    Returns:
        Those that no code may read: they do not come from the folder that the code does.
    """
    own = _recipe_folders(recipe.name, roots)
    brought: dict[FileEntry, Path | Tree] = {}
    if names_code(recipe):
        found, brought, missing = _with_code(stated, own, named)
    else:
        words = [OwnWords(folder) for folder in own]
        folders = [*own, *named, *_beside(stated.inputs, own, roots)]
        found, missing = find_inputs(stated.inputs, folders, by_content=True, own=lambda entry: _own_places(words, entry))
    if missing and not fetches(recipe):
        raise _missing(missing, with_code=names_code(recipe))
    lay_out(_not_fetched({**found, **brought}, recipe), place, root)
    return frozenset(entry.path for entry in brought)


def _with_code(
    stated: Stated, own: Sequence[Path], named: Sequence[Path]
) -> tuple[dict[FileEntry, Path | Tree], dict[FileEntry, Path | Tree], list[FileEntry]]:
    """Find the inputs of a recipe that runs code: in one recipe folder, in their own places.

    A manifest cannot be trusted to say what is run: the folder's own recipe must name the same functions. Nor what is data:
    of what lies elsewhere, only that is found by its content for which the folder's own recipe states the same path.

    Returns:
        What is in that folder, what is elsewhere, and what is missing.
    """
    wanted = functions(stated.recipe)
    found: dict[FileEntry, Path | Tree] = {}
    brought: dict[FileEntry, Path | Tree] = {}
    missing, strangers = list(stated.inputs), False
    for folder in dict.fromkeys([*own, *(path for path in named if (path / RECIPE_FILE).is_file())]):
        words = OwnWords(folder)
        if wanted - words.functions:
            strangers = True
            continue
        here, lacking = find_inputs(stated.inputs, [folder], by_content=False)
        data = [entry for entry in lacking if words.place(entry) is not None]
        trusted = [words] if folder in own else []
        elsewhere, _ = find_inputs(data, named, by_content=True, own=partial(_own_places, trusted))
        lacking = [entry for entry in lacking if entry not in elsewhere]
        if not found or len(lacking) < len(missing):
            found, brought, missing = here, elsewhere, lacking
    if strangers and not found:
        raise ConfigError(
            f"recipe: it runs {', '.join(sorted(wanted))}, which no recipe folder here says that it runs",
            "code is only run from a recipe folder that you trust: check out the recipe, and name its folder with --inputs",
        )
    return found, brought, missing


def _own_places(words: Sequence[OwnWords], entry: FileEntry) -> list[Path]:
    return [place for own in words if (place := own.place(entry)) is not None]


def _not_fetched(found: Mapping[FileEntry, Path | Tree], recipe: Recipe) -> dict[FileEntry, Path | Tree]:
    """Return what is laid out: of two inputs of one name, not the one that the build fetches."""
    digests, names = fetched_digests(recipe), Counter(entry.path for entry in found)
    return {entry: item for entry, item in found.items() if names[entry.path] == 1 or entry.sha256 not in digests}


def _recipe_folders(name: str, roots: Roots) -> list[Path]:
    """Return the folders of the search path that hold a recipe of that name, those first that are called so themselves."""
    folders = [folder for found in roots.all_recipes() for folder in (found.path, *found.shadows)]
    own = re.compile(rf"""^name:\s*["']?{re.escape(name)}["']?\s*(#.*)?$""", re.MULTILINE)
    stated = [folder for folder in folders if own.search(_text(folder / RECIPE_FILE))]
    return list(dict.fromkeys([*(folder for folder in folders if folder.name == name), *stated]))


def _text(file: Path) -> str:
    """Return what is in it; nothing where that cannot be read: it is one of all the recipes, and hardly the one."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _beside(inputs: Sequence[FileEntry], own: Sequence[Path], roots: Roots) -> list[Path]:
    """Return the other recipes of the search path that inputs are stated to lie in: `../mnist/data/mnist_test.npz`."""
    recipes = [folder for found in roots.all_recipes() for folder in (found.path, *found.shadows)]
    places = [Path(os.path.normpath(folder / entry.path)) for folder in own for entry in inputs if ".." in Path(entry.path).parts]
    return [folder for folder in recipes if folder not in own and any(place.is_relative_to(folder) for place in places)]


def _missing(missing: Sequence[FileEntry], *, with_code: bool = False) -> SourceError:
    lines = "".join(f"\n  {entry.path}, {entry.size_bytes} bytes, sha256 {entry.sha256}" for entry in missing)
    return SourceError(
        f"{len(missing)} of the inputs {'is' if len(missing) == 1 else 'are'} not here:{lines}",
        "name the folders that hold them with --inputs DIR; they are recognized by their content"
        if not with_code
        else "the recipe runs code, which reads only what lies in its own folder, unchanged: check that out and name it with "
        "--inputs DIR; what its recipe.yaml states outside of it is found in other folders that are named so, by its content",
    )


def _refuse_others(job: Job, stated: Sequence[FileEntry], brought: frozenset[str]) -> None:
    """Refuse to build from other inputs than those of the manifest, before anything of them is run.

    Args:
        brought: Those that are no code, nor files that code is given.
    """
    cache = Path(job.settings.cache.dir or "")
    with open_locator(cache, job.folder, Quiet().warning, lambda *_: None, fetches=True) as locate:
        try:
            files = pipeline.load(job.recipe, job.folder, locate)
            digests = new_digests()
            inputs = Placing(job.recipe, files.by_role(), job.folder).inputs()
            found = entries([(item.name, digests.digest(item.path)) for item in inputs])
        except MlkitBuildError as error:
            told = locate.as_stated(error)
            raise type(told)(told.message.replace(f"{job.folder}/", ""), told.hint) from error
        except OSError as error:
            raise SourceError(f"{error.filename}: cannot be read: {error.strerror}") from error
    given = [item.name for item in inputs if not code_roles(job.recipe).isdisjoint(item.roles)]
    if wrong := [name for name in given if any(PurePosixPath(name).is_relative_to(path) for path in brought)]:
        raise ConfigError(f"inputs: the recipe's code would read {', '.join(wrong)}, which does not come from its folder")
    if lacking := [entry for entry in stated if entry not in found]:
        raise _missing(lacking)
    if more := [entry.path for entry in found if entry not in stated]:
        raise ConfigError(f"inputs: the recipe reads {', '.join(more)} too, which the manifest does not list")


def _built(job: Job) -> Path:
    from mlkit_build.engine.pool import Pool
    from mlkit_build.workflow import build

    pool = Pool()
    try:
        report = build(job, pool, Warnings(), ["mlkit-build", "rebuild"])
    finally:
        pool.close()
    if report.error is not None:
        raise report.error
    assert report.bundle is not None
    return report.bundle


def _compared(stated: Stated, data: bytes, bundle: Path, tools: tuple[str, ...]) -> Rebuilt:
    new = (bundle / MANIFEST).read_bytes()
    made: dict[str, Any] = read_json(new)
    before = {entry.path: entry.sha256 for entry in stated.outputs}
    after = {entry["path"]: entry["sha256"] for entry in made["outputs"]}
    follows = (SBOM,) if tools and _lists_other_tools(bundle, stated, before) else ()
    files = tuple(
        f"{name}: {'missing' if name not in after else 'new' if name not in before else 'other content'}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and name not in follows
    )
    rest: list[str] = []
    if new != data:
        ignored = {"outputs", *(_FOLLOWS if tools else ())}
        old, again = ({name: whole[name] for name in whole if name not in ignored} for whole in (stated.whole, made))
        rest = differences(old, again)
        if not rest and not files and not tools:
            rest = [OTHERWISE_WRITTEN]
    return Rebuilt(bundle, files, tuple(rest), tools, len(before), follows)


def _lists_other_tools(bundle: Path, stated: Stated, before: Mapping[str, str]) -> bool:
    """Return whether the bill of materials differs, and would not if it listed the tools of the manifest."""
    here = (bundle / SBOM).read_bytes()
    there = with_toolchain(here, stated.toolchain)
    return here != there and before.get(SBOM) == Digest.of_bytes(there).sha256
