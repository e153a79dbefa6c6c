"""The load stage: every file of the user that a recipe needs, found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path

from mlkit_build.bounded import is_file
from mlkit_build.errors import SourceError
from mlkit_build.metrics import parse
from mlkit_build.pipeline.dataset_files import Locate, dataset_files
from mlkit_build.pipeline.labelling import FoundLabels, found_labels
from mlkit_build.pipeline.left_out import left_out
from mlkit_build.pipeline.missing import not_found
from mlkit_build.recipe import AnySource, Python, Recipe, Tf1Checkpoint
from mlkit_build.records import dataclass
from mlkit_build.sources import source
from mlkit_build.store import Tree

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class Files:
    """The load stage's answer: every file of the user that a recipe needs, found.

    Attributes:
        source: Role -> file of the source.
        dataset: The validation samples.
        calibration: The calibration samples, for modes that need them.
        labels: The labels.
        score_calibration: The parameters of `metadata.score_calibration`.
        metrics: The code of the recipe's own metrics, by its place in the recipe's folder.
        baseline: The manifest to compare with.
        environments: The record of each other runtime's environment, in the recipe's order. They are no files of the user.
        left_out: Which files beside the samples look as if they were meant to be some, in words.
    """

    source: Mapping[str, Path]
    dataset: Path | Tree | None
    calibration: Path | Tree | None
    labels: FoundLabels | None
    score_calibration: Path | None = None
    metrics: Mapping[str, Path] = field(default_factory=dict)
    baseline: Path | None = None
    environments: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()

    def by_role(self) -> list[tuple[str, Path | Tree]]:
        """Return (part of the recipe, file) in a fixed order; a folder whose files nobody names is one of them."""
        parts: list[tuple[str, Iterable[Path | Tree]]] = [
            ("source", self.source.values()),
            ("labels", self.labels.files.values() if self.labels else ()),
            ("score_calibration", _single(self.score_calibration)),
            ("dataset", _single(self.dataset)),
            ("calibration", _single(self.calibration)),
            ("baseline", _single(self.baseline)),
            ("metrics", self.metrics.values()),
        ]
        return list(dict.fromkeys((role, path) for role, found in parts for path in found))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about them, and no error."""
        return (*(self.labels.warnings if self.labels else ()), *self.left_out)


def _single(found: Path | Tree | None) -> list[Path | Tree]:
    """Return the files of what was found, or the folder whose files nobody names."""
    if isinstance(found, Tree) and found.names is not None:
        return [found.root / name for name in found.names]
    return [] if found is None else [found]


def load(recipe: Recipe, folder: Path, locate: Locate) -> Files:
    """Find the recipe's files.

    Args:
        folder: What the recipe's paths are relative to.
        locate: Finds what a URL names.

    Raises:
        SourceError: One is missing, or cannot be looked at; names the field and the path.
    """
    try:
        return _load(recipe, folder, locate)
    except OSError as error:
        raise SourceError(f"{error.filename}: cannot be read: {error.strerror}", "check the paths in the recipe") from error


def _load(recipe: Recipe, folder: Path, locate: Locate) -> Files:
    observes = recipe.quantization.needs_calibration

    def existing(field: str, stated: str) -> Path:
        return _existing(field, folder / stated, stated)

    dataset = dataset_files(recipe.dataset, folder, "dataset", locate) if recipe.dataset else None
    calibration = dataset_files(recipe.calibration, folder, "calibration", locate) if recipe.calibration and observes else None
    folders = {found: f"{where}.path" for where, found in (("calibration", calibration), ("dataset", dataset))}
    scores = recipe.metadata.score_calibration
    return Files(
        source=source(recipe.source.kind).files(_located(recipe.source, locate), folder),
        dataset=dataset,
        calibration=calibration,
        labels=found_labels(recipe.labels, recipe.dataset, dataset, existing) if recipe.labels else None,
        score_calibration=existing("metadata.score_calibration.path", scores.path) if scores else None,
        metrics=_metric_code(recipe, folder),
        baseline=existing("validation.baseline", recipe.validation.baseline) if recipe.validation.baseline else None,
        left_out=tuple(filter(None, (left_out(found, where) for found, where in folders.items() if isinstance(found, Tree)))),
    )


def _metric_code(recipe: Recipe, folder: Path) -> dict[str, Path]:
    """Return the files of the recipe's own metrics, by their place in its folder."""
    found: dict[str, Path] = {}
    for index, choice in enumerate(recipe.validation.metrics):
        if choice.name == "python":
            from mlkit_build.metrics.custom import files

            where = f"validation.metrics[{index}].python"
            found |= files(parse(choice, where), folder, where)
    return found


def _located(source: AnySource, locate: Locate) -> AnySource:
    """Return the source with local paths in place of URLs; a digest that is stated is checked for a local file too."""
    if isinstance(source, Python):
        return source
    if isinstance(source, Tf1Checkpoint) and source.graph and _REMOTE.match(source.graph):
        source = replace(source, graph=str(locate(source.graph, source.sha256, "source.graph")))
    if _REMOTE.match(source.path) or source.sha256 is not None:
        return replace(source, path=str(locate(source.path, source.sha256, "source.path")))
    return source


def _existing(field: str, path: Path, stated: str) -> Path:
    if is_file(path):
        return path
    raise not_found(field, path, stated)
