"""What can be measured on a dataset. One module per metric; adding one adds a line to the table below.

A metric folds batches of outputs as they stream by and ends as numbers. Importing this table imports no NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ALWAYS", "AT_MOST_ONE", "METRICS", "Measurement", "Metric", "MetricKind", "create", "significant", "values_of"]


@dataclass(frozen=True)
class Measurement:
    """One measured value.

    Attributes:
        value: What the shipped model reaches.
        reference: What the TensorFlow model reaches on the same samples, where that means something.
    """

    value: float
    reference: float | None = None

    @property
    def drop(self) -> float | None:
        """How far the value lies below the reference."""
        return None if self.reference is None else significant(self.reference - self.value)


class Metric(Protocol):
    """A running measurement."""

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int64] | None) -> None:
        """Fold one batch: `[n, ...]` outputs of the shipped model and of TensorFlow, and `[n]` class indices."""

    def result(self) -> dict[str, Measurement]:
        """Return the values by name; those that do not apply to the outputs are left out."""


@dataclass(frozen=True)
class MetricKind:
    """One line of the table.

    Attributes:
        values: The names of the values it can yield.
        needs_labels: Whether it reads class indices.
        has_reference: Whether its values have a TensorFlow counterpart, so that `max_drop` makes sense.
        target: `module:class` of its implementation.
    """

    values: tuple[str, ...]
    needs_labels: bool
    has_reference: bool
    target: str


METRICS: dict[str, MetricKind] = {
    "top1": MetricKind(("top1",), True, True, "mlkit_build.metrics.classification:Top1"),
    "parity": MetricKind(("max_abs_error", "cosine", "top1_agreement"), False, False, "mlkit_build.metrics.parity:Parity"),
}

ALWAYS = ("parity",)
"""Measured whenever there is a dataset."""


AT_MOST_ONE = frozenset({"top1", "top1_agreement", "cosine"})
"""Values that cannot exceed 1: a gate of 95 means 0.95."""


def values_of(names: Iterable[str]) -> list[str]:
    """Return the names of all values that the metrics `names` yield."""
    return [value for name in dict.fromkeys(names) for value in METRICS[name].values]


def create(name: str) -> Metric:
    """Return a fresh metric called `name`."""
    from importlib import import_module

    module, _, attribute = METRICS[name].target.partition(":")
    metric: Metric = getattr(import_module(module), attribute)()
    return metric


def significant(value: float, digits: int = 6) -> float:
    """Round to `digits` significant digits: what thread counts and vector units leave equal."""
    return float(f"{value:.{digits}g}")
