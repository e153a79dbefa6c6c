"""A finished job in a few lines that a person wants to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import MlkitBuildError
from mlkit_build.forms import Hops, parting_text
from mlkit_build.gates import Verdict, interval_text, tested_text, worse_text, worsening
from mlkit_build.metrics import OF_THE_FILE, VALUES, Measurement, samples_text, value_of
from mlkit_build.metrics.values import size as size
from mlkit_build.plain import to_plain
from mlkit_build.tflite import FLEX
from mlkit_build.timing import METRIC as LATENCY
from mlkit_build.timing import Timing

if TYPE_CHECKING:
    from mlkit_build.job import JobReport
    from mlkit_build.runtimes.verdicts import RuntimeVerdict

SHARES = {name for name, value in VALUES.items() if value.form == "share"}
"""Values that are shares of samples and read best as percentages."""

_PARITY = ("top1_agreement", "pixel_agreement", "max_abs_error", "sqnr_db")
"""What is said of two runtimes' outputs."""

RESULTS = {"built": "built", "unchanged": "up to date", "gate_failed": "gate failed", "config_error": "not built"}
"""Status of a job -> what people read; others read as they are."""
_GATES = ("gate failed:", "validation.gates.")
"""What the message of a broken gate begins with. Others that stop a bundle, such as `package.min_runtime`, are no gates."""
_LONGEST_REASON = 120

TITLES = {name: value.title for name, value in VALUES.items()}


def title(name: str) -> str:
    """Return what people call the value."""
    return value_of(name).title


def number(name: str, value: float) -> str:
    """Return a measured value with its unit."""
    return value_of(name).number(value)


def difference(name: str, value: float) -> str:
    """Return a drop with its unit."""
    return value_of(name).difference(value)


def verdict_text(verdict: Verdict) -> str:
    """Return one judged limit: what it demands and whether it holds."""
    shown = value_of(verdict.metric).limit if verdict.limit in ("min", "max") else value_of(verdict.metric).difference
    relation = {"min": "at least", "max": "at most", "max_drop": "drop at most", "max_regression": "regression at most"}
    tested = "" if verdict.significance is None else f" or p at least {verdict.significance:g}"
    said = f"{relation[verdict.limit]} {shown(verdict.threshold)}{tested} {'ok' if verdict.passed else 'FAILED'}"
    return f"{said}: {_beside_baseline(verdict)}" if verdict.limit == "max_regression" else said


def _beside_baseline(verdict: Verdict) -> str:
    return f"{worse_text(verdict.metric, verdict.value)} {'than' if verdict.value else 'as'} the baseline"


def told(report: JobReport, verdict: Verdict) -> str:
    """Return one of the report's judged limits beside what was measured."""
    return verdict.told((report.metrics or {}).get(verdict.metric, Measurement(verdict.value)))  # a time is not among them


def value_text(name: str, found: Measurement) -> str:
    """Return a measured value with its unit, and of several outputs the one that it is of."""
    return f"{number(name, found.value)}{found.of_output}"


def comparison_text(name: str, found: Measurement) -> str:
    """Return TensorFlow's value, how much worse the model's is, and the test of it; empty where there is nothing to compare."""
    if found.reference is None or found.drop is None:
        return ""
    change = "gain" if found.drop < 0 else worsening(found)
    said = f"TensorFlow {number(name, found.reference)}, {change} {difference(name, abs(found.drop))}"
    return f"{said}, {tested_text(found.paired)}" if found.paired and found.paired.changed else said


def metric_text(name: str, found: Measurement, verdicts: Sequence[Verdict] = ()) -> str:
    """Return a measured value with its interval, beside TensorFlow's, with its gates."""
    parts = [value_text(name, found)]
    behind = [interval_text(name, found.interval) if found.interval else "", comparison_text(name, found)]
    if any(behind):
        parts.append(f"({'; '.join(filter(None, behind))})")
    gates = [verdict_text(verdict) for verdict in verdicts if verdict.metric == name]
    if gates:
        parts.append(f"[{', '.join(gates)}]")
    return " ".join(parts)


def delegate_needed(values: Iterable[str]) -> str:
    """Return what the app must link for the Flex operators among the measured values' names; empty without any."""
    flex = [name for name in values if name.startswith(FLEX)]
    return f"the app must link TensorFlow's Flex delegate: {', '.join(flex)}" if flex else ""


def not_measured(values: Iterable[str]) -> str:
    """Return that nothing was compared, where the measured values' names are of the file alone; else an empty string."""
    compared = [name for name in values if name not in OF_THE_FILE and not name.startswith(FLEX)]
    return "" if compared else "not measured: the recipe has no dataset, so nothing was compared with TensorFlow"


def runtime_text(verdict: RuntimeVerdict) -> str:
    """Return what another runtime made of the model: how its values differ from the newest one's, or what is wrong."""
    note = f"; {verdict.note}" if verdict.note else ""
    if verdict.problem:
        return f"FAILED: {verdict.problem}{note}"
    values = [
        f"{title(name)} {number(name, found.value)} ({_newest_text(name, found)})"
        for name, found in verdict.metrics.items()
        if found.reference is not None
    ]
    values += [f"{title(name)} {value_text(name, verdict.metrics[name])}" for name in _PARITY if name in verdict.metrics]
    return f"computes the same on {samples_text(verdict.samples)}: {', '.join(values)}{note}"


