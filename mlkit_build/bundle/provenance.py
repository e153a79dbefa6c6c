"""`provenance.json`: how, where and when. An in-toto Statement v1 with a SLSA provenance v1 predicate.

Fields: https://in-toto.io/Statement/v1 and https://slsa.dev/spec/v1.0/provenance.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlkit_build import __version__
from mlkit_build.bundle.manifest import FileEntry, Manifest
from mlkit_build.engine.action import Result
from mlkit_build.plain import pretty, to_plain
from mlkit_build.timing import Timing

BUILD_TYPE = "urn:mlkit-build:build:v1"


def statement(
    manifest: Manifest,
    results: Sequence[Result],
    subjects: Sequence[FileEntry],
    folder: Path,
    command: Sequence[str],
    started: float,
    timing: Timing | None = None,
) -> bytes:
    """Return the file's bytes.

    Args:
        subjects: Every file of the bundle that it speaks for, the manifest among them.
        folder: The recipe's folder, whose git commit is recorded.
        started: Seconds since the epoch.
        timing: How fast the model is on this machine.
    """
    dependencies: list[dict[str, Any]] = [{"name": entry.path, "digest": {"sha256": entry.sha256}} for entry in manifest.inputs]
    git = git_state(folder)
    if git:
        dependencies.append(
            {"uri": git["remote"], "digest": {"gitCommit": git["commit"]}, "annotations": {"dirty": git["dirty"]}}
        )
    return pretty(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": entry.path, "digest": {"sha256": entry.sha256}} for entry in subjects],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "recipe": manifest.name,
                        "variant": manifest.variant,
                        "command": list(command),
                    },
                    "internalParameters": {
                        "toolchain": manifest.toolchain,
                        "actions": [
                            {
                                "name": result.action.name,
                                "key": result.key,
                                "cached": result.cached,
                                "seconds": round(result.seconds, 3),
                                "reason": result.reason,
                            }
                            for result in results
                        ],
                    },
                    "resolvedDependencies": dependencies,
                },
                "runDetails": {
                    "builder": {
                        "id": f"urn:mlkit-build:host:{platform.node()}",
                        "version": {"mlkit-build": __version__},
                    },
                    "metadata": {"startedOn": _time(started), "finishedOn": _time(datetime.now(UTC).timestamp())},
                    **({"byproducts": [{"name": "latency.json", "annotations": to_plain(timing)}]} if timing else {}),
                },
            },
        }
    )


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit, remote and dirtiness of the repository that `folder` is in, or None outside of one."""

    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return run.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return None
    remote = git("config", "--get", "remote.origin.url") or "urn:git:no-remote"
    return {
        "commit": commit,
        "remote": _without_password(remote),
        "dirty": bool(git("status", "--porcelain", "--", ".")),
    }


def _without_password(remote: str) -> str:
    scheme, separator, rest = remote.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else remote


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
