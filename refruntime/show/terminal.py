"""`why`, `what-if` and chains for terminals: stages, tables and bars, with every number as the sampler had it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from refruntime.samplers.explain import ChainExplanation
from refruntime.session.what_if import Alternative, WhatIf
from refruntime.session.why import Candidate, Why
from refruntime.show.text import (
    OWNERS,
    SHOWN,
    count,
    exact,
    named,
    percent,
    plain_table,
    row,
    sampling_text,
    token_cell,
)
from refruntime.show.visible import cell, quoted

BAR: Final = 24
WORD: Final = 12
"""Columns of a token's text that stay together."""
WIDE: Final = 96
"""Columns of a terminal from which bars have room."""

STYLES: Final = {"won": "bold green", "kept": "", "lost": "dim", "cut by top_p": "dim", "cut by top_k": "dim"}


# Why -----------------------------------------------------------------------------------------------------------------


def why_shown(why: Why, most: int = SHOWN, hexes: bool = False) -> list[RenderableType]:
    """Return the explanation of one choice, stage by stage."""
    taken, choice = why.taken, why.choice
    shown: list[RenderableType] = [_headline(why)]
    if taken.forced:
        shown.append(_forced(why))
    shown.append(row("sampling", sampling_text(taken.sampling, hexes)))
    shown.append(row("logits", _logits(why, hexes)))
    shown.append(_CandidateTable(why, most, hexes))
    if choice.greedy_reason:
        wins = "the greatest logit wins" if np.any(taken.logits > -np.inf) else "id 0 is taken (SA-1)"
        shown.append(row("greedy", f"{choice.greedy_reason}, so {wins} and nothing is drawn"))
        shown.append(row("state", f"0x{taken.generator.state:016x} before and after"))
        return shown
    shown += _truncation(why, hexes)
    shown += _draw(why, hexes)
    return shown


def _headline(why: Why) -> Table:
    taken = why.taken
    how = "greedily" if why.choice.greedy_reason else f"with {OWNERS[taken.owner]}"
    chosen = named(why.tokenizer, why.choice.token)
    return row("chosen", (chosen, "bold green"), f" by the sampler {how}, for position {taken.position}")


def _forced(why: Why) -> Table:
    token = why.taken.token
    rank = why.rank(token)
    place = "its logit is no number" if rank is None else f"rank {rank}, {why.candidate(rank - 1).fate}"
    if token == why.choice.token:
        place = "which is the token that the sampler chose as well"
    return row("forced", (named(why.tokenizer, token), "bold yellow"), f" was taken by hand instead ({place})")


def _logits(why: Why, hexes: bool) -> str:
    logits, order = why.taken.logits, why.order
    text = f"{logits.size} values"
    missing = logits.size - order.size
    if missing:
        text += f", {missing} of them no numbers (never retained, SA-2)"
    if not np.any(logits > -np.inf):
        return f"{text}; none is greater than -infinity"
    text += f"; the chosen one has rank {why.rank(why.choice.token)}"
    if order.size > 1:
        first, second = float(logits[order[0]]), float(logits[order[1]])
        text += f"; the greatest leads by {first - second:.7g}" if first > second else ""
        tied = int(np.count_nonzero(logits == first))
        if tied > 1:
            text += f"; {tied} are equally great"
    return text


