"""Sessions, explanations and alternatives for notebooks: HTML with small inline pictures, nothing loaded, no scripts.

Colours are those of the notebook: text has its colour, bars and shades are thin layers of one hue, which light and dark
backgrounds both show through. All text of tokens is escaped and isolated from its neighbours' direction of writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

import numpy as np

from refruntime.samplers.explain import ChainExplanation
from refruntime.session.series import steps_of
from refruntime.session.session import Session
from refruntime.session.what_if import Alternative, WhatIf
from refruntime.session.why import Candidate, Why
from refruntime.show.text import decimal, named, percent, sampling_text
from refruntime.visible import visible

GREEN: Final = "#2e8b57"
ORANGE: Final = "#d2871e"
GREY: Final = "#888888"
PINK: Final = "#c51b7d"
FATES: Final = {"won": GREEN, "kept": GREEN, "lost": GREY, "cut by top_p": ORANGE, "cut by top_k": GREY}

BAR: Final = 160
LINE: Final = 560
SHOWN: Final = 10
MOST_TOKENS: Final = 400
"""Tokens of a session that are shown; earlier ones are counted."""

CELL: Final = "padding:0 .8em 0 0;border:0;background:transparent;"


# Pieces --------------------------------------------------------------------------------------------------------------


def _text(raw: bytes) -> str:
    """Return bytes of a token as HTML in which everything shows."""
    return f"<bdi><code>{escape(visible(raw))}</code></bdi>" if raw else "<i>no text</i>"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int]) -> str:
    right = set(numbers)

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ("right" if place in right else "left" for place in range(len(cells)))
        made = (
            f'<{tag} style="{CELL}text-align:{side}">{each}</{tag}>' for each, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(cells, "td") for cells in rows)
    return f'<table style="border-collapse:collapse">{line([escape(each) for each in headings], "th")}{body}</table>'


def _svg(width: int, height: int, content: str, label: str) -> str:
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}" style="vertical-align:middle">{content}</svg>'
    )


def _rectangle(left: float, width: float, top: float, height: float, colour: str, strength: float) -> str:
    return (
        f'<rect x="{left:.2f}" y="{top:.2f}" width="{max(width, 0.5):.2f}" height="{height:.2f}" '
        f'fill="{colour}" fill-opacity="{strength:.2f}"/>'
    )


def _paragraph(label: str, text: str) -> str:
    return f"<div><b>{escape(label)}</b> {text}</div>"


def _whole(parts: Iterable[str]) -> str:
    return f'<div style="line-height:1.5">{"".join(parts)}</div>'


# Why -----------------------------------------------------------------------------------------------------------------


def why_html(why: Why, most: int = SHOWN) -> str:
    """Return the explanation of one choice: candidates with bars, and the coin on the line of the kept ones."""
    taken, choice = why.taken, why.choice
    parts = [_paragraph("chosen", f"{_named(why, choice.token)} for position {taken.position}")]
    if taken.forced:
        parts.append(_paragraph("forced", f"{_named(why, taken.token)} was taken by hand instead"))
    parts.append(_paragraph("sampling", sampling_text(taken.sampling)))
    parts.append(_candidates(why, most))
    if choice.greedy_reason:
        parts.append(_paragraph("greedy", escape(choice.greedy_reason)))
        return _whole(parts)
    parts.append(_coin(why))
    return _whole(parts)


def _named(why: Why, token: int) -> str:
    return f"<bdi>{escape(named(why.tokenizer, token))}</bdi>"


def _candidates(why: Why, most: int) -> str:
    total = float(why.choice.drawn.weighing.total) if why.choice.drawn is not None else 0.0

    def row(candidate: Candidate) -> Sequence[str]:
        share = float(candidate.weight) / total if candidate.weight is not None and total > 0 else 0.0
        strength = 0.9 if candidate.fate == "won" else 0.45
        width = BAR * min(share, 1.0)
        bar = _rectangle(0, width, 2, 10, FATES[candidate.fate], strength) if width else ""
        weight = "" if candidate.weight is None else decimal(candidate.weight)
        fate = f"<b>{candidate.fate}</b>" if candidate.fate == "won" else candidate.fate
        picture = _svg(BAR, 14, bar, f"share {share:.3g}")
        return (
            str(candidate.rank),
            str(candidate.token),
            _text(candidate.raw),
            decimal(candidate.logit),
            escape(percent(why.probabilities[candidate.token])),
            weight,
            fate,
            picture,
        )

    headings = ("rank", "id", "token", "logit", "probability", "weight", "fate", "share of the weight")
    return _table(headings, map(row, why.telling(most)), (0, 1, 3, 4, 5))


def _coin(why: Why) -> str:
    """Return the kept candidates side by side on a line, as wide as their weights, and where the coin fell."""
    drawn = why.choice.drawn
    if drawn is None:
        return ""
    weighing, cut, draw, pick = drawn.weighing, drawn.cut, drawn.draw, drawn.pick
    mass = float(cut.mass)
    edges = np.concatenate([np.zeros(1), weighing.cumulative[: cut.kept].astype(np.float64) / mass]) * LINE
    marks = []
    for place, (low, high) in enumerate(pairwise(edges)):
        if high - low >= 0.5 or place == pick.index:
            strength = 0.9 if place == pick.index else 0.3 if place % 2 else 0.45
            marks.append(_rectangle(low, high - low, 6, 14, GREEN, strength))
    at = float(pick.point) / mass * LINE
    marks.append(f'<line x1="{at:.2f}" x2="{at:.2f}" y1="0" y2="26" stroke="{PINK}" stroke-width="2"/>')
    picture = _svg(LINE, 26, "".join(marks), f"the coin {decimal(draw.unit)} among {cut.kept} candidates")
    text = (
        f"unit {decimal(draw.unit)} x mass {decimal(cut.mass)} = {decimal(pick.point)}; generator "
        f"<code>0x{draw.before:016x}</code> to <code>0x{draw.after:016x}</code>"
    )
    return f"<div>{picture}</div>{_paragraph('coin', text)}"


# What if -------------------------------------------------------------------------------------------------------------


def what_if_html(what_if: WhatIf) -> str:
    """Return what was chosen beside what would have been."""

    def row(alternative: Alternative) -> Sequence[str]:
        choice = alternative.choice
        other = choice.token != what_if.chosen.choice.token
        label = (
            f"<b>{escape(alternative.label)}</b>"
            if other or alternative is what_if.chosen
            else escape(alternative.label)
        )
        mark = "" if alternative is what_if.chosen else "<b>another token</b>" if other else "the same"
        drawn = choice.drawn
        kept, coin = ("", "greedy") if drawn is None else (str(drawn.cut.kept), decimal(drawn.draw.unit))
        return label, str(choice.token), _text(alternative.raw), mark, kept, coin

    rows = map(row, (what_if.chosen, *what_if.alternatives))
    table = _table(("with", "id", "token", "", "kept", "coin"), rows, (1, 4, 5))
    said = f"{len(what_if.changed)} of {len(what_if.alternatives)} would give another token"
    return _whole([table, f"<div>{said}</div>"])


# Sessions ------------------------------------------------------------------------------------------------------------


def session_html(session: Session) -> str:
    """Return a session: its prompt and its tokens, darker the less probable they were, and their entropy as a line."""
    state, tokenizer = session.state, session.subject.tokenizer
    parts = [_paragraph("session", escape(repr(session).strip("<>")))]
    shown_prompt = "".join(_text(tokenizer.decode([token])) for token in state.prompt_ids[-MOST_TOKENS:])
    if state.prompt_ids:
        parts.append(_paragraph("prompt", shown_prompt))
    if state.taken:
        steps = steps_of(session)
        first = max(0, len(state.taken) - MOST_TOKENS)
        spans = [
            _token(steps.texts[place], float(steps.probability[place]), state.taken[place].forced)
            for place in range(first, len(state.taken))
        ]
        before = f"<i>{first} earlier tokens</i> " if first else ""
        parts.append(_paragraph("generated", before + "".join(spans)))
        parts.append(_entropy_line(steps.entropy[first:]))
    if session.finished:
        parts.append(_paragraph("finished", escape(session.finished)))
    return _whole(parts)


def _token(raw: bytes, probability: float, forced: bool) -> str:
    """Return one token; the less probable, the stronger its shade."""
    strength = round(255 * 0.7 * (1.0 - probability))
    colour = PINK if forced else ORANGE
    title = f"probability {probability:.3g}{', forced' if forced else ''}"
    return f'<span title="{title}" style="background-color:{colour}{strength:02x}">{_text(raw)}</span>'


def _entropy_line(entropy: Any) -> str:
    top = max(float(entropy.max()), 1e-9)
    step = LINE / max(len(entropy), 1)
    points = " ".join(f"{(place + 0.5) * step:.2f},{38 - 34 * value / top:.2f}" for place, value in enumerate(entropy))
    line = f'<polyline points="{points}" fill="none" stroke="{GREEN}" stroke-width="1.5"/>'
    dots = "".join(
        f'<circle cx="{(place + 0.5) * step:.2f}" cy="{38 - 34 * value / top:.2f}" r="2" fill="{GREEN}"/>'
        for place, value in enumerate(entropy)
    )
    picture = _svg(LINE, 40, line + dots, f"entropy of {len(entropy)} steps, at most {top:.3g} bits")
    return f"<div>{picture} entropy, up to {top:.3g} bits</div>"


# Chains --------------------------------------------------------------------------------------------------------------


def explanation_html(explanation: ChainExplanation) -> str:
    """Return every sampler's word on a text."""
    rows = [
        (
            escape(each.chain),
            escape(" > ".join(each.order)),
            f"{np.exp(each.log_probability):.4g}",
            escape(each.verdict()),
        )
        for each in explanation.chains
    ]
    return _whole([_table(("sampler", "order", "probability", "verdict"), rows, (2,))])
