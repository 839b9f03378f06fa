"""What `refruntime diff` found, as one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from refruntime.contract.profile import CONTRACT_VERSION
from refruntime.differential.case_result import CaseResult, Family, SuiteResult
from refruntime.differential.choice import SeenChoice
from refruntime.differential.report.about import About
from refruntime.differential.report.case import call_text, cause_lines, found_lines, go_on, repro
from refruntime.differential.report.text import counts
from refruntime.differential.report.values import side_by_side
from refruntime.differential.verdict import EXIT_FINE, FINE, Verdict
from refruntime.show.page.choice import choice_bars
from refruntime.show.page.forward_map import forward_map
from refruntime.show.page.pieces import (
    bar,
    code,
    columns_text,
    command,
    folded,
    page,
    paragraph,
    preformatted,
    rule_text,
    section,
    sides,
    table,
    text,
)
from refruntime.show.text import count

SHOWN_CASES: Final = 100
SHOWN_PARTS: Final = 40
SHOWN_REASONS: Final = 6

KINDS: Final[Mapping[Verdict, str]] = {
    verdict: "nothing"
    if verdict is Verdict.UNSUPPORTED
    else "fine"
    if verdict in FINE
    else "unsure"
    if verdict in (Verdict.CONTRACT_GAP, Verdict.POISONED)
    else "wrong"
    for verdict in Verdict
}
"""The colour of a verdict."""


@dataclass(frozen=True)
class Extra:
    """What a page shows beside the report: where each option of the profile comes from, the first case's choice.

    `seen` is the document of a witness that looked into the build's memory in the case `seen_in`. All may be missing.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    choice: SeenChoice | None = None
    seen: Mapping[str, Any] | None = None
    seen_in: str = ""


def diff_page(suite: SuiteResult, about: About, extra: Extra) -> bytes:
    """Return the page: verdicts by family, the first difference, what was not compared, provenance, commands."""
    notable = [result for result in suite.cases if result.verdict not in FINE]
    first = notable[0] if notable else None
    verdict = "fine" if suite.exit_code == EXIT_FINE else "not fine"
    parts = [
        f'<h1>{text(about.build)}: <span class="{"fine" if verdict == "fine" else "wrong"}">{verdict}</span></h1>',
        paragraph(_summary(suite)),
        section("Verdicts by family", _families(suite), _meanings(suite)),
        "" if first is None else section(f"First difference: {first.case.name}", *_first(first, about)),
        "" if extra.choice is None else section("The sampler's choice there", choice_bars(extra.choice)),
        "" if extra.seen is None else section(*_memory(extra, first)),
        section("Other differences", *_others(notable[1:], about)),
        section("What was not compared, and why", *_not_compared(suite)),
        section("Where this comes from", *_provenance(about, extra)),
        section("Commands that repeat it", *_commands(first, about)),
    ]
    return page(f"{about.build}: {verdict}", parts)


def _summary(suite: SuiteResult) -> str:
    total = suite.total
    sums = {"case": total.cases, "step": total.steps, "field": total.fields, "token": total.tokens}
    compared = ", ".join(count(number, noun) for noun, number in sums.items()) + " compared"
    ended = f"; the run was interrupted, {count(suite.skipped, 'case')} did not run" if suite.interrupted else ""
    return f"{compared}: {counts(total) or 'nothing'}{ended}."


def _families(suite: SuiteResult) -> str:
    def row(family: Family) -> list[str]:
        shares = [
            (KINDS[each], family.verdicts[each], f"{family.verdicts[each]} {each.label}") for each in _seen(family)
        ]
        said = ", ".join(f'<span class="{kind}">{text(label)}</span>' for kind, _, label in shares)
        numbers = [str(n) for n in (family.cases, family.steps)]
        return [code(family.name), bar(shares, family.cases) + said, *numbers]

    return table(("family", "verdicts", "cases", "steps"), map(row, (*suite.families, suite.total)), (2, 3))


def _seen(family: Family) -> list[Verdict]:
    return [verdict for verdict in Verdict if family.verdicts[verdict]]


def _meanings(suite: SuiteResult) -> str:
    rows = [(f'<span class="{KINDS[each]}">{each.label}</span>', text(each.meaning)) for each in _seen(suite.total)]
    return folded("What the words mean", table(("verdict", "meaning"), rows)) if rows else ""


# Differences ---------------------------------------------------------------------------------------------------------


