"""Write the verdicts as JUnit XML, which most continuous integration systems show."""

from __future__ import annotations

from xml.etree import ElementTree

from refruntime.differential.case_result import SuiteResult
from refruntime.differential.report.about import About
from refruntime.differential.report.case import case_lines
from refruntime.differential.verdict import FINE, MEANINGS, Verdict


def junit_xml(suite: SuiteResult, about: About) -> bytes:
    """Return one `testsuite` for each family and one `testcase` for each case.

    A crash of this tool is an `error`, every other verdict that is not fine a `failure`; UNSUPPORTED is `skipped`.
    """
    root = ElementTree.Element("testsuites", name=f"refruntime diff {_clean(about.build)}")
    for family in suite.families:
        results = [result for result in suite.cases if result.case.name.partition("/")[0] == family.name]
        crashes = family.verdicts[Verdict.ORACLE_CRASH]
        failures = sum(count for verdict, count in family.verdicts.items() if verdict not in FINE) - crashes
        element = ElementTree.SubElement(
            root,
            "testsuite",
            name=family.name,
            tests=str(family.cases),
            failures=str(failures),
            errors=str(crashes),
            skipped=str(family.verdicts[Verdict.UNSUPPORTED]),
            time=f"{sum(result.seconds for result in results):.3f}",
        )
        if suite.found.absent:
            properties = ElementTree.SubElement(element, "properties")
            for name in suite.found.absent:
                text = _clean(suite.found.reason([name]))
                ElementTree.SubElement(properties, "property", name=f"absent {name}", value=text)
        for result in results:
            case = ElementTree.SubElement(
                element, "testcase", classname=family.name, name=result.case.name, time=f"{result.seconds:.3f}"
            )
            message = f"{result.verdict}: {result.reason or MEANINGS[result.verdict]}"
            if result.verdict is Verdict.UNSUPPORTED:
                ElementTree.SubElement(case, "skipped", message=_clean(message))
            elif result.verdict not in FINE:
                kind = "error" if result.verdict is Verdict.ORACLE_CRASH else "failure"
                child = ElementTree.SubElement(case, kind, type=str(result.verdict), message=_clean(message))
                child.text = _clean("\n".join(case_lines(result, about)))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _clean(text: str) -> str:
    """Replace characters that XML 1.0 cannot hold."""
    return "".join(character if character in "\t\n" or _allowed(ord(character)) else "\ufffd" for character in text)


def _allowed(code: int) -> bool:
    return 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
