"""What a recipe folder's own `recipe.yaml` says: which functions are run, and where data lies. No manifest has a say in it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

from mlkit_build.bundle.manifest import FileEntry
from mlkit_build.config.roots import RECIPE_FILE
from mlkit_build.reproduction.embedded import functions, texts

_PATHS = ("path", "graph", "baseline")
"""The fields that name data; `labels` may be a path itself."""


class OwnWords:
    """The recipe as its file states it. Nothing is composed: overrides are not what its author trusts.

    Args:
        folder: The recipe's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        stated = _loaded(folder / RECIPE_FILE)
        self.functions = functions(stated)
        """Every function that it names."""
        named = ((where, text) for where, text in texts(stated) if _is_place(where) and "://" not in text and "${" not in text)
        self._paths = list(dict.fromkeys(text for _, text in named))

    def place(self, entry: FileEntry) -> Path | None:
        """Return where the recipe's own path leads to an input outside of its folder; None where it states no such path.

        The way goes along the path that the file states, and from there only down.
        """
        wanted = PurePosixPath(os.path.normpath(entry.path))
        for text in self._paths:
            path = _from_home(text)
            stated = PurePosixPath(os.path.normpath(path))
            if stated.is_absolute():
                # It is placed by its name, or below its role: see `mlkit_build.bundle.placing`.
                names = [wanted, PurePosixPath(*wanted.parts[1:])]
                found = next((rest for name in names if (rest := _from(PurePosixPath(stated.name), name))), None)
            elif stated.parts[:1] == ("..",) and set(stated.parts) != {".."}:
                found = _from(stated, wanted)
            else:
                continue
            if found is not None:
                return self._folder / path.parent / found
        return None


def _from(stated: PurePosixPath, wanted: PurePosixPath) -> PurePosixPath | None:
    """Return the way from the folder of what is stated to what is wanted: that, something in it, or a checkpoint's part."""
    if wanted.is_relative_to(stated):
        return wanted.relative_to(stated.parent)
    is_part = wanted.parent == stated.parent and wanted.name.startswith(f"{stated.name}.")
    return PurePosixPath(wanted.name) if is_part else None


def _from_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody knows where the home of that user is
        return Path(text)


def _is_place(where: str) -> bool:
    return where.rpartition(".")[2] in _PATHS or where == "labels" or where.startswith("labels.locales.")


def _loaded(file: Path) -> dict[str, Any]:
    """Return what the file states, and nothing where it cannot be read."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        found = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}