def _first(result: CaseResult, about: About) -> list[str]:
    first, comparison = result.comparison.first, result.comparison
    parts = [f'<p><b class="{KINDS[result.verdict]}">{result.verdict}</b> {text(result.reason)}</p>']
    if first is not None and first.index < len(result.case.steps):
        step = call_text(result.case.steps[first.index])
        before = f"the {count(first.index, 'step')} before it agree" if first.index > 1 else "step 0 agrees"
        said = before if first.index else "no step is before it"
        parts.append(f"<p>Step {first.index}, {code(step)}; {said}.</p>")
    if result.flip is not None:
        words = [line.strip().partition(" ") for line in found_lines(result, about)[1:]]
        told = [(label, columns_text(rest)) for label, _, rest in words if label in ("token", "margin")]
        parts.append(table(("", ""), told))
    for each in comparison.differences:
        found = side_by_side(each, SHOWN_PARTS)
        rest = f"{found.rest} more parts differ, {found.same} agree." if found.rest or found.same else ""
        where = where_bytes_differ(each.reference, each.build)
        parts += [f"<h3>{text(each.field)}</h3>", paragraph(where) if where else "", sides(found.rows)]
        parts.append(paragraph(rest, "quiet") if rest else "")
    explained = [] if result.explanation is None else list(result.explanation.lines)
    if explained:
        causes = [(text(label), columns_text(line)) for label, line in explained if label != "rule"]
        parts += ["<h3>Causes</h3>", table(("", ""), causes)]
    rules = () if result.explanation is None else result.explanation.rules
    cited = list(dict.fromkeys(rules or result.case.rules))
    parts += ["<h3>Rules</h3>", table(("", ""), [(code(rule), rule_text(rule)) for rule in cited])] if cited else []
    if result.crash:
        parts.append(preformatted(result.crash.rstrip().splitlines()))
    return parts


def where_bytes_differ(mine: object, theirs: object) -> str:
    """Return in words how long two results are and where they part; empty for other values."""
    if not isinstance(mine, bytes) or not isinstance(theirs, bytes):
        return ""
    equal = next((n for n, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    return f"{len(mine)} bytes of the oracle, {len(theirs)} of the build; they differ at offset {equal}."


def _memory(extra: Extra, first: CaseResult | None) -> tuple[str, str]:
    title = "The forward pass in the build's memory"
    elsewhere = first is not None and extra.seen_in not in ("", first.case.name)
    return f"{title}, in {extra.seen_in}" if elsewhere else title, forward_map(extra.seen or {})


def _others(notable: list[CaseResult], about: About) -> list[str]:
    parts = []
    for result in notable[:SHOWN_CASES]:
        head, *lines = [*found_lines(result, about), *cause_lines(result, about)]
        kind = KINDS[result.verdict]
        title = f'<b class="{kind}">{result.verdict}</b> {text(result.case.name)}'
        parts.append(folded(title, preformatted([head.partition("]  ")[2] or head, *lines])))
    if len(notable) > SHOWN_CASES:
        parts.append(paragraph(f"{len(notable) - SHOWN_CASES} more: see --json."))
    return parts


def _not_compared(suite: SuiteResult) -> list[str]:
    rows = [
        (text(f"{name} of {count(lost, 'step')}"), "the build does not show this field")
        for name, lost in suite.lost.items()
    ]
    reasons = Counter(
        (str(result.verdict), result.reason)
        for result in suite.cases
        if result.verdict in (Verdict.UNSUPPORTED, Verdict.POISONED)
    )
    told = [(text(f"{count(many, 'case')} {verdict}"), text(reason)) for (verdict, reason), many in reasons.items()]
    if len(told) <= SHOWN_REASONS:
        rows += told
    else:
        rows.append((f"{count(reasons.total(), 'case')}", f"{len(told)} reasons, listed below"))
    if suite.skipped:
        why = (
            "the run was interrupted"
            if suite.interrupted
            else "the run was to stop after so many cases that are not fine"
        )
        rows.append((text(f"{count(suite.skipped, 'case')} did not run"), why))
    behind = sum(len(r.case.steps) - r.comparison.steps for r in suite.cases if r.comparison.first is not None)
    if behind:
        rows.append((count(behind, "step"), "they lie behind the first difference of their case"))
    if not rows:
        return [paragraph("Everything was compared.")]
    listed = folded(f"All {len(told)} reasons", table(("what", "why"), told)) if len(told) > SHOWN_REASONS else ""
    return [table(("what", "why"), rows), listed]


# Provenance and commands ---------------------------------------------------------------------------------------------


def _provenance(about: About, extra: Extra) -> list[str]:
    rows = [
        ("build", code(f"{about.build}, sha256 {about.sha256}")),
        ("contract", text(f"{CONTRACT_VERSION}, profile {about.profile.fingerprint} ({about.profile_source})")),
    ]
    rows += [(text(label), text(value)) for label, value in about.facts.items()]
    rows += [("note", text(note)) for note in about.notes]
    differences = about.profile.differences()
    rows += [
        (code(key), text(f"{value} ({extra.sources.get(key, about.profile_source)})"))
        for key, value in differences.items()
    ]
    parts = [table(("", ""), rows)]
    if extra.sources:
        by_source: dict[str, list[str]] = {}
        for key, source in extra.sources.items():
            by_source.setdefault(source, []).append(key)
        listed = [(text(source), str(len(keys)), text(", ".join(keys))) for source, keys in by_source.items()]
        parts.append(folded("Options of the profile by source", table(("source", "options", "which"), listed, (1,))))
    return parts


def _commands(first: CaseResult | None, about: About) -> list[str]:
    commands = [about.as_run]
    if first is not None:
        commands += [repro(first, about), *go_on(first, about)]
    return [command(words) for words in dict.fromkeys(commands)]
