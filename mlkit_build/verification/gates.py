"""The gates of a manifest against its metrics and the limits of its recipe: no bundle is published unless they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from mlkit_build.bundle.manifest import MetricEntry
from mlkit_build.gates import LIMITS, Verdict
from mlkit_build.verification.documents import StatedInFull

_MEASURED = {"min": "value", "max": "value", "max_drop": "drop"}
"""Limit -> what of a measured value it is on; a regression is one from a baseline, which is elsewhere."""


def contradictions(stated: StatedInFull) -> Iterator[str]:
    """Yield every gate that did not hold, is not on what was measured, or is not that of the recipe."""
    judged = {(verdict.metric, verdict.limit): verdict for verdict in stated.gates}
    for name, gate in stated.said.gates.items():
        for limit in LIMITS:
            threshold = getattr(gate, limit)
            verdict = judged.pop((name, limit), None)
            if threshold is not None and verdict is None and name in stated.metrics:  # a time is measured, and not in here
                yield f"gates: its recipe has {name}.{limit}, which was not judged"
            elif verdict is not None and not _near(verdict.threshold, threshold):
                yield f"gates: {name}.{limit} is {verdict.threshold:.15g}, in its recipe {threshold}"
    for name, limit in judged:
        yield f"gates: {name}.{limit} is not in its recipe"
    for verdict in stated.gates:
        yield from _of_verdict(verdict, stated.metrics)


def _of_verdict(verdict: Verdict, metrics: Mapping[str, MetricEntry]) -> Iterator[str]:
    gate = f"gates: {verdict.metric}.{verdict.limit}"
    holds = verdict.value >= verdict.threshold if verdict.limit == "min" else verdict.value <= verdict.threshold
    if not verdict.passed or not (holds or verdict.significance is not None):
        yield f"{gate} did not hold: {verdict.value:.15g} for {verdict.threshold:.15g}, and no such bundle is published"
    measured = metrics.get(verdict.metric)
    if measured is None:
        yield f"{gate} is on what the metrics do not have"
    elif verdict.limit in _MEASURED and not _near(verdict.value, getattr(measured, _MEASURED[verdict.limit])):
        yield f"{gate} is on {verdict.value:.15g}, measured was {getattr(measured, _MEASURED[verdict.limit])}"


def _near(one: float, other: float | None) -> bool:
    """Gates and metrics are written with different numbers of digits."""
    return other is not None and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-12)
