"""`provenance.json`: how, where and when. An in-toto Statement v1 with a SLSA provenance v1 predicate.

Fields: https://in-toto.io/Statement/v1 and https://slsa.dev/spec/v1.0/provenance; docs/provenance.md says what is in them here.
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlkit_build import __version__
from mlkit_build.bundle.manifest import FileEntry, Manifest
from mlkit_build.engine.action import Result
from mlkit_build.engine.toolchain import ABSENT, NO_PACKAGES, installed_name, purl
from mlkit_build.plain import pretty, to_plain
from mlkit_build.timing import Timing

BUILD_TYPE = "urn:mlkit-build:build:v1"
_WITHOUT_SCHEME = re.compile(r"(?P<host>(?:[^@/:]+@)?[^/:]+):(?!//)(?P<path>.+)")
"""How git names a repository for ssh: `git@example.org:a/b.git`. A single letter before the colon is a drive."""


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
        folder: The recipe's folder, whose git repository is recorded.
        started: Seconds since the epoch.
        timing: How fast the model is on this machine.
    """
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
                    "resolvedDependencies": [
                        *({"name": entry.path, "digest": {"sha256": entry.sha256}} for entry in manifest.inputs),
                        *_repository(folder),
                        *_packages(manifest.toolchain),
                    ],
                },
                "runDetails": {
                    "builder": {
                        "id": f"urn:mlkit-build:host:{platform.node()}",
                        "version": {"mlkit-build": __version__},
                    },
                    "metadata": {"startedOn": _time(started), "finishedOn": _time(datetime.now(UTC).timestamp())},
                    **({"byproducts": [_timed(timing, results)]} if timing else {}),
                },
            },
        }
    )


def _repository(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the repository of the recipe, if it is in one."""
    git = git_state(folder)
    if git:
        place = {"uri": git["remote"]} if git["remote"] else {}
        yield {
            "name": "repository",
            **place,
            "digest": {"gitCommit": git["commit"]},
            "annotations": {"dirty": git["dirty"]},
        }


def _packages(toolchain: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the installed packages that decide bytes, each under the name that it is installed by."""
    for name, version in toolchain.items():
        if name not in NO_PACKAGES and version != ABSENT:
            installed = installed_name(name)
            yield {"name": installed, "uri": purl(installed, version), "annotations": {"version": version}}


def _timed(timing: Timing, results: Sequence[Result]) -> dict[str, Any]:
    """Return how fast the model is, by the file of the action that timed it."""
    digests = [result.outputs["latency.json"].sha256 for result in results if "latency.json" in result.outputs]
    digest = {"digest": {"sha256": digests[0]}} if digests else {}
    return {"name": "latency.json", **digest, "annotations": to_plain(timing)}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit, remote and dirtiness of the repository that `folder` is in, or None outside of one.

    The remote is a URI as SPDX and SLSA write it, `git+https://...`; None where there is none. Dirty is a repository with changes
    to files that it has, which composing may have read, or with files in `folder` that it does not have.
    """

    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return run.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return None
    remote = git("config", "--get", "remote.origin.url")
    changed = git("status", "--porcelain", "--untracked-files=no"), git("status", "--porcelain", "--", ".")
    return {
        "commit": commit,
        "remote": _uri(_without_password(remote)) if remote else None,
        "dirty": any(found != "" for found in changed),  # where git does not say, nobody may call it clean
    }


def _uri(remote: str) -> str:
    """Return a remote of git as a URI."""
    if "://" in remote:
        return f"git+{remote}"
    found = _WITHOUT_SCHEME.fullmatch(remote)
    if found and len(found["host"]) > 1:
        return f"git+ssh://{found['host']}/{found['path'].lstrip('/')}"
    return f"git+{Path(remote).absolute().as_uri()}"


def _without_password(remote: str) -> str:
    scheme, separator, rest = remote.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else remote


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