def _newest_text(name: str, found: Measurement) -> str:
    assert found.reference is not None
    return "as the newest" if found.reference == found.value else f"the newest {number(name, found.reference)}"


def headline(report: JobReport) -> str:
    """Return what came of the job in one line."""
    ran = sum(not result.cached for result in report.actions)
    did = f"{ran} ran, {len(report.actions) - ran} reused"
    words = {
        "built": f"built in {report.seconds:.1f} s ({did})",
        "unchanged": f"built again, the bundle is the same ({report.seconds:.1f} s; {did})"
        if ran
        else f"nothing to do, the bundle is up to date ({report.seconds:.2f} s)",
        "gate_failed": f"{result(report)}, nothing packaged",
    }
    return f"{job_name(report)}: {words.get(report.status) or result(report)}"


def result(report: JobReport) -> str:
    """Return what came of the job in a word or two; `refused` is what breaks no gate of the recipe, but may not be published."""
    if report.status == "gate_failed" and report.error and not report.error.message.startswith(_GATES):
        return "refused"
    return RESULTS.get(report.status, report.status)


def reason(report: JobReport) -> str:
    """Return what went wrong, in a line; empty where nothing did."""
    text = report.error.message.removeprefix(_GATES[0]).partition("\n")[0].removeprefix(" ") if report.error else ""
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."


def job_name(report: JobReport) -> str:
    """Return `recipe/variant`."""
    return f"{report.recipe}/{report.variant}" if report.recipe else "(no recipe)"


def lines(report: JobReport) -> list[tuple[str, str]]:
    """Return (title, text) pairs of everything worth saying below the headline."""
    rows = []
    for name, found in (report.metrics or {}).items():
        rows.append((title(name), metric_text(name, found, report.gates)))
    if report.metrics and (missing := not_measured(report.metrics)):
        rows.append(("accuracy", missing))
    if report.hops is not None:
        rows.append(("forms", hops_text(report.hops)))
    if report.latency is not None:
        rows.append(("latency", timing_text(report.latency, report.gates)))
    rows += [(verdict.runtime, runtime_text(verdict)) for verdict in report.runtimes]
    if report.bundle is not None:
        rows.append(("bundle", shown_path(report.bundle)))
    return rows


def hops_text(hops: Hops) -> str:
    """Return where the forms of a model part, in one line."""
    skipped = [f"{hop.before} and {hop.after} not compared: {hop.skipped}" for hop in hops.hops if hop.skipped]
    compared = [hop for hop in hops.hops if not hop.skipped]
    first = hops.first
    if first is None or first.worst is None:
        said = f"the same on {samples_text(hops.samples)}, from {compared[0].before} to the shipped file"
    else:
        same = f"the same up to {first.before}" if first is not compared[0] else f"not the same from {first.before} on"
        said = f"{same}; then {parting_text(first.worst, hops.samples)}"
    return "; ".join([said, *skipped])


def timing_text(timing: Timing, verdicts: Sequence[Verdict] = ()) -> str:
    """Return how fast a model is on this machine, in one line, with its gates."""
    threads = f"{timing.threads} thread{'s' if timing.threads > 1 else ''}"
    text = f"{timing.median_ms:.3g} ms median, {timing.p95_ms:.3g} ms p95 (this machine; {threads}, {timing.delegate})"
    gates = [verdict_text(verdict) for verdict in verdicts if verdict.metric == LATENCY]
    return f"{text} [{', '.join(gates)}]" if gates else text


def error_lines(error: MlkitBuildError) -> list[tuple[str, str]]:
    """Return (title, text) pairs: what is wrong, what to do next, and where the rest is."""
    rows = [("error", error.message)]
    if error.hint:
        rows.append(("hint", error.hint))
    if error.log:
        rows.append(("log", error.log))
    return rows


def shown_path(path: Path) -> str:
    """Return the path relative to the current folder where that is shorter."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def as_json(report: JobReport) -> dict[str, Any]:
    """Return the job as `ui=json` prints it."""
    from mlkit_build.bundle.manifest import metric_entries

    error = report.error
    return {
        "recipe": report.recipe,
        "variant": report.variant,
        "status": report.status,
        "exit_code": int(report.exit_code),
        "bundle": str(report.bundle) if report.bundle else None,
        "size_bytes": report.size_bytes,
        "metrics": to_plain(metric_entries(report.metrics or {})),
        "gates": to_plain(report.gates),
        "unjudged": to_plain(report.unjudged),
        "hops": to_plain(report.hops),
        "latency": to_plain(report.latency),
        "runtimes": to_plain(report.runtimes),
        "actions": [
            {
                "name": result.action.name,
                "stage": result.action.stage,
                "key": result.key,
                "cached": result.cached,
                "seconds": round(result.seconds, 3),
                "reason": result.reason,
            }
            for result in report.actions
        ],
        "seconds": round(report.seconds, 3),
        "stage": report.stage,
        "error": None
        if error is None
        else {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "log": error.log},
    }
