"""The labels of a recipe: which files hold them, and how the actions that need them read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mlkit_build.errors import SourceError
from mlkit_build.mlkit.labels import LABELS, Reading, read_label_set, repeated
from mlkit_build.recipe import AnyDataset, Labels, Tfds
from mlkit_build.records import dataclass
from mlkit_build.store import Tree


@dataclass(frozen=True)
class FoundLabels:
    """The labels of a recipe, found and read.

    Attributes:
        reading: How the actions read them.
        files: Their files, as inputs of those actions.
        names: The labels.
    """

    reading: Reading
    files: Mapping[str, Path]
    names: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about them, and no error: lists of ImageNet's classes have two cranes."""
        told = repeated(self.names)
        return (f"labels: {told}",) if told else ()


def found_labels(
    labels: Labels, dataset: AnyDataset | None, samples: Path | Tree | None, existing: Callable[[str, str], Path]
) -> FoundLabels:
    """Return the labels.

    Args:
        samples: The dataset's files.
        existing: (field, path) -> the file that the recipe states there.

    Raises:
        SourceError: A file is missing, or is no file of labels.
        ConfigError: A CSV file has no such column.
    """
    stated = {} if labels.path is None else {LABELS: ("labels", labels.path)}
    if labels.column is None:
        stated |= {f"{LABELS}.{name}": (f"labels.locales.{name}", path) for name, path in labels.locales.items()}
    files = {role: existing(*place) for role, place in stated.items()}
    reading = _reading_of(labels, dataset, samples)
    return FoundLabels(reading, files, read_label_set(reading, files).names)


def _reading_of(labels: Labels, dataset: AnyDataset | None, samples: Path | Tree | None) -> Reading:
    """Return how the labels are read. Raises SourceError where a folder of the dataset cannot be looked at."""
    columns = labels.column is not None
    return Reading(
        column=labels.column,
        delimiter=labels.delimiter if columns else ",",
        names=_classes(dataset, samples) if labels.from_dataset else (),
        locales={locale: stated if columns else "" for locale, stated in labels.locales.items()},
    )


def _classes(dataset: AnyDataset | None, samples: Path | Tree | None) -> tuple[str, ...]:
    """Return the dataset's classes: those that it states, those of its class label, or its folders.

    Folders are counted as `mlkit_build.datasets.folders` does."""
    if classes := getattr(dataset, "classes", ()):
        return tuple(classes)
    assert isinstance(samples, Tree), "the schema refuses others"
    if isinstance(dataset, Tfds):
        return _named_by(dataset, samples.root)
    listed = samples.listed_for("dataset.path")
    names = tuple(name.rstrip("/") for name in listed if name.endswith("/") and name.count("/") == 1)
    if not names:
        raise SourceError(f"labels.from_dataset: {samples.root}: expected a folder for each class, found none")
    return names


def _named_by(dataset: Tfds, folder: Path) -> tuple[str, ...]:
    from mlkit_build.tfds.features import class_names, feature_named, read_features

    assert dataset.label is not None, "the schema refuses it"
    label = feature_named(read_features(folder, "dataset"), dataset.label, "dataset.label", folder)
    names = class_names(folder, label, "dataset")
    if not names:
        raise SourceError(
            f"labels.from_dataset: {folder}: the feature {dataset.label!r} names no classes",
            "state dataset.classes, or name a file: `labels: labels.txt`",
        )
    return names
