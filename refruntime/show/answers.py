"""What a session answers, for terminals: greatest logits, one token's logits, generators, intermediates, a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from refruntime.differential.report.about import About
from refruntime.differential.report.case import case_lines
from refruntime.differential.verdict import FINE
from refruntime.session.answers import Generators, TokenLogits, Top
from refruntime.session.compared import BuildComparison
from refruntime.show.tensors import describe, tensors_table
from refruntime.show.text import OWNERS, count, exact, named, percent, plain_table, row, token_cell

SHOWN_STEPS: Final = 16


def top_shown(top: Top, hexes: bool = False) -> list[RenderableType]:
    """Return the greatest logits with what people compare them by."""
    table = plain_table(
        ("rank", True),
        ("id", True),
        ("token", False),
        ("logit", True),
        ("behind the first", True),
        ("probability", True),
    )
    for rank, token in enumerate(top.tokens.tolist(), start=1):
        logit, first = top.logits[token], top.logits[top.tokens[0]]
        behind = 0.0 if logit == first else float(first) - float(logit)
        cells = [str(rank), str(token), token_cell(top.tokenizer, token), exact(logit, hexes), f"{behind:.7g}"]
        table.add_row(*map(Text, [*cells, percent(top.probabilities[token])]))
    note = f"for position {top.position}; probabilities are the model's own, at temperature 1"
    return [table, Text(f"{note}; entropy {top.entropy:.3g} bits")]


def logits_shown(logits: TokenLogits, hexes: bool = False) -> list[RenderableType]:
    """Return the logit of one token at the last steps."""
    table = plain_table(("position", True), ("logit", True), ("rank", True), ("probability", True), ("taken", False))
    for each in logits.steps[-SHOWN_STEPS:]:
        took = "next" if each.taken is None else named(logits.tokenizer, each.taken, 16)
        mine = each.taken == logits.token
        rank = "none" if each.rank is None else str(each.rank)
        cells = [str(each.position), exact(each.logit, hexes), rank, percent(each.probability)]
        table.add_row(*map(Text, [*cells, "this token" if mine else took]), style="bold green" if mine else "")
    return [row("token", named(logits.tokenizer, logits.token)), table]


def generators_shown(generators: Generators, hexes: bool = False) -> list[RenderableType]:
    """Return both generators, and what the next draws give."""
    shown: list[RenderableType] = []
    for owner, generator in (("generate", generators.generate), ("runtime", generators.runtime)):
        if generator is None:
            shown.append(row(owner, f"{OWNERS[owner]}: none before a prompt"))
            continue
        marker = "  (draws next)" if owner == generators.draws_next else ""
        shown.append(row(owner, (OWNERS[owner], "bold" if marker else ""), marker))
        shown.append(row("", f"state 0x{generator.state:016x}, {generator.draws} draws from seed {generator.seed}"))
        for each in generators.following(generator):
            shown.append(row("", f"then 0x{each.output:016x}, unit {exact(each.unit, hexes)}"))
    return shown


def trace_shown(trace: Mapping[str, NDArray[Any]]) -> list[RenderableType]:
    """Return intermediates with shape and range."""
    return [tensors_table([describe(name, values) for name, values in trace.items()])]


def comparison_shown(compared: BuildComparison) -> list[RenderableType]:
    """Return what a build answered: that all is fine, or the first difference and its causes."""
    result, comparison = compared.result, compared.result.comparison
    counts = [count(comparison.steps, "call"), count(sum(comparison.compared.values()), "field")]
    said = f"{', '.join(counts)}, {count(comparison.tokens, 'token')} compared"
    if result.verdict in FINE:
        reason = f"  ({result.reason})" if result.reason else ""
        verdict = (result.verdict.label, "bold green")
        shown: list[RenderableType] = [row("build", verdict, f" {result.verdict.meaning}{reason}")]
    else:
        lines = case_lines(result, About(compared.build.name, compared.build.sha256, compared.profile))
        shown = [Text(line) for line in lines if not line.startswith("  repro")]
    lost = ", ".join(comparison.lost)
    return [*shown, row("compared", said + (f"; the build does not show {lost}" if lost else ""))]
