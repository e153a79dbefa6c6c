"""`mlkit-build plan recipe=...`: what a build would run and why. Nothing is run, nothing is written."""

from __future__ import annotations

import json

from mlkit_build.config import Roots, compose
from mlkit_build.config.sweep import refuse_several
from mlkit_build.errors import ExitCode
from mlkit_build.report.screens import Quiet
from mlkit_build.verbs import VERBS
from mlkit_build.workflow import plan


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Print one line per action: whether it would be reused, and why not."""
    if {"--help", "-h"} & set(arguments):
        print(f"usage: mlkit-build {VERBS['plan'].usage}\n\n{VERBS['plan'].summary}")
        return ExitCode.OK
    refuse_several("plan", arguments)
    job = compose(arguments, roots)
    for warning in job.warnings:
        Quiet().warning(warning)
    decisions = plan(job, Quiet())
    if job.settings.ui == "json":
        for decision in decisions:
            action = decision.action
            print(
                json.dumps(
                    {
                        "name": action.name,
                        "stage": action.stage,
                        "hit": decision.hit,
                        "key": decision.key,
                        "reason": decision.reason,
                    }
                )
            )
        return ExitCode.OK
    print(f"{job.recipe.name}/{job.recipe.variant_name}")
    for decision in decisions:
        action = decision.action
        what = "reuse" if decision.hit else "run" if decision.key else "run?"
        print(f"  {action.stage:<9} {action.name:<10} {what:<6} {decision.reason}")
    misses = sum(not decision.hit for decision in decisions)
    print(
        f"{len(decisions) - misses} of {len(decisions)} actions are in the cache"
        + ("; run? depends on what comes before" if misses else "")
    )
    return ExitCode.OK
