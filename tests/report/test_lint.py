"""SARIF as its standard wants it, JSON as the documentation says it, and text that names everything.

No copy of the standard's schema is at hand: what follows are its demands on what is written here (SARIF 2.1.0, sections 3.13 to
3.52, OASIS), member by member, so that a member that is misspelt or new fails.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from mlkit_build.mlkit.contract import RULES, lint
from mlkit_build.report.lint import SARIF, as_json, sarif, text
from tests.mlkit.contract.cases import CASES

FINDINGS = {f"models/{name}.tflite": lint(case.make(), "image_labeling") for name, case in CASES.items()}
ALLOWED = {
    "log": {"$schema", "version", "runs"},
    "run": {"tool", "invocations", "artifacts", "results"},
    "driver": {"name", "version", "rules"},
    "rule": {"id", "shortDescription", "fullDescription", "help", "helpUri", "defaultConfiguration"},
    "result": {"ruleId", "ruleIndex", "level", "message", "locations"},
}
URI = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


@pytest.fixture(scope="module")
def log() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sarif(FINDINGS, "1.2.3"))
    return found


def test_a_log_has_one_run_by_one_tool(log: dict[str, Any]) -> None:
    assert set(log) == ALLOWED["log"]
    assert (log["$schema"], log["version"]) == (SARIF, "2.1.0")
    (run,) = log["runs"]
    assert set(run) == ALLOWED["run"]
    assert set(run["tool"]) == {"driver"}
    assert set(run["tool"]["driver"]) == ALLOWED["driver"]
    assert run["tool"]["driver"]["version"] == "1.2.3"


def test_every_rule_is_described_once(log: dict[str, Any]) -> None:
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in RULES]
    for rule in rules:
        assert set(rule) == ALLOWED["rule"]
        for part in ("shortDescription", "fullDescription", "help"):
            assert set(rule[part]) == {"text"}
            assert rule[part]["text"].endswith((".", "fail"))
        assert rule["defaultConfiguration"]["level"] in ("error", "warning")
        assert rule["helpUri"].startswith("https://")


def test_every_finding_is_a_result_at_its_file(log: dict[str, Any]) -> None:
    run = log["runs"][0]
    places = {artifact["location"]["uri"] for artifact in run["artifacts"]}
    assert len(run["results"]) == sum(map(len, FINDINGS.values()))
    assert len(places) == len(FINDINGS)
    for result in run["results"]:
        assert set(result) == ALLOWED["result"]
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert set(result["message"]) == {"text"}
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert uri in places
        assert URI.fullmatch(uri)


def test_a_file_that_cannot_be_read_is_in_every_report() -> None:
    unread = {"gone é.tflite": "cannot be read: No such file or directory"}
    found = json.loads(as_json({"a.tflite": ()}, "custom", unread))
    assert found["files"][1:] == [{"path": "gone é.tflite", "error": "cannot be read: No such file or directory"}]
    (run,) = json.loads(sarif({"a.tflite": ()}, "1", unread))["runs"]
    (invocation,) = run["invocations"]
    (notification,) = invocation["toolExecutionNotifications"]
    assert invocation["executionSuccessful"] is False
    assert (notification["level"], notification["message"]["text"]) == (
        "error", "gone é.tflite: cannot be read: No such file or directory",
    )  # fmt: skip
    (location,) = notification["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "gone%20%C3%A9.tflite"


def test_a_run_that_read_every_file_succeeded(log: dict[str, Any]) -> None:
    assert log["runs"][0]["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]


def test_json_says_what_text_says() -> None:
    found = json.loads(as_json(FINDINGS, "image_labeling"))
    page = text(FINDINGS)
    assert found["target"] == "image_labeling"
    for file in found["files"]:
        assert file["errors"] + file["warnings"] == len(file["findings"])
        for each in file["findings"]:
            line = f"{file['path']}: {each['severity']}: expected {each['expected']}, found {each['found']} [{each['rule']}]"
            assert line in page.splitlines()
            assert f"  fix: {each['fix']}" in page.splitlines()


def test_a_file_without_a_fault_is_told_in_a_line() -> None:
    assert text({"a.tflite": ()}) == "a.tflite: keeps every rule"
