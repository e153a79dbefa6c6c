"""Verdicts as JUnit XML, which CI systems show: a suite per recipe and variant, a case per stage, gate and runtime.

In the form of Jenkins' schema (`jenkins-junit.xsd` of its xunit plugin), which GitLab, GitHub actions and Buildkite read too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from mlkit_build.errors import GateError, MlkitBuildError
from mlkit_build.report import summary

if TYPE_CHECKING:
    from mlkit_build.gates import Limit, Verdict
    from mlkit_build.job import JobReport

STAGES = ("load", "freeze", "convert", "validate", "package")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, section 2.2."""


def junit(reports: Sequence[JobReport]) -> bytes:
    """Return the document of all jobs, in their order."""
    root = ET.Element("testsuites", name="mlkit-build")
    suites = [_suite(root, report) for report in reports]
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, 0)) for suite in suites)))
    root.set("time", f"{sum(report.seconds for report in reports):.3f}")
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _suite(root: ET.Element, report: JobReport) -> ET.Element:
    suite = ET.SubElement(root, "testsuite", name=_text(summary.job_name(report)), time=f"{report.seconds:.3f}")
    if report.metrics:
        properties = ET.SubElement(suite, "properties")
        for name, found in report.metrics.items():
            ET.SubElement(properties, "property", name=_text(name), value=f"{found.value:g}")
    _stages(suite, report)
    for verdict in report.gates:
        _gate(suite, report, verdict)
    for limit in report.unjudged:
        ET.SubElement(_gate_case(suite, report, limit), "skipped", message="not reached")
    for runtime in report.runtimes:
        case = _case(suite, report, "runtimes", runtime.runtime)
        if not runtime.passed:
            ET.SubElement(case, "failure", message=_text(str(runtime)), type="GateError").text = _text(runtime.hint)
        else:
            ET.SubElement(case, "system-out").text = _text(summary.runtime_text(runtime))
    broken = any(not verdict.passed for verdict in report.gates) or any(not found.passed for found in report.runtimes)
    if isinstance(report.error, GateError) and not broken:  # a value was not measured
        _told(_case(suite, report, "gates", "gates"), "failure", report.error)
    for key, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("errors", "testcase/error")):
        suite.set(key, str(len(suite.findall(tag))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    return suite


def _stages(suite: ET.Element, report: JobReport) -> None:
    """Add a case for each stage: passed, failed, or not reached."""
    error = None if isinstance(report.error, GateError) else report.error
    if error is not None and not report.stage:  # there is nothing to build yet
        _told(_case(suite, report, "stages", "configuration"), "error", error)
    reached: tuple[str, ...] = STAGES if report.error is None else STAGES[:-1] if error is None else ()
    if report.stage:
        reached = STAGES[: STAGES.index(report.stage) + 1]
    for stage in STAGES:
        seconds = sum(result.seconds for result in report.actions if result.action.stage == stage and not result.cached)
        case = _case(suite, report, "stages", stage, seconds)
        if error is not None and stage == report.stage:
            _told(case, "error", error)
        elif stage not in reached:
            ET.SubElement(case, "skipped", message="a gate failed" if error is None else "not reached")


def _gate(suite: ET.Element, report: JobReport, verdict: Verdict) -> None:
    case = _gate_case(suite, report, verdict)
    if not verdict.passed:
        hint = f"hint: {report.error.hint}" if report.error and report.error.hint else ""
        told = "\n".join(filter(None, (verdict.warning, hint)))
        ET.SubElement(case, "failure", message=_text(summary.told(report, verdict)), type="GateError").text = _text(told)
    else:
        ET.SubElement(case, "system-out").text = _text("\n".join(filter(None, (summary.told(report, verdict), verdict.warning))))


def _gate_case(suite: ET.Element, report: JobReport, limit: Limit | Verdict) -> ET.Element:
    return _case(suite, report, "gates", f"{limit.metric} {limit.limit} {limit.threshold:g}")


def _case(suite: ET.Element, report: JobReport, group: str, name: str, seconds: float = 0.0) -> ET.Element:
    place = ".".join(part.replace(".", "_") for part in (report.recipe or "mlkit-build", report.variant, group))
    return ET.SubElement(suite, "testcase", classname=_text(place), name=_text(name), time=f"{seconds:.3f}")


def _told(case: ET.Element, tag: str, error: MlkitBuildError) -> None:
    text = "\n".join(f"{title}: {said}" for title, said in summary.error_lines(error))
    ET.SubElement(case, tag, message=_text(error.message), type=type(error).__name__).text = _text(text)


def _text(value: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value)
