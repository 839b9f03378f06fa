"""What `refruntime judge` found, as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refruntime.judge.verdict import EngineJudgement, Measured
from refruntime.show.page.pieces import code, command, page, paragraph, section, table, text


def judge_page(judgement: EngineJudgement, about: Mapping[str, Any], words: str, version: str) -> bytes:
    """Return the page: the verdict of each stage, how far every arithmetic lies, the faults that were tried."""
    rows = [(text(one.stage), text(one.verdict), text(one.text)) for one in judgement.findings]
    facts = [("engine", code(judgement.source)), ("model", code(about["model"])), ("profile", text(about["profile"]))]
    facts += [("tokens", text(about["tokens"])), ("tool", text(f"refruntime {version}"))]
    title = f"{judgement.worst.verdict}: {judgement.source}"
    parts = [
        f"<h1>{text(title)}</h1>",
        paragraph(judgement.worst.text),
        section("Stage by stage", table(("stage", "verdict", ""), rows)),
        section("How far it lies from each arithmetic", _measured(judgement.measured)),
        section("Faults that were tried", _measured(judgement.tried)),
        section("Where this comes from", table(("", ""), facts)),
        section("Commands that repeat it", command(words)),
    ]
    return page(title, parts)


def _measured(measured: Sequence[Measured]) -> str:
    if not measured:
        return ""
    rows = []
    for one in measured:
        found = one.distance
        numbers = (found.typical, one.noise.band, found.worst, one.noise.worst_band, found.largest)
        rows.append((code(one.name), text(one.says), *(f"{number:.3g}" for number in numbers), text(one.nearest_at)))
    said = (
        "Differences of log probability, the root of the mean square of a position: of clean positions, of the worst "
        "one, each beside what another order of sums does, the worst also beside what an input does that is rounded to "
        "the other side; the largest of all; and at how many positions no other arithmetic is nearer."
    )
    headings = ("arithmetic", "what it means", "typical", "rounding", "worst", "rounding", "largest", "nearest at")
    return table(headings, rows, (2, 3, 4, 5, 6, 7)) + paragraph(said, "quiet")
