"""`<output_dir>/sweeps/<id>/summary.json` and `summary.html`, and `sweeps/latest`: each file appears whole or not at all.

What a sweep came to is the same for equal inputs; what varies from run to run (times, what was reused) is in the part `run`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlkit_build.bundle.manifest import metric_entries
from mlkit_build.plain import pretty, to_plain
from mlkit_build.printable import in_utf8
from mlkit_build.sweep.outcome import Choice, Outcome, Row

SCHEMA = "mlkit-build/sweep/v1"
FOLDER = "sweeps"
LATEST = "latest"
JSON = "summary.json"
PAGE = "summary.html"


def write(outcome: Outcome, sweeps: Path, warn: Callable[[str], object] = lambda text: None) -> Path:
    """Write the summary below `sweeps` and let `latest` name it, or warn that it does not; return its folder.

    Raises:
        OSError: The folder cannot be written.
    """
    from mlkit_build.report.sweep_page import render

    folder = sweeps / outcome.id
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / JSON, lambda path: path.write_bytes(pretty(as_json(outcome, sweeps.parent))))
    _replace(folder / PAGE, lambda path: path.write_text(in_utf8(render(outcome, folder)), encoding="utf-8"))
    try:
        _point(sweeps / LATEST, outcome.id)
    except OSError as error:
        warn(f"{sweeps / LATEST}: cannot be made to name {outcome.id}: {error.strerror or error}; move what is there away")
    return folder


def as_json(outcome: Outcome, output_dir: Path) -> dict[str, Any]:
    """Return the content of `summary.json`; paths are relative to `output_dir`."""
    return {
        "schema": SCHEMA,
        "id": outcome.id,
        "exit_code": int(outcome.exit_code),
        "jobs": [_row(row, output_dir) for row in outcome.rows],
        "selected": [_choice(choice, output_dir) for choice in outcome.choices],
        "run": {
            "started": datetime.fromtimestamp(outcome.started, UTC).isoformat(timespec="seconds"),
            "seconds": round(outcome.seconds, 3),
            "jobs": [
                {
                    "status": row.report.status,
                    "seconds": round(row.report.seconds, 3),
                    "ran": [result.action.name for result in row.report.actions if not result.cached],
                    "reused": [result.action.name for result in row.report.actions if result.cached],
                    "latency": to_plain(row.report.latency),
                    "log": row.report.error.log if row.report.error else "",
                }
                for row in outcome.rows
            ],
        },
    }


def _row(row: Row, output_dir: Path) -> dict[str, Any]:
    report, error = row.report, row.report.error
    return {
        "recipe": report.recipe,
        "variant": report.variant,
        "overrides": list(row.overrides),
        "passed": row.passed,
        "exit_code": int(report.exit_code),
        "bundle": _relative(report.bundle, output_dir),
        "size_bytes": report.size_bytes,
        "quality": None
        if row.quality is None
        else {
            "metric": row.quality.metric,
            "higher_is_better": row.quality.higher_is_better,
            **to_plain(metric_entries({"value": row.quality.found})["value"]),
        },
        "pareto": row.pareto,
        "metrics": to_plain(metric_entries(report.metrics or {})),
        "gates": to_plain(report.gates),
        "error": None if error is None else {"kind": type(error).__name__, "message": error.message, "hint": error.hint},
    }


def _choice(choice: Choice, output_dir: Path) -> dict[str, Any]:
    return {
        "recipe": choice.recipe,
        "by": choice.by,
        "variant": choice.variant,
        "bundle": _relative(choice.place, output_dir),
        "error": choice.error.message if choice.error else None,
    }


def _relative(path: Path | None, output_dir: Path) -> str | None:
    if path is None:
        return None
    return Path(os.path.relpath(path, output_dir)).as_posix()


def _point(latest: Path, name: str) -> None:
    """Let `latest` be a link to the folder `name` beside it; where links cannot be made, a text file with its name."""
    try:
        _replace(latest, lambda path: path.symlink_to(name, target_is_directory=True))
    except OSError:
        _replace(latest, lambda path: path.write_text(f"{name}\n", encoding="utf-8"))


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    """Have `write` make a file beside `target`, and put it there in one step."""
    made = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        write(made)
        if not made.is_symlink():
            with made.open("rb") as file:
                os.fsync(file.fileno())
        made.replace(target)
    finally:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
