"""Verdicts for machines: valid JUnit XML and Markdown for every outcome, whole or not there at all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mlkit_build.engine.action import Action, Result
from mlkit_build.errors import ConfigError, ExitCode, GateError, MlkitBuildError, SourceError, StageError, StoreError
from mlkit_build.gates import Limit, Verdict
from mlkit_build.job import JobReport, refused
from mlkit_build.metrics import Measurement
from mlkit_build.recipe import Settings
from mlkit_build.report.documents import STEP_SUMMARY, Documents, replace_file
from mlkit_build.report.github import github_summary
from mlkit_build.report.junit import STAGES, junit
from mlkit_build.report.summary import as_json
from mlkit_build.runtimes.verdicts import RuntimeVerdict
from tests.conftest import Workspace
from tests.promises.conftest import Command, command  # noqa: F401 - a fixture

HOSTILE = "a | b\n<script>&\x00\x1b `x` *y* _z_ ]]> é"
METRICS = {"size_bytes": Measurement(72400.0, lower_is_better=True), "top1": Measurement.share(90, 100, 95, lost=7)}
PASSED = Verdict("top1", "min", 0.8, 0.9, True, warning="the dataset is too small")
FAILED = Verdict("top1", "max_drop", 0.01, 0.05, False, evidence="5.00 points worse, 9 samples changed, p = 0.11")


def did(stage: str, seconds: float = 0.5, cached: bool = False) -> Result:
    return Result(Action(stage, stage, 1, "python", "m:f", {}, {}, ()), "0" * 64, {}, cached, seconds, "never built here")


def report(error: MlkitBuildError | None = None, stage: str = "", gates: Sequence[Verdict] = ()) -> JobReport:
    code = error.exit_code if error else ExitCode.OK
    status = {0: "built", 1: "failed", 2: "config_error", 3: "gate_failed"}[code]
    actions = tuple(did(name) for name in STAGES[1:] if not stage or STAGES.index(name) < STAGES.index(stage))
    return JobReport("mnist", "int8", status, code, None, 72400, METRICS, tuple(gates), actions, 3.25, error, stage)


def elsewhere(problem: str = "") -> RuntimeVerdict:
    metrics = {"top1": Measurement(0.89, 0.9), "sqnr_db": Measurement(56.5)}
    return RuntimeVerdict("tflite_runtime 2.14", {}, 100, not problem, problem, None, HOSTILE, metrics, ())


OUTCOMES = {
    "another runtime computes it": replace(report(gates=[PASSED]), runtimes=(elsewhere(),)),
    "another runtime refuses it": replace(report(GateError("gate failed: x"), gates=[PASSED]), runtimes=(elsewhere(HOSTILE),)),
    "built": report(gates=[PASSED]),
    "a gate failed": report(GateError("gate failed: top1", "red and blue [exchanged]"), gates=[PASSED, FAILED]),
    "a gate failed before the time": replace(
        report(GateError("gate failed: top1"), gates=[FAILED]), unjudged=(Limit("latency_ms", "max", 5.0),)
    ),
    "a value was not measured": report(GateError("validation.gates.top5: not measured")),
    "a stage failed": report(StageError(HOSTILE, HOSTILE, log="/logs/x"), "convert"),
    "a source is missing": report(SourceError("source.path: nothing there"), "load"),
    "a file has a name in no UTF-8": report(SourceError("dataset: caf\udce9.png: damaged", "mend caf\udce9.png"), "validate"),
    "asked for in no UTF-8": refused(ConfigError("recipe=caf\udce9: no such recipe"), ["recipe=caf\udce9"]),
    "not composed": refused(ConfigError(HOSTILE), ["recipe=mnist"]),
    "no recipe": refused(ConfigError("recipe: none given"), []),
}


def check_junit(data: bytes) -> ET.Element:
    """Check what Jenkins' schema of JUnit XML demands: elements, their order, their attributes and their counts."""
    root = ET.fromstring(data)
    assert root.tag == "testsuites"
    suites = list(root)
    for key in ("tests", "failures", "errors"):
        assert int(root.attrib[key]) == sum(int(suite.attrib[key]) for suite in suites)
    for suite in suites:
        assert suite.tag == "testsuite"
        assert set(suite.attrib) == {"name", "tests", "failures", "errors", "skipped", "time"}
        assert [child.tag for child in suite] == sorted((child.tag for child in suite), key=["properties", "testcase"].index)
        assert all(set(item.attrib) == {"name", "value"} for item in suite.iterfind("properties/property"))
        cases = suite.findall("testcase")
        assert len({(case.attrib["classname"], case.attrib["name"]) for case in cases}) == len(cases)
        for case in cases:
            assert set(case.attrib) == {"classname", "name", "time"}
            assert float(case.attrib["time"]) >= 0
            assert [child.tag for child in case] in ([], ["skipped"], ["error"], ["failure"], ["system-out"])
            assert all(set(child.attrib) == {"message", "type"} for child in case if child.tag in ("error", "failure"))
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[key]) == sum(case.find(tag) is not None for case in cases)
        assert int(suite.attrib["tests"]) == len(cases)
    return root


