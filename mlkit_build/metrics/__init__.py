"""What can be measured on a dataset. One module per metric; adding one adds a line to the table below.

A metric folds batches of outputs as they stream by and ends as numbers, and as tables where one number cannot say it. Importing
this table imports no NumPy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.metrics import options as of
from mlkit_build.metrics.measurement import GREATEST, Measurement, PairedTest, Subject, Table, significant, tables_json
from mlkit_build.metrics.values import OF_THE_FILE, VALUES, Value, is_known, samples_text, value_of
from mlkit_build.plain import from_plain
from mlkit_build.recipe.validation import MetricChoice
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ALWAYS",
    "GREATEST",
    "METRICS",
    "OF_THE_FILE",
    "VALUES",
    "Measurement",
    "Metric",
    "MetricKind",
    "PairedTest",
    "Subject",
    "Table",
    "Value",
    "create",
    "is_known",
    "owners",
    "parse",
    "samples_text",
    "significant",
    "tables_json",
    "value_of",
    "values_of",
]


class Metric(Protocol):
    """A running measurement."""

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: Any) -> None:
        """Fold one batch: `[n, ...]` outputs of the shipped model and of TensorFlow, and labels in the form of the table."""

    def result(self) -> dict[str, Measurement]:
        """Return the values by name; those that do not apply to the outputs are left out."""

    def tables(self) -> dict[str, Table]:
        """Return what is no number, by name."""


@dataclass(frozen=True)
class MetricKind:
    """One line of the table.

    Attributes:
        target: `module:class` of its implementation, called with its options and a Subject.
        summary: One line for a reader of recipes.
        values: The names of the values it can yield, with options in braces.
        outputs: What it reads, in words.
        labels: The form in which it wants labels, see `metrics.labels.FORMS`; empty for a metric that needs none.
        has_reference: Whether its values have a TensorFlow counterpart, so that `max_drop` makes sense.
        is_paired: Whether its values are shares of samples that the two models get right or wrong, so that a drop can be tested.
        options: The dataclass of its options.
        tables: The names of the tables it yields.
        example: An entry of `validation.metrics`, where its options need one.
    """

    target: str
    summary: str
    values: tuple[str, ...]
    outputs: str
    labels: str = "classes"
    has_reference: bool = True
    is_paired: bool = False
    options: type = of.NoOptions
    tables: tuple[str, ...] = ()
    example: str = ""


_HERE = "mlkit_build.metrics"
_AVERAGES = ("macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1")

METRICS: dict[str, MetricKind] = {
    "top1": MetricKind(
        f"{_HERE}.classification:Top1",
        "The share of samples whose highest score is the label.",
        ("top1",),
        "class scores",
        is_paired=True,
    ),
    "top_k": MetricKind(
        f"{_HERE}.classification:TopK",
        "The share of samples whose label is among the k highest scores.",
        ("top{k}",),
        "class scores",
        is_paired=True,
        options=of.TopKOptions,
        example="{top_k: {k: 5}}",
    ),
    "per_class": MetricKind(
        f"{_HERE}.per_class:PerClass",
        "Precision, recall and F1 of each class, and their averages.",
        _AVERAGES,
        "class scores",
        tables=("per_class",),
    ),
    "confusion_matrix": MetricKind(
        f"{_HERE}.per_class:ConfusionMatrix",
        "How often each class is taken for each other.",
        (),
        "class scores",
        tables=("confusion_matrix",),
    ),
    "roc_auc": MetricKind(
        f"{_HERE}.ranking:RocAuc",
        "The area under the ROC curve, one class against the rest.",
        ("roc_auc",),
        "class scores",
        "indicators",
        tables=("roc_curve",),
    ),
    "pr_auc": MetricKind(
        f"{_HERE}.ranking:PrAuc",
        "The area under the precision-recall curve, one class against the rest.",
        ("pr_auc",),
        "class scores",
        "indicators",
        tables=("pr_curve",),
    ),
    "log_loss": MetricKind(
        f"{_HERE}.probabilities:LogLoss",
        "The mean negative logarithm of the label's probability.",
        ("log_loss",),
        "class probabilities",
        options=of.LogitsOptions,
    ),
    "calibration_error": MetricKind(
        f"{_HERE}.probabilities:CalibrationError",
        "How far confidence is from accuracy, on average.",
        ("calibration_error",),
        "class probabilities",
        options=of.CalibrationErrorOptions,
        tables=("reliability",),
        example="{calibration_error: {bins: 15}}",
    ),
    "mae": MetricKind(f"{_HERE}.regression:Mae", "The mean absolute error.", ("mae",), "values", "values"),
    "rmse": MetricKind(f"{_HERE}.regression:Rmse", "The root of the mean square error.", ("rmse",), "values", "values"),
    "r2": MetricKind(
        f"{_HERE}.regression:R2", "The share of the labels' variance that it explains.", ("r2",), "values", "values"
    ),
    "psnr": MetricKind(
        f"{_HERE}.regression:Psnr",
        "The peak signal-to-noise ratio of images, in dB.",
        ("psnr_db",),
        "values",
        "values",
        options=of.PsnrOptions,
        example="{psnr: {peak: 255}}",
    ),
    "embedding": MetricKind(
        f"{_HERE}.embedding:Embedding",
        "Whether embeddings lie, and find their neighbours, as TensorFlow's do.",
        ("embedding_cosine", "worst_embedding_cosine", "retrieval_agreement"),
        "embeddings",
        "",
        has_reference=False,
        options=of.EmbeddingOptions,
        example="{embedding: {k: 10}}",
    ),
    "mean_iou": MetricKind(
        f"{_HERE}.segmentation:MeanIou",
        "How well segments cover the labelled ones.",
        ("mean_iou", "pixel_accuracy"),
        "[1, H, W, C] scores or [1, H, W, 1]",
        "maps",
        options=of.MeanIouOptions,
        tables=("iou",),
        example="{mean_iou: {ignore: 255}}",
    ),
    "python": MetricKind(
        f"{_HERE}.custom:Custom",
        "What a function of the recipe's folder measures.",
        (),
        "any",
        "any",
        options=of.PythonOptions,
        example="{python: {function: metric.py:build}}",
    ),
    "parity": MetricKind(
        f"{_HERE}.parity:Parity",
        "How close every output is to TensorFlow's. Always measured.",
        ("max_abs_error", "rms_error", "sqnr_db", "cosine", "top1_agreement", "pixel_agreement"),
        "any",
        "",
        has_reference=False,
        tables=("parity",),
    ),
}

ALWAYS = ("parity",)
"""Measured whenever there is a dataset."""


def parse(choice: MetricChoice, where: str = "validation.metrics") -> Any:
    """Return the options of the chosen metric, checked as far as no data is needed.

    Args:
        where: The recipe's field, e.g. `validation.metrics[2]`.

    Raises:
        ConfigError: There is no such metric or option, or a value is of another type or out of its limits.
    """
    name = choice.name
    if name not in METRICS:
        raise ConfigError(f"{where}: expected one of {', '.join(METRICS)}, found {name!r}", did_you_mean(name, list(METRICS)))
    cls, where = METRICS[name].options, f"{where}.{name}"
    known = [field.name for field in dataclasses.fields(cls)]
    for option in choice.options:
        if option not in known:
            expected = f"expected one of {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"{where}.{option}: no such option; {expected}", did_you_mean(option, known))
    parsed: Any = from_plain(cls, choice.options, where)
    try:
        of.check(parsed)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error.message}", error.hint) from None
    return parsed


def owners(choices: Iterable[str | MetricChoice]) -> dict[str, str]:
    """Return value name -> the metric that yields it, for all values that the chosen metrics can yield."""
    found: dict[str, str] = {}
    for choice in choices:
        chosen = MetricChoice(name=choice) if isinstance(choice, str) else choice
        kind = METRICS[chosen.name]
        stated = dataclasses.asdict(parse(chosen)) if any("{" in value for value in kind.values) else {}
        found |= {value.format(**stated): chosen.name for value in kind.values}
    return found


def values_of(choices: Iterable[str | MetricChoice]) -> list[str]:
    """Return the names of all values that the chosen metrics yield."""
    return list(owners(choices))


def create(choice: MetricChoice, subject: Subject) -> Metric:
    """Return a fresh metric.

    Raises:
        ConfigError: It does not fit the output.
    """
    from importlib import import_module

    shape = subject.output.shape
    if METRICS[choice.name].outputs.startswith("class ") and sum(size != 1 for size in shape[1:]) > 1:
        raise ConfigError(
            f"validation.metrics: {choice.name}: expected one score for each class of a sample, [1, C], as the output "
            f"{subject.output.name!r}, found {list(shape)}",
            "mean_iou is for the class of each pixel; another output is named by validation.output",
        )
    module, _, attribute = METRICS[choice.name].target.partition(":")
    metric: Metric = getattr(import_module(module), attribute)(parse(choice), subject)
    return metric
