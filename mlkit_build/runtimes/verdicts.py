"""What another runtime made of the shipped file, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlkit_build.gates import Verdict, judge
from mlkit_build.metrics import Measurement, samples_text, significant, value_of
from mlkit_build.recipe import Gate
from mlkit_build.records import dataclass
from mlkit_build.runtimes import FIELD, Requirement

LEAST_SQNR_DB = 20.0
"""What two runtimes' outputs must have in common, gates or not: an error of at most a tenth of the signal.

Kernels of other versions round otherwise: the runtime 2.14 is 142 dB from the newest for mnist in float32, and 56 dB in int8.
Kernels that take a scale per channel for one scale compute something else: 0.4 dB in dynamic_range, with too low versions.
"""


@dataclass(frozen=True)
class Findings:
    """What the action `runtime` found.

    Attributes:
        package: The interpreter's package.
        version: Its version.
        installed: Package -> version of all that is in its environment.
        samples: How many samples it computed.
        refused: What it did instead, in words that follow its name; empty where it computed them.
        oldest_runtime: The first runtime of TensorFlow's that computes the model rightly, by the versions of its operators, where
            these tell.
        metrics: Value name -> what it reached there, beside what the newest runtime reached on the same samples.
    """

    package: str
    version: str
    installed: Mapping[str, str]
    samples: int
    refused: str = ""
    oldest_runtime: str | None = None
    metrics: Mapping[str, Measurement] | None = None


@dataclass(frozen=True)
class RuntimeVerdict:
    """Findings, judged.

    Attributes:
        runtime: Package and version.
        installed: Package -> version of all that is in its environment.
        samples: How many samples were compared.
        passed: Whether the bundle may be published.
        problem: Why not; empty where it may.
        oldest_runtime: The first runtime of TensorFlow's that computes the model, by the versions of its operators.
        note: Where the operators' versions foretold otherwise; empty where they did not.
        metrics: Value name -> what was measured there, beside what the newest runtime reached on the same samples.
        gates: Every limit, judged there.
    """

    runtime: str
    installed: Mapping[str, str]
    samples: int
    passed: bool
    problem: str
    oldest_runtime: str | None
    note: str
    metrics: Mapping[str, Measurement]
    gates: tuple[Verdict, ...]

    def __str__(self) -> str:
        notes = f" ({self.note})" if self.note else ""
        return f"{self.runtime} {self.problem}{notes}"

    @property
    def hint(self) -> str:
        """What to do about the problem; empty without one."""
        if not self.problem:
            return ""
        oldest = f"the versions of its operators are those of {self.oldest_runtime}; " if self.oldest_runtime else ""
        return (
            f"{oldest}older runtimes compute float32, float16, weight_only_int8 and int8, and dynamic_range with "
            f"granularity=per_tensor; or leave {self.runtime} out of {FIELD}, if no phone has it"
        )


def judge_runtime(
    found: Findings, gates: Mapping[str, Gate], metrics: Mapping[str, Measurement], baseline: Mapping[str, float] | None = None
) -> RuntimeVerdict:
    """Judge what another runtime made of the model: the recipe's gates hold there too, and its outputs are the newest one's.

    A gate is judged on the whole dataset's value less what this runtime loses against the newest one on its samples, so that a
    few samples need not reach alone what all do. Values that compare outputs are judged as they are: two runtimes may be no
    further from each other than the model from TensorFlow.

    Args:
        gates: Value name -> its limits.
        metrics: What the newest runtime reached on the whole dataset.
        baseline: Value name -> what an earlier bundle reached.
    """
    requirement = Requirement(found.package, found.version)
    measured = found.metrics or {}
    there = {name: _there(metrics[name], value) for name, value in measured.items() if name in metrics}
    limits = {name: gate for name, gate in gates.items() if name in there}
    verdicts = tuple(_told(verdict, measured[verdict.metric], found.samples) for verdict in judge(limits, there, baseline))
    broken = [verdict.told(there[verdict.metric]) for verdict in verdicts if not verdict.passed]
    problem = found.refused or _disagreement(found, broken)
    return RuntimeVerdict(
        runtime=str(requirement),
        installed=found.installed,
        samples=found.samples,
        passed=not problem,
        problem=problem,
        oldest_runtime=found.oldest_runtime,
        note=_note(requirement, found.oldest_runtime, not problem),
        metrics=measured,
        gates=verdicts,
    )


def _there(whole: Measurement, found: Measurement) -> Measurement:
    """Return what the value of the whole dataset would be in the other runtime."""
    if found.reference is None:
        return found
    return replace(whole, value=significant(whole.value - (found.reference - found.value)), interval=None, paired=found.paired)


def _told(verdict: Verdict, found: Measurement, samples: int) -> Verdict:
    """Return the verdict with what was measured behind it; how small the dataset is was said of the gate itself."""
    if found.reference is None:
        return replace(verdict, evidence="", warning="")
    number = value_of(verdict.metric).number
    evidence = f"{number(found.value)} on {samples_text(samples)}, {number(found.reference)} in the newest runtime"
    return replace(verdict, evidence=evidence, warning="")


def _disagreement(found: Findings, broken: list[str]) -> str:
    """Return what is wrong with what was computed, given what is said of the limits that do not hold; empty for nothing."""
    measured = found.metrics or {}
    problems = list(broken)
    if (sqnr := measured.get("sqnr_db")) is not None and sqnr.value < LEAST_SQNR_DB:
        agreement = measured.get("top1_agreement")
        agreeing = f"; the highest value is the same in {value_of('top1_agreement').number(agreement.value)}" if agreement else ""
        largest = measured["max_abs_error"].value
        problems.insert(
            0,
            f"its outputs are not the newest runtime's on {samples_text(found.samples)}: "
            f"{value_of('sqnr_db').number(sqnr.value)}{sqnr.of_output}, expected at least {LEAST_SQNR_DB:g} dB; "
            f"the greatest error is {largest:g}{agreeing}",
        )
    return f"computes something else: {'; '.join(problems)}" if problems else ""


def _note(requirement: Requirement, oldest: str | None, computes: bool) -> str:
    """Return where the versions of the operators foretold something else than what happened; empty where they did not."""
    version = requirement.of_tensorflow
    if oldest is None or version is None:
        return ""
    first = tuple(map(int, oldest.split(".")))
    foretold = first <= version or first[: len(version)] == version
    if foretold == computes:
        return ""
    if computes:
        return f"the versions of its operators say that only {oldest} and later compute it"
    return f"the versions of its operators say that {oldest} and later compute it"
