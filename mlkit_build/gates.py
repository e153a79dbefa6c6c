"""Gates: limits on measured values. A build whose gate fails packages nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlkit_build.errors import GateError
from mlkit_build.metrics import Measurement
from mlkit_build.recipe import Gate


@dataclass(frozen=True)
class Verdict:
    """One limit, judged.

    Attributes:
        metric: The measured value's name.
        limit: `min`, `max` or `max_drop`.
        threshold: What the recipe demands.
        value: What was compared with it: the value, or for `max_drop` the drop against TensorFlow.
        passed: Whether it holds.
    """

    metric: str
    limit: str
    threshold: float
    value: float
    passed: bool

    def __str__(self) -> str:
        relation = {"min": "at least", "max": "at most", "max_drop": "a drop of at most"}[self.limit]
        return f"{self.metric}: {self.value:g}, expected {relation} {self.threshold:g}"


def judge(gates: Mapping[str, Gate], metrics: Mapping[str, Measurement]) -> tuple[Verdict, ...]:
    """Compare every limit with its measured value.

    Raises:
        GateError: A value that a gate needs was not measured, since the model's outputs do not have it.
    """
    verdicts = []
    for name, gate in gates.items():
        if name not in metrics:
            raise GateError(
                f"validation.gates.{name}: not measured: it does not apply to this model's outputs",
                f"measured: {', '.join(metrics)}",
            )
        found = metrics[name]
        for limit, threshold in (("min", gate.min), ("max", gate.max), ("max_drop", gate.max_drop)):
            if threshold is None:
                continue
            value = found.drop if limit == "max_drop" else found.value
            assert value is not None, "the schema allows max_drop only where there is a reference"
            passed = value >= threshold if limit == "min" else value <= threshold
            verdicts.append(Verdict(name, limit, threshold, value, passed))
    return tuple(verdicts)
