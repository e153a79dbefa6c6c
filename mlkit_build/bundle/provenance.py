"""`provenance.json`: how, where and when. An in-toto Statement v1 with a SLSA provenance v1 predicate.

Fields: https://in-toto.io/Statement/v1 and https://slsa.dev/spec/v1.0/provenance; docs/provenance.md says what is in them here.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlkit_build import __version__
from mlkit_build.bundle.manifest import FileEntry, Manifest
from mlkit_build.bundle.repository import Repository
from mlkit_build.engine.action import Result
from mlkit_build.engine.toolchain import ABSENT, NO_PACKAGES, installed_name, purl
from mlkit_build.fetch.urls import argument_shown
from mlkit_build.plain import pretty, to_plain
from mlkit_build.timing import Timing

BUILD_TYPE = "urn:mlkit-build:build:v1"


def statement(
    manifest: Manifest,
    results: Sequence[Result],
    subjects: Sequence[FileEntry],
    repository: Repository | None,
    command: Sequence[str],
    started: float,
    timing: Timing | None = None,
) -> bytes:
    """Return the file's bytes.

    Args:
        subjects: Every file of the bundle that it speaks for, the manifest among them.
        repository: What the recipe is kept in, if it is in git.
        command: The command line; URLs in it are stated without secrets.
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
                        "command": list(map(argument_shown, command)),
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
                        *_repository(repository),
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


def _repository(found: Repository | None) -> Iterator[dict[str, Any]]:
    """Yield the repository of the recipe, if it is in one."""
    if found:
        yield {
            "name": "repository",
            **({"uri": found.remote} if found.remote else {}),
            "digest": {"gitCommit": found.commit},
            "annotations": {"dirty": found.dirty},
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


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