class _CandidateTable:
    """The candidates that tell the story: the first ones, and those at every edge; bars where there is room."""

    def __init__(self, why: Why, most: int, hexes: bool) -> None:
        self._why, self._most, self._hexes = why, most, hexes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for bars, chances in ((True, True), (False, True), (False, False)):
            if bars and (self._why.choice.drawn is None or options.max_width < WIDE):
                continue
            table = self._table(bars, chances)
            measured = console.measure(table, options=options.update(max_width=2**16))
            if measured.minimum <= options.max_width:
                if measured.maximum > options.max_width:
                    table.padding = (0, 1, 0, 0)  # what is not folded reads better than what stands far apart
                yield table
                return
        yield self._table(bars=False, chances=True, stacked=True)

    def _table(self, bars: bool, chances: bool, stacked: bool = False) -> Table:
        """Return the table; `stacked` has the numbers of a candidate one below the other: folded they read wrong."""
        why, hexes = self._why, self._hexes
        drawn = why.choice.drawn is not None
        chances = chances and drawn
        numbers = ["logit", "probability", *(["weight", "running sum"] if drawn else []), *["chance"] * chances]
        numbers = ["\n".join(numbers)] if stacked else numbers
        table = plain_table(("rank", True), ("id", True), ("token", False))
        table.columns[0].no_wrap = table.columns[1].no_wrap = True
        shown = why.telling(self._most)
        widest = max((cell_len(token_cell(why.tokenizer, each.token)) for each in shown), default=0)
        table.columns[2].min_width = max(len("token"), min(widest, WORD))
        for heading in numbers:
            table.add_column(heading, justify="right", overflow="fold", no_wrap=True)
        table.add_column("fate", overflow="fold", min_width=len("cut by"))
        if bars:
            longest = max((len(_bar(each, why)) for each in shown), default=0)  # a folded bar would have no length
            table.add_column("share", no_wrap=True, min_width=max(len("share"), longest))
        last = -1
        for candidate in shown:
            if candidate.rank - 1 != last + 1:
                table.add_row("⋮")
            last = candidate.rank - 1
            values = [exact(candidate.logit, hexes, "\n"), percent(why.probabilities[candidate.token])]
            if drawn:
                values += [self._number(candidate.weight), self._number(candidate.high)]
            values += [_chance(why, candidate)] * chances
            if stacked:
                values = ["\n".join(value for value in values if value)]
            token = token_cell(why.tokenizer, candidate.token)
            cells = [str(candidate.rank), str(candidate.token), token, *values, self._fate(candidate)]
            cells += [_bar(candidate, why)] if bars else []
            table.add_row(*map(Text, cells), style=STYLES[candidate.fate])
        if last + 1 < why.order.size:
            table.add_row("⋮")
        return table

    def _number(self, value: np.float32 | None) -> str:
        return "" if value is None else exact(value, self._hexes, "\n")

    def _fate(self, candidate: Candidate) -> str:
        forced = self._why.taken.forced and candidate.token == self._why.taken.token
        return candidate.fate + (", forced" if forced else "")


def _chance(why: Why, candidate: Candidate) -> str:
    """Return how often the coin falls on a candidate: its share of the mass; empty where it cannot (SA-5, SA-6)."""
    drawn = why.choice.drawn
    if drawn is None or candidate.weight is None or candidate.rank > drawn.cut.kept or not drawn.cut.mass > 0:
        return ""
    return percent(float(candidate.weight) / float(drawn.cut.mass))


def _bar(candidate: Candidate, why: Why) -> str:
    """Return a bar of the candidate's weight; the total weight would fill it."""
    weighing = why.choice.weighing
    if candidate.weight is None or weighing is None or not weighing.total > 0:
        return ""
    eighths = round(8 * BAR * min(1.0, float(candidate.weight) / float(weighing.total)))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _truncation(why: Why, hexes: bool) -> list[RenderableType]:
    """Return the stages top-k, temperature and top-p (SA-2 .. SA-5)."""
    drawn = why.choice.drawn
    if drawn is None:
        return []
    weighing, cut = drawn.weighing, drawn.cut
    retained = drawn.selection.ids.size
    text = f"{retained} retained, {why.order.size - retained} cut"
    edge = why.edge_of_top_k
    if edge is not None:
        last, next_one = edge
        text += f" between {_short(last)} {exact(last.logit, hexes)}"
        text += f" and {_short(next_one)} {exact(next_one.logit, hexes)}"
        if why.tied_at_the_edge:
            text += f"; {count(why.tied_at_the_edge, 'cut candidate')} with an equal logit, {why.profile.equal_logits}"
    lines = [row("top-k", text)]
    first = why.profile.temperature_order == "temperature first"
    formula = "expf(logit / temperature - greatest)" if first else "expf((logit - greatest) / temperature)"
    divided = ", each divided by their sum" if why.profile.weights == "normalised" else ""
    lines.append(row("temperature", f"weights {formula}{divided}; total {exact(weighing.total, hexes)}"))
    text = f"threshold top_p x total = {exact(cut.threshold, hexes)}"
    crossing = why.crossing
    if crossing is not None and crossing.high is not None:
        verb = "exceeded" if why.profile.top_p_comparison == ">" else "reached"
        text += f", {verb} by {_short(crossing)} with the running sum {exact(crossing.high, hexes)}"
    else:
        text += ", exceeded by no running sum"
    text += f"; {cut.kept} kept, {retained - cut.kept} cut; mass {exact(cut.mass, hexes)}"
    return [*lines, row("top-p", text)]


