"""What lint found, as lines to read, as JSON, and as SARIF for a CI system's code scanning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from mlkit_build.mlkit.contract import RULES, WARNING, Finding, Rule

SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_HOME = "https://github.com/tensorflow/tflite-support"
Findings = Mapping[str, tuple[Finding, ...]]
"""Path -> what is wrong with the file."""
Unread = Mapping[str, str]
"""Path -> why the file cannot be read."""
_ALL_READ: Unread = {}


def text(findings: Findings) -> str:
    """Return a paragraph per finding and a line per file."""
    lines = []
    for path, found in findings.items():
        for each in found:
            lines.append(f"{path}: {each.rule.severity}: expected {each.rule.expected}, found {each.found} [{each.rule.id}]")
            lines += [f"  ML Kit says: {each.says}"] if each.says else []
            lines += [f"  why: {each.rule.why}", f"  fix: {each.fix}"]
        lines.append(f"{path}: {_counted(found)}")
    return "\n".join(lines)


def as_json(findings: Findings, target: str, unread: Unread = _ALL_READ) -> str:
    """Return one object: `target`, and `files` with `path`, `errors`, `warnings`, `findings`; of one that cannot be read, behind
    the others, `path` and `error`."""
    files = [
        {
            "path": path,
            "errors": _count(found, warnings=False),
            "warnings": _count(found, warnings=True),
            "findings": [_plain(each) for each in found],
        }
        for path, found in findings.items()
    ]
    lost = [{"path": path, "error": reason} for path, reason in unread.items()]
    return json.dumps({"target": target, "files": [*files, *lost]}, ensure_ascii=False)


def sarif(findings: Findings, version: str, unread: Unread = _ALL_READ) -> str:
    """Return a SARIF 2.1.0 log with one run, which lists every rule and a result for each finding.

    What cannot be read is told as a notification of the tool's invocation (section 3.20.21), which then did not succeed.

    Args:
        version: Of mlkit-build.
    """
    places = {rule.id: index for index, rule in enumerate(RULES)}
    driver = {"name": "mlkit-build", "version": version, "rules": [_rule(rule) for rule in RULES]}
    results = [
        {
            "ruleId": each.rule.id,
            "ruleIndex": places[each.rule.id],
            "level": each.rule.severity,
            "message": {"text": f"{each.told.rstrip('.')}. Fix: {each.fix}."},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(path)}}}],
        }
        for path, found in findings.items()
        for each in found
    ]
    lost = [
        {
            "level": "error",
            "message": {"text": f"{path}: {reason}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(path)}}}],
        }
        for path, reason in unread.items()
    ]
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": not lost, "toolExecutionNotifications": lost}],
        "artifacts": [{"location": {"uri": _uri(path)}} for path in findings],
        "results": results,
    }
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2)


def _rule(rule: Rule) -> dict[str, Any]:
    help_text = " ".join(filter(None, [rule.why, *(f"ML Kit says: {says}" for says in rule.says), f"Fix: {rule.fix}."]))
    return {
        "id": rule.id,
        "shortDescription": {"text": f"Expected: {rule.expected}."},
        "fullDescription": {"text": rule.why},
        "help": {"text": help_text},
        "helpUri": _HOME,
        "defaultConfiguration": {"level": rule.severity},
    }


def _plain(each: Finding) -> dict[str, str]:
    rule = each.rule
    told = {"rule": rule.id, "severity": rule.severity, "expected": rule.expected, "found": each.found, "says": each.says}
    return {**told, "why": rule.why, "fix": each.fix, "source": rule.source}


def _uri(path: str) -> str:
    """Return the path as SARIF wants it: relative where it is, without a letter that a URI does not have."""
    place = PurePath(path)
    return place.as_uri() if place.is_absolute() else quote(place.as_posix())


def _count(found: tuple[Finding, ...], *, warnings: bool) -> int:
    return sum((each.rule.severity == WARNING) == warnings for each in found)


def _counted(found: tuple[Finding, ...]) -> str:
    counts = [(_count(found, warnings=False), "error"), (_count(found, warnings=True), "warning")]
    told = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count]
    return ", ".join(told) or "keeps every rule"
