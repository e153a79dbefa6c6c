"""What the gates say of a build: everything that its actions measured, read and judged, before anything is packaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkit_build import pipeline
from mlkit_build.bundle.baseline import Baseline
from mlkit_build.errors import GateError
from mlkit_build.forms import Hops
from mlkit_build.gates import Verdict, judge
from mlkit_build.metrics import METRICS, Measurement
from mlkit_build.mlkit.app_view import Suspicion
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe
from mlkit_build.records import dataclass
from mlkit_build.report.summary import delegate_needed
from mlkit_build.runtimes.verdicts import Findings, RuntimeVerdict, judge_runtime
from mlkit_build.timing import METRIC as LATENCY
from mlkit_build.timing import Timing

Output = Callable[[str, str], Path]
"""(action, file) -> where it is."""

_AS_BAD = "TensorFlow's model is as bad on these samples"
_TO_CHECK = (
    "check that the samples are fed as in training (the recipe's mean and std; of images also the order of channels, and pixels "
    "in 0..255), and that the labels are those that the model learned, in its order"
)
_UNTOUCHED = "nothing was packaged and the previous bundle, if any, is untouched"


@dataclass(frozen=True)
class Judgement:
    """What was measured of a model, and what the gates say.

    Attributes:
        metrics: Measured values; the size is that of the file to ship.
        verdicts: Every limit but those on time.
        runtimes: What other runtimes made of the model.
        hops: How far every form is from the one before it; None where they were not compared.
        quantization: What the truth check found, and what the model was calibrated on; None for float32.
        skipped: The damaged samples that were left out.
        warnings: What a user must know of the model, shipped or not: how its quantization fell short, what its app must link, and
            how little a few samples prove.
    """

    metrics: Mapping[str, Measurement]
    verdicts: tuple[Verdict, ...]
    runtimes: tuple[RuntimeVerdict, ...]
    hops: Hops | None
    quantization: Mapping[str, Any] | None
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def is_as_bad(self) -> bool:
        """Whether TensorFlow's model breaks a limit too: then it is what it is fed, or what it is compared with."""
        return any(map(self._is_as_bad, self.verdicts))

    def refuse(self, suspicion: Suspicion | None = None) -> None:
        """Raise GateError where a form computes something else than the one before it, or a limit does not hold.

        Args:
            suspicion: What explains a model that is as bad in TensorFlow.
        """
        problem = self.hops.problem() if self.hops else ""
        if problem:
            raise GateError(
                f"validation.hops: {problem}",
                f"{_UNTOUCHED}; please report it with the model; validation.hops=0 builds without looking",
            )
        as_bad = f"{_AS_BAD}; {suspicion}" if suspicion and suspicion.instead else f"{_AS_BAD}: {_TO_CHECK}"
        _refuse_broken(self.verdicts, self.metrics, self.runtimes, as_bad if self.is_as_bad else "")

    def _is_as_bad(self, verdict: Verdict) -> bool:
        reference = self.metrics[verdict.metric].reference
        if verdict.passed or reference is None:
            return False
        beyond = reference < verdict.threshold if verdict.limit == "min" else reference > verdict.threshold
        return beyond and verdict.limit in ("min", "max")


def judged(recipe: Recipe, output: Output, baseline: Baseline | None) -> Judgement:
    """Read what the actions measured, and judge it.

    Args:
        output: Finds what an action wrote; raises BlobUnusableError where the cache lost it.
        baseline: What an earlier bundle reached.

    Raises:
        ConfigError, GateError: A gate needs a value that nobody measured.
    """
    found = {name: from_plain(Measurement, value) for name, value in _read(output("evaluate", "metrics.json")).items()}
    shipped = output("describe", "model.tflite")  # with its metadata, which was not there when it was measured
    metrics = {**found, "size_bytes": replace(found["size_bytes"], value=shipped.stat().st_size)}
    gates = {name: gate for name, gate in recipe.validation.gates.items() if name != LATENCY}
    reached = baseline.values if baseline else None
    verdicts = judge(gates, metrics, reached)
    elsewhere = [from_plain(Findings, _read(output(action, "runtime.json"))) for action in pipeline.runtime_actions(recipe)]
    hops = from_plain(Hops, _read(output("hops", "hops.json"))) if pipeline.compares_forms(recipe) else None
    quantization = None
    if not recipe.quantization.is_float:
        quantization = _read(output(pipeline.quantizing(recipe), "quantization.json"))
    observations = _read(output("evaluate", "observations.json"))
    warnings = (
        (quantization or {}).get("warning"),
        observations["warning"],
        hops.warning() if hops else "",
        delegate_needed(metrics),
        baseline.warning(recipe.dataset, recipe.validation.gates) if baseline else "",
        _unread_labels(recipe),
        *json.loads(output("describe", "lint.json").read_bytes()),
        *(verdict.warning for verdict in verdicts),
    )
    return Judgement(
        metrics,
        verdicts,
        tuple(judge_runtime(findings, gates, metrics, reached) for findings in elsewhere),
        hops,
        quantization,
        tuple(observations["skipped"]),
        tuple(filter(None, warnings)),
    )


def _unread_labels(recipe: Recipe) -> str:
    """Return that the samples have labels for nothing; empty where they have none, or a metric reads them."""
    read = any(METRICS[choice.name].labels for choice in recipe.validation.metrics)
    if read or getattr(recipe.dataset, "label", None) is None:
        return ""
    return "dataset.label: no metric reads the labels, so accuracy is not measured; for classes, add validation.metrics: [top1]"


def judged_time(recipe: Recipe, output: Output) -> tuple[Timing | None, tuple[Verdict, ...]]:
    """Judge the gate on latency, apart: times are in no manifest, and so its verdict is not. None where nothing was timed."""
    if pipeline.timing(recipe) is None:
        return None, ()
    found = from_plain(Timing, _read(output("latency", "latency.json")))
    gates = {name: gate for name, gate in recipe.validation.gates.items() if name == LATENCY}
    return found, judge(gates, {LATENCY: _measured(found)})


def refuse_slow(timing: Timing | None, verdicts: Sequence[Verdict]) -> None:
    """Raise GateError if a limit on time does not hold."""
    if timing is not None:
        _refuse_broken(verdicts, {LATENCY: _measured(timing)}, ())


def _measured(timing: Timing) -> Measurement:
    return Measurement(timing.median_ms, lower_is_better=True)


def _refuse_broken(
    verdicts: Sequence[Verdict], metrics: Mapping[str, Measurement], runtimes: Sequence[RuntimeVerdict], as_bad: str = ""
) -> None:
    broken = [verdict.told(metrics[verdict.metric]) for verdict in verdicts if not verdict.passed]
    elsewhere = [verdict for verdict in runtimes if not verdict.passed]
    if broken or elsewhere:
        improve = ["improve the model or the quantization, or change validation.gates"] if broken else []
        if as_bad:
            improve.insert(0, as_bad)
        hints = dict.fromkeys([*improve, *(verdict.hint for verdict in elsewhere)])
        raise GateError(f"gate failed: {'; '.join([*broken, *map(str, elsewhere)])}", f"{_UNTOUCHED}; {'; '.join(hints)}")


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