def _draw(why: Why, hexes: bool) -> list[RenderableType]:
    """Return the coin, and where it fell (PR-1 .. PR-3, SA-6)."""
    drawn = why.choice.drawn
    if drawn is None:
        return []
    draw, pick = drawn.draw, drawn.pick
    generator = why.taken.generator
    lines: list[RenderableType] = [
        row(
            "generator",
            f"0x{draw.before:016x} -> 0x{draw.after:016x}, draw {generator.draws + 1} of seed {generator.seed}",
        ),
        row("coin", f"output 0x{draw.output:016x}, unit {exact(draw.unit, hexes)} ({why.profile.unit_conversion})"),
    ]
    winner = why.candidate(pick.index)
    low, high = winner.low, winner.high
    text = f"unit x mass = {exact(pick.point, hexes)}"
    if low is not None and high is not None:
        text += f", in {_interval(why, exact(low, hexes), exact(high, hexes))} of {_short(winner)}"
    lines.append(row("point", text))
    missed = why.missed
    if missed is None:
        return lines
    before, behind = why.neighbours
    above, below = missed
    parts = [f"{above:.3g} of the mass above the edge of {_short(before)}"] if before is not None else []
    if behind is not None:
        parts.append(f"{below:.3g} below the edge of {_short(behind)}")
    elif below < 0 or (below == 0 and why.profile.draw_comparison == "<"):
        parts.append("no running sum lies beyond the point, so the last kept candidate wins")
    lines.append(row("missed by", "; ".join(parts) or "nothing: it is the only kept candidate"))
    return lines


def _interval(why: Why, low: str, high: str) -> str:
    return f"[{low}, {high})" if why.profile.draw_comparison == "<" else f"({low}, {high}]"


def _short(candidate: Candidate) -> str:
    return f"#{candidate.rank} {quoted(candidate.raw, 12) if candidate.raw else f'token {candidate.token}'}"


# What if -------------------------------------------------------------------------------------------------------------


def what_if_shown(what_if: WhatIf, hexes: bool = False) -> list[RenderableType]:
    """Return what was chosen beside what would have been."""
    table = plain_table(
        ("with", False), ("id", True), ("token", False), ("", False), ("kept", True), ("coin", True), ("point", True)
    )
    for alternative in (what_if.chosen, *what_if.alternatives):
        other = alternative.choice.token != what_if.chosen.choice.token
        itself = alternative is what_if.chosen
        style = "bold" if itself else "bold yellow" if other else ""
        mark = "" if itself else "another token" if other else "the same"
        table.add_row(*map(Text, [*_alternative(alternative, mark, hexes)]), style=style)
    changed = what_if.changed
    total = len(what_if.alternatives)
    said = f"{len(changed)} of {total} would give another token" if total != 1 else ""
    if total == 1:
        only = what_if.alternatives[0]
        verb = "would be" if changed else "would still be"
        said = f"with {only.label} the token {verb} {only.choice.token} {quoted(only.raw) if only.raw else '(no text)'}"
    shown: list[RenderableType] = [table, Text(said)]
    if what_if.taken.forced:
        shown.append(Text("the token that was taken was forced; this is about the one that the sampler chose"))
    return shown


def _alternative(alternative: Alternative, mark: str, hexes: bool) -> Sequence[str]:
    choice = alternative.choice
    head = [alternative.label, str(choice.token), cell(alternative.raw, 16) or "(no text)", mark]
    drawn = choice.drawn
    if drawn is None:
        return [*head, "", "greedy", ""]
    return [*head, str(drawn.cut.kept), exact(drawn.draw.unit, hexes, "\n"), exact(drawn.pick.point, hexes, "\n")]


# Chains --------------------------------------------------------------------------------------------------------------


def explanation_shown(explanation: ChainExplanation) -> list[RenderableType]:
    """Return the chains for terminals: what each says, and below it the order of its stages."""
    said = plain_table(("sampler", False), ("probability", True), ("verdict", False))
    orders = plain_table(("sampler", False), ("order", False))
    for each in explanation.chains:
        share = f"{math.exp(each.log_probability):.4g}" if each.possible else ""
        said.add_row(*map(Text, (each.chain, share, each.verdict())))
        if not each.refused:
            orders.add_row(*map(Text, (each.chain, " > ".join(each.order))))
    return [said, Text(""), orders]
