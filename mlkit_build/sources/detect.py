"""The kind of source that a path stands for, told from its name and its first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from mlkit_build.errors import SourceError
from mlkit_build.recipe import AnySource, FrozenGraph, Keras, Python, SavedModel, Tf1Checkpoint
from mlkit_build.sources.frozen_graph import what_it_is

_FUNCTION = re.compile(r"(.+\.py):(\w+)")
_CHECKPOINT_PART = re.compile(r"\.(meta|index|data-\d{5}-of-\d{5})$")
_KINDS = (Tf1Checkpoint, FrozenGraph, SavedModel, Keras)


def described(path: str, kind: str | None = None, graph: str | None = None) -> AnySource:
    """Return the source that a recipe in the current folder would state for `path`.

    Args:
        path: A file, a folder, a checkpoint's prefix, or `FILE.py:FUNCTION`.
        kind: What it is, when the caller knows.
        graph: The graph of a checkpoint.

    Raises:
        SourceError: There is nothing, or it is none of the known kinds.
    """
    if kind == "python" and not _FUNCTION.fullmatch(path):
        raise SourceError(f"{path}: expected FILE.py:FUNCTION", "name the function that returns the model, e.g. `model.py:build`")
    if kind in (None, "python") and _FUNCTION.fullmatch(path):
        return Python(function=path)
    if kind == "tf1_checkpoint" or (kind is None and graph is not None):
        return Tf1Checkpoint(path=path, graph=graph)
    if kind is not None:
        return next(cls(path=path) for cls in _KINDS if cls().kind == kind)
    return _found(path)


def _found(path: str) -> AnySource:
    place = Path(path).expanduser()
    path = str(place)
    if place.is_dir():
        if any((place / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            return SavedModel(path=path)
        if (place / "checkpoint").is_file() or any(_CHECKPOINT_PART.search(item.name) for item in place.iterdir()):
            return Tf1Checkpoint(path=path)
        below = sorted(str(item.parent) for item in place.glob("*/saved_model.pb"))
        hint = f"did you mean {' or '.join(below)}?" if below else "name the model's file, folder, or checkpoint prefix"
        raise SourceError(f"{path}: a folder with neither saved_model.pb nor a checkpoint in it", hint)
    if _CHECKPOINT_PART.search(path) or Path(f"{path}.index").is_file() or Path(f"{path}.meta").is_file():
        return Tf1Checkpoint(path=path)
    if not place.is_file():
        raise SourceError(
            f"{path}: no such file or folder", "name a model's file, folder, checkpoint prefix, or FILE.py:FUNCTION"
        )
    if place.name in ("saved_model.pb", "saved_model.pbtxt"):
        return SavedModel(path=str(place.parent))
    if place.suffix == ".py":
        raise SourceError(f"{path}: expected FILE.py:FUNCTION", f"name the function that returns the model, e.g. `{path}:build`")
    with place.open("rb") as file:
        start = file.read(16)
    if place.suffix in (".yaml", ".yml"):
        raise SourceError(
            f"{path}: not a source of a recipe: a configuration file",
            f"a recipe is built with `mlkit-build recipe={place.absolute().parent.name}`; what its source names can be inspected",
        )
    if start[:8] == b"\x89HDF\r\n\x1a\n" or place.suffix in (".keras", ".h5", ".hdf5"):
        return Keras(path=path)
    if start[4:8] == b"TFL3" or start[:2] == b"PK" or not start:
        raise SourceError(f"{path}: not a source of a recipe", what_it_is(start))
    return FrozenGraph(path=path)
