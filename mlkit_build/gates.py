"""Gates: limits on measured values. A build whose gate fails packages nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mlkit_build.errors import ConfigError, GateError
from mlkit_build.metrics import Measurement, PairedTest, samples_text, significant, value_of
from mlkit_build.metrics.scored import AGREEMENTS, PIXELS, SAMPLES
from mlkit_build.recipe import Gate
from mlkit_build.records import dataclass

LIMITS = ("min", "max", "max_drop", "max_regression")
LEAST_P = 1e-16
"""A p value below it is told as that: it may be 0 as a number, which it never is."""


@dataclass(frozen=True)
class Limit:
    """One limit of a recipe.

    Attributes:
        metric: The measured value's name.
        limit: `min`, `max`, `max_drop` or `max_regression`.
        threshold: What the recipe demands.
    """

    metric: str
    limit: str
    threshold: float


@dataclass(frozen=True)
class Verdict:
    """One limit, judged.

    Attributes:
        metric: The measured value's name.
        limit: `min`, `max`, `max_drop` or `max_regression`.
        threshold: What the recipe demands.
        value: What was compared with it: the value, or how much worse it is than TensorFlow's or the baseline's.
        passed: Whether it holds.
        significance: What the test must stay below for a drop to fail, where the recipe states it.
        evidence: What is behind the value, in words: its interval, the samples that changed, the baseline.
        warning: Why the dataset is too small for this limit; empty where it is not.
    """

    metric: str
    limit: str
    threshold: float
    value: float
    passed: bool
    significance: float | None = None
    evidence: str = ""
    warning: str = ""

    def told(self, found: Measurement) -> str:
        """Return what was measured and what is demanded: `top1: 0.776 is a drop of 0.184 from TensorFlow's 0.96, expected ...`.

        Args:
            found: What was judged.
        """
        if self.limit in ("min", "max"):
            relation = "at least" if self.limit == "min" else "at most"
            said, behind = f", expected {relation} {self._number(self.threshold)}", self.evidence
        else:
            said, behind = self._compared(found)
        return f"{self.metric}: {self._number(found.value)}{found.of_output}{said}{f' ({behind})' if behind else ''}"

    def _compared(self, found: Measurement) -> tuple[str, str]:
        """Return how the value changed beside what is demanded, and what else is behind it."""
        if self.limit == "max_drop":
            assert found.reference is not None, "it was judged"
            other, whose, kind, behind = found.reference, "TensorFlow's", worsening(found), self.evidence
        else:
            other = found.value - self.value if found.lower_is_better else found.value + self.value
            whose, kind = "the baseline's", "regression"
            behind = "" if self.evidence == baseline_text(self.metric, other) else self.evidence
        amount, counterpart, least = self._number(abs(self.value)), self._number(other), self._number(abs(self.threshold))
        if self.value > 0:
            said = f" is a {kind} of {amount} from {whose} {counterpart}"
        else:
            said = f" is a gain of {amount} on {whose} {counterpart}" if self.value else f", as {whose}"
        demanded = f"a {kind} of at most" if self.value <= 0 else "at most"
        demanded = "a gain of at least" if self.threshold < 0 else demanded
        tested = "" if self.significance is None else f" or p at least {self.significance:g}"
        return f"{said}, expected {demanded} {least}{tested}", behind

    def _number(self, value: float) -> str:
        """Return a number as the recipe states it."""
        exact = value_of(self.metric).exact(value)
        return str(exact) if isinstance(exact, int) else f"{exact:g}"


def judge(
    gates: Mapping[str, Gate], metrics: Mapping[str, Measurement], baseline: Mapping[str, float] | None = None
) -> tuple[Verdict, ...]:
    """Compare every limit with its measured value.

    Args:
        gates: Value name -> its limits.
        metrics: Value name -> what was measured.
        baseline: Value name -> what an earlier bundle reached, for `max_regression`.

    Raises:
        GateError: A value that a gate needs was not measured, since the model's outputs do not have it.
        ConfigError: The baseline does not have it, or it has no counterpart in TensorFlow.
    """
    verdicts = []
    for name, gate in gates.items():
        if name not in metrics:
            scores = {SAMPLES: "[1, C]", PIXELS: "[1, H, W, C]"}.get(AGREEMENTS.get(name, ""))
            output = f"the output that metrics read, which has no class scores {scores}" if scores else "this model's outputs"
            raise GateError(
                f"validation.gates.{name}: not measured: it does not apply to {output}",
                f"measured: {', '.join(metrics)}",
            )
        for limit in LIMITS:
            threshold = getattr(gate, limit)
            if threshold is not None:
                verdicts.append(_verdict(name, limit, threshold, gate, metrics[name], baseline or {}))
    return tuple(verdicts)


def unjudged(gates: Mapping[str, Gate], verdicts: Iterable[Verdict]) -> tuple[Limit, ...]:
    """Return the limits that no verdict is on."""
    judged = {(verdict.metric, verdict.limit) for verdict in verdicts}
    stated = [Limit(name, limit, getattr(gate, limit)) for name, gate in gates.items() for limit in LIMITS]
    return tuple(found for found in stated if found.threshold is not None and (found.metric, found.limit) not in judged)


def change_text(name: str, worse: float, found: Measurement) -> str:
    """Return how much worse than TensorFlow a value is, with the samples that changed: `0.30 points worse, ..., p = 0.02`."""
    said = worse_text(name, worse)
    return said if found.paired is None else f"{said}, {tested_text(found.paired)}"


def worse_text(name: str, worse: float) -> str:
    """Return how much worse one value is than another: `0.30 points worse`."""
    return f"{value_of(name).difference(abs(worse))} {'better' if worse < 0 else 'worse'}" if worse else "as good"


def worsening(found: Measurement) -> str:
    """Return what it is called when the value gets worse."""
    return "rise" if found.lower_is_better else "drop"


def baseline_text(name: str, value: float) -> str:
    """Return what an earlier bundle reached."""
    return f"baseline {value_of(name).number(value)}"


def tested_text(paired: PairedTest) -> str:
    """Return how many samples changed and how likely so uneven a change is by chance: `31 samples changed, p = 0.02`."""
    chance = f"p = {paired.p_value:.2g}" if paired.p_value >= LEAST_P else f"p < {LEAST_P:g}"
    return f"{samples_text(paired.changed)} changed, {chance}"


def interval_text(name: str, interval: tuple[float, ...]) -> str:
    """Return a 95% interval with its unit."""
    low, high = interval
    return f"95% interval {value_of(name).number(low)} to {value_of(name).number(high)}"


def _verdict(name: str, limit: str, threshold: float, gate: Gate, found: Measurement, baseline: Mapping[str, float]) -> Verdict:
    interval, evidence = found.interval, interval_text(name, found.interval) if found.interval else ""
    significance = None
    value, margin = found.value, abs(found.value - threshold)
    if limit == "max_drop":
        if found.drop is None:
            raise ConfigError(f"validation.gates.{name}.max_drop: this value has no TensorFlow counterpart to drop from")
        value, margin, significance = found.drop, threshold, gate.significance
        interval = found.paired.interval if found.paired else None
        evidence = change_text(name, value, found) if found.paired else ""
    elif limit == "max_regression":
        value, margin = _regression(name, found, baseline), threshold
        evidence = baseline_text(name, baseline[name])
    passed = value >= threshold if limit == "min" else value <= threshold
    if significance is not None and found.paired is not None:
        passed = passed or found.paired.p_value >= significance
    warning = _too_small(name, limit, threshold, margin, interval, found)
    exact = value_of(name).exact
    return Verdict(name, limit, exact(threshold), exact(value), passed, significance, evidence, warning)


def _regression(name: str, found: Measurement, baseline: Mapping[str, float]) -> float:
    if name not in baseline:
        raise ConfigError(
            f"validation.gates.{name}.max_regression: the baseline did not measure it; it has {', '.join(baseline) or 'nothing'}",
            "build a baseline with the same metrics, or take another gate",
        )
    below = baseline[name] - found.value
    return significant(-below if found.lower_is_better and below else below)


def _too_small(
    name: str, limit: str, threshold: float, margin: float, interval: tuple[float, ...] | None, found: Measurement
) -> str:
    """Return why chance alone could decide: half the interval is wider than what the gate leaves."""
    if interval is None or margin < 0 or (threshold == 0 and limit.startswith("max_")):
        return ""
    half = (interval[1] - interval[0]) / 2
    if half <= margin:
        return ""
    kind = value_of(name)
    samples = found.paired.samples if found.paired else 0
    enough = math.ceil(samples * (half / margin) ** 2) if margin > 0 else 0
    told = f" of {samples_text(samples)}" if samples else ""
    more = f"; about {samples_text(_rounded_up(enough))} would do" if 0 < enough <= 10_000_000 else ""
    what = f"{kind.difference(half)} either way, and the {'limit is' if limit in ('min', 'max') else 'gate allows'}"
    what += f" {kind.difference(margin)}{' away' if limit in ('min', 'max') else ''}"
    return f"validation.gates.{name}.{limit}: the dataset{told} is too small for it: chance alone moves the value by {what}{more}"


def _rounded_up(count: int) -> int:
    """Return `count` with two digits, not less."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step
