"""Every check of labels and metadata that needs no file."""

from __future__ import annotations

import re

from mlkit_build.errors import ConfigError, expect_one_of
from mlkit_build.recipe.datasets import AnyDataset, ImageFolder, Tfds, WavFolder
from mlkit_build.recipe.float32 import check_float32
from mlkit_build.recipe.labels import Labels, Metadata

TRANSFORMATIONS = ("identity", "log", "inverse_logistic")
"""What may be done to a score before it is calibrated, in the order of the numbers in `metadata_schema.fbs`."""
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def check_labels(labels: Labels | None, dataset: AnyDataset | None) -> None:
    """Refuse labels that are stated twice, or nowhere.

    Raises:
        ConfigError: Names the field, what was found, and what was expected.
    """
    if labels is None:
        return
    if labels.path == "":
        raise ConfigError("labels: expected a path, found an empty text")
    if (labels.path is None) != labels.from_dataset:
        found = "neither" if labels.path is None else "both"
        raise ConfigError(f"labels: expected a path or from_dataset: true, found {found}", "e.g. `labels: labels.txt`")
    if labels.column is not None and labels.path is None:
        raise ConfigError("labels.column: expected a CSV file as labels.path, found none", "leave it out")
    if len(labels.delimiter) != 1 or labels.delimiter in '\r\n"':
        raise ConfigError(f"labels.delimiter: expected one character, found {labels.delimiter!r}", 'a tab is written "\\t"')
    for locale, stated in labels.locales.items():
        check_locale(f"labels.locales.{locale}", locale)
        if not stated:
            what = "a column" if labels.column is not None else "a path"
            raise ConfigError(f"labels.locales.{locale}: expected {what}, found an empty text")
    if labels.from_dataset:
        _check_named(dataset)


def check_locale(where: str, locale: str) -> None:
    """Refuse what is no language. Raises ConfigError."""
    if not _LOCALE.fullmatch(locale):
        raise ConfigError(f"{where}: expected a language, found {locale!r}", "e.g. `de`, or with a region `en-US`")


def _check_named(dataset: AnyDataset | None) -> None:
    """Refuse a dataset that names no classes. Raises ConfigError."""
    if dataset is None:
        raise ConfigError("labels.from_dataset: the recipe has no dataset", "name a file: `labels: labels.txt`")
    folders = isinstance(dataset, (ImageFolder, WavFolder)) and dataset.table is None and dataset.label is not None
    named = isinstance(dataset, Tfds) and dataset.label is not None
    if not folders and not named and not getattr(dataset, "classes", ()):
        raise ConfigError(
            f"labels.from_dataset: the dataset of kind {dataset.kind} names no classes",
            "state dataset.classes where the kind has them, or name a file: `labels: labels.txt`",
        )


def check_metadata(metadata: Metadata, labels: Labels | None) -> None:
    """Refuse values that the Task Library could not use.

    Raises:
        ConfigError: Names the field, what was found, and what was expected.
    """
    check_threshold("metadata.score_threshold", metadata.score_threshold)
    calibration = metadata.score_calibration
    if calibration is None:
        return
    expect_one_of("metadata.score_calibration.transformation", calibration.transformation, TRANSFORMATIONS)
    check_float32("metadata.score_calibration.default_score", calibration.default_score)
    if not calibration.path:
        raise ConfigError("metadata.score_calibration.path: expected a path, found an empty text")
    if labels is None:
        raise ConfigError(
            "metadata.score_calibration: expected labels, found none; in the app ML Kit would say: Using ScoreCalibrationOptions "
            "requires a label map to be provided as TENSOR_AXIS_LABELS associated file.",
            "add `labels: labels.txt`",
        )


def check_threshold(where: str, threshold: float | None) -> None:
    """Refuse a threshold that no score, or every score, would pass. Raises ConfigError."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"{where}: expected a score between 0 and 1, found {threshold:g}", "e.g. 0.5")