def check_table(markdown: str) -> list[list[list[str]]]:
    """Return the cells of every table, after checking that each is one: as many cells in each row, a blank line before."""
    tables: list[list[list[str]]] = []
    lines = ["", *markdown.split("\n")]
    for before, line in pairwise(lines):
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not before.startswith("|"):
            assert before == ""
            tables.append([])
        tables[-1].append(cells)
        assert len(cells) == len(tables[-1][0])
    for table in tables:
        assert set(table[1]) == {"---"}
    return tables


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_is_valid_junit_and_a_table(outcome: str) -> None:
    one = OUTCOMES[outcome]
    suite = check_junit(junit([one]))[0]
    broken = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    assert (broken > 0) == (one.exit_code != 0)
    tables = check_table(github_summary([one]))
    assert len(tables) == (2 if one.metrics else 1)
    assert ("❌" in tables[0][2][1]) == (one.exit_code != 0)


def test_a_sweep_is_one_document() -> None:
    root = check_junit(junit(list(OUTCOMES.values())))
    assert len(root) == len(OUTCOMES)
    (table, *_) = check_table(github_summary(list(OUTCOMES.values())))
    assert len(table) == 2 + len(OUTCOMES)
    assert github_summary(list(OUTCOMES.values())).startswith("### mlkit-build: 10 of 12 builds failed\n")


def test_a_failed_gate_is_a_failure_with_its_evidence_and_packaging_is_skipped() -> None:
    root = check_junit(junit([OUTCOMES["a gate failed"]]))
    (failure,) = root.iterfind(".//failure")
    assert failure.attrib["message"] == (
        f"top1: 0.9 is a drop of 0.05 from TensorFlow's 0.95, expected at most 0.01 ({FAILED.evidence})"
    )
    assert failure.text == "hint: red and blue [exchanged]"
    assert r"gate failed: top1<br>red and blue \[exchanged\] |" in github_summary([OUTCOMES["a gate failed"]])
    assert [case.attrib["name"] for case in root.iterfind(".//testcase[skipped]")] == ["package"]
    assert "the dataset is too small" in "".join(text.text or "" for text in root.iterfind(".//system-out"))


def test_a_gate_that_was_not_judged_is_skipped_and_is_not_among_the_judged(workspace: Workspace) -> None:
    workspace.copy("add_one")
    limits = {"size_bytes": {"max": 10}, "latency_ms": {"max": 1000}}
    workspace.edit("add_one", {"validation.gates": limits})
    root = check_junit(junit([one := workspace.build("recipe=add_one")]))
    skipped = [case.attrib["name"] for case in root.iterfind(".//testcase[skipped]")]
    assert skipped == ["package", "latency_ms max 1000"]
    told = as_json(one)
    assert [gate["metric"] for gate in told["gates"]] == ["size_bytes"]
    assert told["unjudged"] == [{"metric": "latency_ms", "limit": "max", "threshold": 1000}]
    workspace.edit("add_one", {"validation.gates": {**limits, "size_bytes": {"max": 10_000}}})
    root = check_junit(junit([one := workspace.build("recipe=add_one")]))
    assert (root.findall(".//testcase[skipped]"), as_json(one)["unjudged"]) == ([], [])


def test_another_runtime_that_refuses_the_model_is_a_failure_of_its_own() -> None:
    root = check_junit(junit([OUTCOMES["another runtime refuses it"]]))
    (case,) = root.iterfind(".//testcase[failure]")
    assert (case.attrib["name"], case.attrib["classname"]) == ("tflite_runtime 2.14", "mnist.int8.runtimes")
    (told,) = check_junit(junit([OUTCOMES["another runtime computes it"]])).iterfind(".//testcase[@name='tflite_runtime 2.14']")
    assert "top-1 accuracy 89.00% (the newest 90.00%)" in "".join(text.text or "" for text in told)


def test_the_stage_that_failed_is_the_error_and_those_after_it_were_not_reached() -> None:
    root = check_junit(junit([OUTCOMES["a stage failed"]]))
    assert [case.attrib["name"] for case in root.iterfind(".//testcase[error]")] == ["convert"]
    assert [case.attrib["name"] for case in root.iterfind(".//testcase[skipped]")] == ["validate", "package"]
    (error,) = root.iterfind(".//error")
    assert error.attrib["type"] == "StageError"
    assert "log: /logs/x" in (error.text or "")


def test_a_stage_that_ran_has_its_seconds_and_a_reused_one_none() -> None:
    one = JobReport("mnist", "int8", "built", ExitCode.OK, actions=(did("freeze", 1.5), did("convert", 2, cached=True)))
    times = {case.attrib["name"]: case.attrib["time"] for case in check_junit(junit([one])).iterfind(".//testcase")}
    assert (times["freeze"], times["convert"]) == ("1.500", "0.000")


