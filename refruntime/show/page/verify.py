"""What `refruntime verify` found, as one page."""

from __future__ import annotations

from collections import Counter
from typing import Final

from refruntime.golden.verification import Verification, VerifyFinding
from refruntime.show.page.pieces import bar, code, command, page, paragraph, section, sides, table, text
from refruntime.show.text import count

SHOWN: Final = 200


def verify_page(result: Verification, folder: str, words: str, version: str) -> bytes:
    """Return the page: findings by family, each with what was expected, what was looked at, how to repeat it."""
    fine = not result.findings and result.cases > 0
    verdict = "fine" if fine else "not fine"
    title = f"Goldens in {folder}"
    said = f"{count(len(result.findings), 'finding')} in {count(result.cases, 'case')}."
    parts = [
        f'<h1>{text(title)}: <span class="{"fine" if fine else "wrong"}">{verdict}</span></h1>',
        paragraph(said if result.cases else "Nothing was verified."),
        section("Findings by family", _families(result)),
        section("Findings", *_findings(result)),
        section("What was recomputed", _totals(result)),
        section("What was not compared, and why", *_not_compared(result)),
        section("Where this comes from", table(("", ""), _provenance(result, folder, version))),
        section("Commands that repeat it", command(words)),
    ]
    return page(f"{title}: {verdict}", parts)


def _family(finding: VerifyFinding) -> str:
    words = finding.file.replace("$.cases.", "cases/").split("/")
    return words[words.index("cases") + 1].split(".")[0] if "cases" in words[:-1] else "index and files"


def _families(result: Verification) -> str:
    found = Counter(map(_family, result.findings))
    most = max(found.values(), default=0)
    rows = [
        (code(name), str(number), bar([("wrong", number, count(number, "finding"))], most))
        for name, number in found.items()
    ]
    return table(("family", "findings", ""), rows, (1,)) if rows else ""


def _findings(result: Verification) -> list[str]:
    shown = [(finding.file, finding.expected, finding.found) for finding in result.findings[:SHOWN]]
    parts = [sides(shown, ("expected", "found"))] if shown else []
    if len(result.findings) > SHOWN:
        parts.append(paragraph(f"{len(result.findings) - SHOWN} more: see --json."))
    return parts


def _totals(result: Verification) -> str:
    rows = [
        ("cases", result.cases),
        ("steps", result.steps),
        ("samples", result.samples),
        ("recomputed values", result.hashes),
        ("files", result.files),
        ("bytes", result.total_bytes),
    ]
    return table(("what", "how many"), [(name, f"{number:,}") for name, number in rows], (1,))


def _not_compared(result: Verification) -> list[str]:
    parts = ["No answer was computed: `refruntime fill --check` does that."]
    if result.rules_unpinned:
        parts.append(
            f"{result.rules_unpinned} rules are pinned by no case, each with a reason; {result.rules_pinned} are."
        )
    return [paragraph(part) for part in parts]


def _provenance(result: Verification, folder: str, version: str) -> list[tuple[str, str]]:
    return [("goldens", code(folder)), ("root", code(result.root or "none")), ("tool", text(f"refruntime {version}"))]
