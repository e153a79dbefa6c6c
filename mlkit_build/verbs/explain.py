"""`mlkit-build explain recipe=...`: why each action would run, by all that differs from what was built before."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mlkit_build.config import Roots, compose
from mlkit_build.config.sweep import refuse_several
from mlkit_build.engine import Decision
from mlkit_build.errors import ExitCode
from mlkit_build.job import Job
from mlkit_build.pipeline.wording import Worded, explained
from mlkit_build.report.screens import Quiet
from mlkit_build.verbs import VERBS
from mlkit_build.workflow import plan


def run(arguments: list[str], roots: Roots) -> ExitCode:
    """Print every action with the differences between it and the nearest earlier one. Nothing is run, nothing is written."""
    verb = VERBS["explain"]
    parser = argparse.ArgumentParser(prog="mlkit-build explain", description=f"{verb.summary[0].upper()}{verb.summary[1:]}.")
    parser.add_argument("overrides", nargs="+", metavar="key=value", help="recipe=NAME, and any other override of a build")
    parser.add_argument("--json", action="store_true", help="print a JSON object, with whole values and digests")
    refuse_several("explain", arguments)
    parsed = parser.parse_intermixed_args(arguments)
    job = compose(parsed.overrides, roots)
    for warning in job.warnings:
        Quiet().warning(warning)
    decisions = plan(job, Quiet(), explains=True)
    print(_as_json(job, decisions) if parsed.json or job.settings.ui == "json" else _as_text(job, decisions))
    return ExitCode.OK


def _as_text(job: Job, decisions: list[Decision]) -> str:
    lines = [f"{job.recipe.name}/{job.recipe.variant_name}"]
    for decision in decisions:
        what = "reuse" if decision.hit else "run" if decision.key else "run?"
        changes = explained(decision, job.recipe)
        why = "" if changes and decision.key else decision.reason
        lines.append(f"  {decision.action.name:<10} {what:<6} {why}".rstrip())
        lines += [f"    {change}" for change in changes]
    return "\n".join(lines)


def _as_json(job: Job, decisions: list[Decision]) -> str:
    return json.dumps(
        {
            "recipe": job.recipe.name,
            "variant": job.recipe.variant_name,
            "actions": [
                {
                    "name": decision.action.name,
                    "stage": decision.action.stage,
                    "hit": decision.hit,
                    "key": decision.key,
                    "reason": decision.reason,
                    "changes": [_change_as_json(change) for change in explained(decision, job.recipe)],
                }
                for decision in decisions
            ],
        },
        ensure_ascii=False,
    )


def _change_as_json(change: Worded) -> dict[str, Any]:
    stated = {"field": change.field, "kind": change.kind, "old": change.old, "new": change.new}
    return {**stated, "told": change.told} if change.told else stated
