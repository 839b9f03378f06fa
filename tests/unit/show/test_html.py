"""What notebooks show: well-formed, harmless, and with the numbers of the sampler."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from refruntime import Session
from refruntime.session.logits_session import ImportedSession

MODEL = Path(__file__).resolve().parents[3] / "golden" / "models" / "stories.q8_0.slm1"
HOSTILE = [
    b"<script>alert(1)</script>",
    b'"><img src=x onerror=alert(1)>',
    b"&lt;b&gt;",
    "\u202eevil\u05d0".encode(),
    b"\x1b[31m\n\xff",
    b"",
]


class Texts:
    """A tokenizer whose texts try to break out of a page."""

    kind, vocab_size, eos_id, stop_ids = "none", len(HOSTILE), None, frozenset[int]()

    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        raise NotImplementedError

    def decode(self, ids: Any) -> bytes:
        return b"".join(HOSTILE[each] for each in ids)


@pytest.fixture(scope="module")
def session() -> Session:
    sampled = (
        Session(MODEL, name="stories").set(temperature=1.2, top_k=30, top_p=0.9, seed=7).prompt("Once upon a time")
    )
    return sampled.step(20)


def shown(thing: Any) -> str:
    page = thing._repr_html_()
    assert isinstance(page, str)
    return page


def tree_of(page: str) -> ElementTree.Element:
    """Parse a page strictly, and check that it runs nothing and loads nothing."""
    tree = ElementTree.fromstring(page)
    tags = {each.tag for each in tree.iter()}
    assert tags <= {"div", "b", "i", "bdi", "code", "table", "tr", "th", "td", "span"} | {
        *("svg", "rect", "line", "polyline", "circle")
    }
    for each in tree.iter():
        assert not any(name.startswith("on") or name in ("src", "href") for name in each.attrib)
        assert "url(" not in each.attrib.get("style", "")
    return tree


def text_of(tree: ElementTree.Element) -> str:
    return "".join(tree.itertext())


def test_everything_is_well_formed_and_harmless(session: Session) -> None:
    """Sessions, explanations, alternatives and chains give strict markup without scripts or links, forced or greedy."""
    greedy = Session(MODEL).prompt("Once").step(2)
    things = [session, session.force("$"), greedy, Session(MODEL), Session(MODEL).prompt("Once"), session.reset()]
    for thing in things:
        tree_of(shown(thing))
    for each in (session, session.force("$"), greedy):
        tree_of(shown(each.why()))
        tree_of(shown(each.what_if()))
    tree_of(shown(session.samplers()))


def test_texts_of_tokens_cannot_break_out() -> None:
    """Markup, quotes, controls, bytes that are no text and directions of writing in tokens stay text."""
    rows = np.tile(np.arange(len(HOSTILE), 0, -1, dtype=np.float32), (8, 1))
    hostile = ImportedSession(rows, Texts(), name="<b>&").set(temperature=3.0, top_k=6, top_p=1.0, seed=3).step(8)
    for thing in (hostile, hostile.why(), hostile.what_if(), hostile.what_if(top_k=1)):
        page = shown(thing)
        tree_of(page)
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert "<script>alert(1)</script>" in text_of(tree_of(shown(hostile.why())))


def test_why_shows_the_numbers_of_the_sampler(session: Session) -> None:
    """SA-2 .. SA-6: logits, weights and the coin are those of the sampler, bars are as long as their share."""
    for each in (session, session.back(), session.back(7)):
        why = each.why()
        page = shown(why)
        choice = why.choice
        assert choice.drawn is not None
        assert choice.weighing is not None
        text = text_of(tree_of(page))
        for number in (why.taken.logits[choice.token], choice.drawn.draw.unit, choice.weighing.weights[0]):
            assert str(number) in text
        assert f"0x{choice.drawn.draw.before:016x}" in text
        logits = why.taken.logits.astype(np.float64)
        greatest = 100 / float(np.sum(np.exp(logits - np.max(logits))))
        assert f"{greatest:.1f} %" in text or greatest >= 99.95
        first = tree_of(page).find(".//rect")
        assert first is not None
        share = float(choice.weighing.weights[0]) / float(np.sum(choice.weighing.weights, dtype=np.float64))
        assert float(first.attrib["width"]) == pytest.approx(160 * share, abs=0.02)


def test_the_coin_lies_in_the_part_of_the_winner(session: Session) -> None:
    """SA-6: on the line of the kept candidates, the mark is inside the strong part."""
    for each in session.history():
        if not each.state.taken or each.why().choice.drawn is None:
            continue
        tree = tree_of(shown(each.why()))
        mark = tree.find(".//line")
        assert mark is not None
        line = next(svg for svg in tree.iter("svg") if svg.find("line") is not None)
        strong = next(part for part in line.iter("rect") if part.attrib["fill-opacity"] == "0.90")
        left, width = float(strong.attrib["x"]), float(strong.attrib["width"])
        assert left - 0.01 <= float(mark.attrib["x1"]) <= left + width + 0.01


def test_a_forced_token_is_said_to_be_forced(session: Session) -> None:
    """Who chose is never mixed up: the sampler's token is the chosen one, the other was taken by hand."""
    forced = session.force("$")
    text = text_of(tree_of(shown(forced.why())))
    assert re.search(r'forced 36 "\$" was taken by hand instead', text)
    assert f"chosen {forced.last.choice.token} " in text
    assert 'title="probability' in shown(forced)
    assert "forced" in shown(forced)


def test_what_if_marks_another_token(session: Session) -> None:
    """Alternatives that change the token are marked, and counted."""
    found = session.back(7).what_if(seed=123456)
    text = text_of(tree_of(shown(found)))
    assert f"{len(found.changed)} of 1 would give another token" in text
    assert ("another token" in text.replace("would give another token", "")) == bool(found.changed)


def test_long_sessions_stay_short() -> None:
    """Of many tokens the last 400 are shown and the earlier ones counted."""
    rows = np.zeros((450, 6), dtype=np.float32)
    page = shown(ImportedSession(rows).step(450))
    assert "50 earlier tokens" in page
    assert len(page) < 200_000


def test_plain_python_shows_the_same(session: Session) -> None:
    """`repr` is what an interactive Python prints: one line for a session, the whole explanation for the rest."""
    assert repr(session).startswith("<Session stories: 17 prompt ids, 20 taken, temperature 1.2, top_k 30, top_p 0.9,")
    assert "\n" not in repr(session)
    assert str(session) == repr(session)
    assert repr(session.why()) == str(session.why())
    assert repr(session.what_if()) == str(session.what_if())
    assert "missed by" in repr(session.why())


def test_values_are_shown_whatever_was_imported() -> None:
    """A value finds its renderer in a fresh Python too, where nothing but the value's own module was named."""
    program = (
        "import sys, numpy\n"
        "from refruntime.session.logits_session import ImportedSession\n"
        "why = ImportedSession(numpy.zeros((1, 3), numpy.float32)).step().why()\n"
        "assert 'rich' not in sys.modules\n"
        "print(why, why._repr_html_()[:4])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("chosen")
    assert shown.stdout.rstrip().endswith("<div")
