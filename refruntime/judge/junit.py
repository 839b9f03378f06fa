"""Write a judgement as JUnit XML: a test case for each stage."""

from __future__ import annotations

from xml.etree import ElementTree

from refruntime.judge.verdict import EngineJudgement, StageVerdict
from refruntime.visible import printable


def judgement_junit(judgement: EngineJudgement) -> bytes:
    """Return one `testsuite`; what blames the engine is a `failure`, what was not asked is `skipped`."""
    findings = judgement.findings
    suite = ElementTree.Element(
        "testsuite",
        name=f"refruntime judge {printable(judgement.source)}",
        tests=str(len(findings)),
        failures=str(sum(not finding.fine for finding in findings)),
        skipped=str(sum(finding.verdict is StageVerdict.NOT_ASKED for finding in findings)),
    )
    for finding in findings:
        case = ElementTree.SubElement(suite, "testcase", classname="judge", name=finding.stage)
        message = printable(f"{finding.verdict}: {finding.text}")
        if finding.verdict is StageVerdict.NOT_ASKED:
            ElementTree.SubElement(case, "skipped", message=message)
        elif not finding.fine:
            ElementTree.SubElement(case, "failure", type=str(finding.verdict), message=message)
        else:
            ElementTree.SubElement(case, "system-out").text = message
    ElementTree.indent(suite)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"
