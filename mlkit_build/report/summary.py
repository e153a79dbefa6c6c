"""A finished job in a few lines that a person wants to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import MlkitBuildError
from mlkit_build.gates import Verdict
from mlkit_build.metrics import Measurement
from mlkit_build.plain import to_plain
from mlkit_build.tflite import FLEX

if TYPE_CHECKING:
    from mlkit_build.job import JobReport

SHARES = {"top1", "top1_agreement"}
"""Values that are shares of samples and read best as percentages."""

TITLES = {
    "top1": "top-1 accuracy",
    "top1_agreement": "top-1 agreement",
    "max_abs_error": "max absolute error",
    "cosine": "cosine similarity",
    "size_bytes": "model size",
}


def number(name: str, value: float) -> str:
    """Return a measured value with its unit."""
    if name in SHARES:
        return f"{100 * value:.2f}%"
    if name == "size_bytes":
        return size(int(value))
    return f"{value:.6f}" if name == "cosine" else f"{value:.4g}"


def difference(name: str, value: float) -> str:
    """Return a drop with its unit."""
    return f"{100 * value:.2f} points" if name in SHARES else f"{value:.4g}"


def size(size_bytes: int) -> str:
    """Return a number of bytes for people, in units of 1000."""
    amount, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{size_bytes} B" if unit == "B" else f"{amount:.1f} {unit}"


def verdict_text(verdict: Verdict) -> str:
    """Return one judged limit: what it demands and whether it holds."""
    shown = difference if verdict.limit == "max_drop" else number
    relation = {"min": "at least", "max": "at most", "max_drop": "drop at most"}[verdict.limit]
    return f"{relation} {shown(verdict.metric, verdict.threshold)} {'ok' if verdict.passed else 'FAILED'}"


def metric_text(name: str, found: Measurement, verdicts: Sequence[Verdict] = ()) -> str:
    """Return a measured value beside TensorFlow's, with its gates."""
    parts = [number(name, found.value)]
    if found.reference is not None and found.drop is not None:
        parts.append(f"(TensorFlow {number(name, found.reference)}, drop {difference(name, found.drop)})")
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
    compared = [name for name in values if name != "size_bytes" and not name.startswith(FLEX)]
    return "" if compared else "not measured: the recipe has no dataset, so nothing was compared with TensorFlow"


def headline(report: JobReport) -> str:
    """Return what came of the job in one line."""
    ran = sum(not result.cached for result in report.actions)
    did = f"{ran} ran, {len(report.actions) - ran} reused"
    words = {
        "built": f"built in {report.seconds:.1f} s ({did})",
        "unchanged": f"nothing to do, the bundle is up to date ({report.seconds:.2f} s)",
        "gate_failed": "gate failed, nothing packaged",
        "failed": "failed",
        "config_error": "not built",
    }
    return f"{job_name(report)}: {words[report.status]}"


def job_name(report: JobReport) -> str:
    """Return `recipe/variant`."""
    return f"{report.recipe}/{report.variant}" if report.recipe else "(no recipe)"


def lines(report: JobReport) -> list[tuple[str, str]]:
    """Return (title, text) pairs of everything worth saying below the headline."""
    rows = []
    for name, found in (report.metrics or {}).items():
        rows.append((TITLES.get(name, name), metric_text(name, found, report.gates)))
    if report.metrics and (missing := not_measured(report.metrics)):
        rows.append(("accuracy", missing))
    if report.bundle is not None:
        rows.append(("bundle", shown_path(report.bundle)))
    return rows


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
        "error": None
        if error is None
        else {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "log": error.log},
    }