def test_a_hostile_text_stays_a_text_in_markdown() -> None:
    text = github_summary([OUTCOMES["not composed"]])
    assert "<script>" not in text
    assert r"a \| b<br>&lt;script&gt;" in text
    assert r"\`x\` \*y\* \_z\_" in text


def test_a_file_is_replaced_whole_and_a_steps_summary_is_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = tmp_path / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv(STEP_SUMMARY, str(step))
    Documents.of(Settings(github_summary="auto", junit=str(tmp_path / "new" / "j.xml"))).write([OUTCOMES["built"]])
    assert step.read_text(encoding="utf-8") == "before\n" + github_summary([OUTCOMES["built"]])
    Documents.of(Settings(github_summary=str(step))).write([OUTCOMES["built"]])
    assert step.read_text(encoding="utf-8") == github_summary([OUTCOMES["built"]])
    check_junit((tmp_path / "new" / "j.xml").read_bytes())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["j.xml", "new", "step.md"]


def test_the_steps_summary_is_written_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STEP_SUMMARY, str(tmp_path / "step.md"))
    Documents.of(Settings()).write([OUTCOMES["built"]])
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv(STEP_SUMMARY)
    with pytest.raises(ConfigError, match="GITHUB_STEP_SUMMARY names, and it is not set"):
        Documents.of(Settings(github_summary="auto"))


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "j.xml").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match=r"junit: .*j\.xml cannot be written: No space left on device"):
        Documents.of(Settings(junit=str(tmp_path / "j.xml"))).write([OUTCOMES["built"]])
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("j.xml", "old")]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old.xml").write_text("old")
    for name in ("old.xml", "new.xml"):
        link = tmp_path / f"to-{name}"
        link.symlink_to(Path("there") / name)
        replace_file("junit", link, b"new")
        assert link.is_symlink()
        assert (tmp_path / "there" / name).read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new.xml", "old.xml", "there", "to-new.xml", "to-old.xml"]


def test_a_pipe_is_written_to_and_one_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with pytest.raises(StoreError, match=r"junit: .*pipe cannot be written: nobody reads that pipe"):
        replace_file("junit", pipe, b"x")
    data = b"0123456789" * 20_000  # more than a pipe holds
    for path in (pipe, link):
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        writer = threading.Thread(target=replace_file, args=("junit", path, data))
        writer.start()
        os.set_blocking(reading, True)
        with os.fdopen(reading, "rb") as file:
            found = b""
            while len(found) < len(data):
                found += file.read1()
        writer.join()
        assert found == data
    assert pipe.is_fifo()
    assert link.is_symlink()


def test_standard_output_is_written_to_where_it_stands(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from mlkit_build.report.documents import replace_file; print('before');"
        "replace_file('junit', Path('/dev/stdout'), b'document\\n'); print('after')"
    )
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out").read_text() == "before\ndocument\nafter\n"
    piped = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"before\ndocument\nafter\n"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(StoreError, match="junit: expected a file, found the folder"):
            replace_file("junit", path, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_builds_that_pass_fail_and_cannot_be_composed_all_leave_their_documents(
    workspace: Workspace,
    command: Command,  # noqa: F811
) -> None:
    workspace.copy("add_one")
    asked = ("junit=out/j.xml", "github_summary=out/s.md", "ui=quiet")
    file = workspace.folder / "out/j.xml"

    def failed() -> list[str]:
        root = check_junit(file.read_bytes())
        return [
            case.attrib["name"]
            for case in root.iterfind(".//testcase")
            if case.find("error") is not None or case.find("failure") is not None
        ]

    assert command("recipe=add_one", *asked)[0] == 0
    assert failed() == []
    workspace.edit("add_one", {"validation.gates.size_bytes": {"max": 10}})
    assert command("recipe=add_one", *asked)[0] == 3
    assert failed() == ["size_bytes max 10"]
    assert command("-m", "recipe=add_one", "quantization=float32,float16", *asked)[0] == 3
    assert failed() == ["size_bytes max 10"] * 2
    assert command("recipe=add_one", "quantization.mode=int9", *asked)[0] == 2
    assert failed() == ["configuration"]
    assert "❌ not built" in (workspace.folder / "out/s.md").read_text(encoding="utf-8")
    workspace.edit("add_one", {"source.path": "nothing.pb"})
    code, out, _ = command("recipe=add_one", "ui=json", "junit=out/j.xml")
    assert (code, json.loads(out)["stage"]) == (2, "load")
    assert failed() == ["load"]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_is_written_in_utf8(outcome: str, tmp_path: Path) -> None:
    Documents(tmp_path / "a.xml", tmp_path / "a.md").write([OUTCOMES[outcome]])
    check_junit((tmp_path / "a.xml").read_bytes())
    text = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert ("caf\\\\udce9" in text) == ("UTF-8" in outcome)  # the backslash itself is escaped for Markdown
