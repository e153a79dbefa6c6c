"""The manifest of an earlier bundle, to compare with: what a change may not make worse."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from mlkit_build.bounded import read_whole
from mlkit_build.bundle.manifest import SCHEMA
from mlkit_build.bundle.portable import is_elsewhere, portable_place, portable_text
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.metrics import GREATEST
from mlkit_build.plain import from_plain
from mlkit_build.printable import shown
from mlkit_build.recipe import AnyDataset, Gate, Tfds
from mlkit_build.records import dataclass
from mlkit_build.strict_json import MAX_BYTES, UnreadableError, read_json

_FIELD = "validation.baseline"
_MANIFEST = SCHEMA.rpartition("/")[0] + "/"
_WHICH = "name a bundle's manifest.json"
_AGAIN = "build that bundle again"


@dataclass(frozen=True)
class Baseline:
    """What an earlier bundle reached.

    Attributes:
        path: Its manifest.
        values: Value name -> value.
        dataset: What it was measured on, as its recipe states it.
        changed: A file of these samples that has other content now; empty where none has.
    """

    path: Path
    values: Mapping[str, float]
    dataset: Any
    changed: str = ""

    def warning(self, dataset: AnyDataset | None, gates: Mapping[str, Gate]) -> str:
        """Return that no gate compares, or what makes comparing a build on `dataset` unfair; empty where nothing does."""
        if all(gate.max_regression is None for gate in gates.values()):
            return f"{_FIELD}: nothing is compared with {self.path}: no gate states max_regression"
        if self._is_of(dataset) and not self.changed:
            return ""
        why = f"{self.changed} has changed since" if self._is_of(dataset) else "as its recipe's `dataset` says"
        return f"{_FIELD}: {self.path} was measured on other samples, {why}; max_regression may mislead"

    def _is_of(self, dataset: AnyDataset | None) -> bool:
        if dataset is None or self.dataset is None:
            return dataset is self.dataset
        try:
            theirs = from_plain(type(dataset), self.dataset)  # fields that are newer than the manifest have their defaults
        except ConfigError:
            return False
        ours = portable_place(dataset, portable_text)
        if not is_elsewhere(getattr(dataset, "path", "")):
            return theirs == ours
        # Of a place on another machine the name counts, whatever folder the manifest gave it.
        if isinstance(ours, Tfds) and isinstance(theirs, Tfds) and theirs.path == ".":  # so manifests were once
            ours = replace(ours, path=".", name=None, config=None, version=None)
        return portable_place(theirs, lambda path: PurePosixPath(path).name or path) == ours


def read_baseline(path: Path, recipe: str, place: Path, samples: Mapping[str, str] | None = None) -> Baseline:
    """Read the manifest at `path`.

    Args:
        recipe: The name of the recipe that is built.
        place: Where its bundle is published.
        samples: What is measured on now: a file's name in the manifest -> SHA-256.

    Raises:
        SourceError: The file is not a manifest, or a damaged one.
        ConfigError: It is of another recipe, or of the bundle that this build replaces.
    """
    if Path(os.path.realpath(path)).parent == Path(os.path.realpath(place)):
        raise ConfigError(
            f"{_FIELD}: expected the manifest of an earlier bundle, found that of {place}, which this build replaces",
            "copy it: compared with the last build each time, a value could sink a little for ever",
        )
    try:
        found = read_json(read_whole(path, MAX_BYTES, f"{_FIELD}: {path}"))
    except (UnreadableError, OSError) as error:
        raise SourceError(f"{_FIELD}: {path}: expected a manifest.json, found something else: {error}", _WHICH) from error
    schema = found.get("schema") if isinstance(found, dict) else found
    if schema != SCHEMA:
        other = isinstance(schema, str) and schema.startswith(_MANIFEST)
        hint = "another version of mlkit-build wrote it; build the baseline again with this one" if other else _WHICH
        raise SourceError(f"{_FIELD}: {path}: expected the schema {SCHEMA}, found {shown(repr(schema))}", hint)
    if found.get("name") != recipe:
        raise ConfigError(
            f"{_FIELD}: {path}: expected a bundle of the recipe {recipe!r}, found one of {shown(repr(found.get('name')))}",
            "name the manifest of an earlier bundle of this recipe",
        )
    try:
        values = {name: _number(f"{_FIELD}: {path}", name, entry["value"]) for name, entry in found["metrics"].items()}
        inputs = {str(entry["path"]): entry["sha256"] for entry in found["inputs"]}
        return Baseline(path, values, found["recipe"].get("dataset"), _changed(samples or {}, inputs))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"{_FIELD}: {path}: damaged: no measured values in it", _AGAIN) from error


def _number(where: str, name: str, value: Any) -> float:
    """Return a measured value. `float` alone would take texts, truth values, and integers that it then cannot hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -GREATEST <= value <= GREATEST:
        expected = f"expected a number within {GREATEST:g} of 0, found {shown(repr(value), 80)}"
        raise SourceError(f"{where}: damaged: metrics.{shown(name, 80)}.value: {expected}", _AGAIN)
    return float(value)


def _changed(samples: Mapping[str, str], inputs: Mapping[str, Any]) -> str:
    """Return the first file of `samples` with other content than in `inputs`, or that is new beside ones that were there."""
    if not samples.keys() & inputs.keys():  # placed under other names: nothing is known
        return ""
    return next((name for name, digest in samples.items() if inputs.get(name) != digest), "")
