"""Token text in tables: nothing in it moves a column, hides, or commands the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from refruntime.show.visible import cell


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"the", "the"),
        (b" a\n\x1b[2J", "␣a␊␛[2J"),
        (b"\xff\x80", "\\xff\\x80"),
        ("אב".encode(), "\u200eאב\u200e"),
        ("\u202eab".encode(), "\\u{202e}ab"),
        ("\u0301".encode(), "\u25cc\u0301"),
        ("e\u0301".encode(), "e\u0301"),
        (("e" + "\u0301" * 5).encode(), "e\u0301\u0301\u0301\\u{301}\\u{301}"),
        ("\u2764\ufe0f".encode(), "\u2764\\u{fe0f}"),
        ("\U0001f1e9".encode(), "\\u{1f1e9}"),
        ("a\u200db".encode(), "a\\u{200d}b"),
        (b"x" * 50, "x" * 23 + "…"),
        ("漢".encode() * 20, "漢" * 11 + "…"),
    ],
)
def test_text_of_tokens(raw: bytes, shown: str) -> None:
    """SL-8: control characters, directions, joiners and lone marks show, and text is cut at the width of its column."""
    assert cell(raw) == shown


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_no_text_leaves_its_column(raw: bytes) -> None:
    """SL-8: no bytes give a control or formatting character but the closing marks, or more cells than fit."""
    shown = cell(raw, 20)
    assert cell_len(shown) <= 20
    inside = shown.strip("\u200e")
    assert not {unicodedata.category(character) for character in inside} & {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}
    has_right_to_left = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in inside)
    assert has_right_to_left == (shown[:1] == "\u200e" == shown[-1:] and len(shown) > 1)
