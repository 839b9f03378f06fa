"""Lines are read into words and arguments: quotes, escapes, comments, and what is not finished yet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refruntime.repl.parameters import integer, number
from refruntime.repl.parsing import (
    Argument,
    OpenQuote,
    WrongWord,
    fragment,
    lines_of,
    split_line,
    written,
)
from refruntime.repl.words.table import all_words


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("   # nothing", []),
        ("step 3", [b"step", b"3"]),
        ('prompt "Once upon"  # begin', [b"prompt", b"Once upon"]),
        (r'force "a\n\x00\xff\u{5d0}\"\\"', [b"force", b'a\n\x00\xff\xd7\x90"\\']),
        ("force 'it''s'", [b"force", b"its"]),
        ('set PR-3="53 high bits"', [b"set", b"PR-3=53 high bits"]),
        ("a#b '#'", [b"a#b", b"#"]),
        ("prompt 'two\nlines'", [b"prompt", b"two\nlines"]),
        (r"force \x0a", [b"force", b"\n"]),
    ],
)
def test_arguments(line: str, expected: list[bytes]) -> None:
    """White space separates, quotes join, escapes give bytes, a # at the beginning of an argument ends the line."""
    assert [argument.raw for argument in split_line(line)] == expected


def test_quotes_tell_text_from_numbers() -> None:
    """An id is written bare, the text of a token in quotes."""
    assert split_line('force 12 "12"')[1:] == [Argument(b"12"), Argument(b"12", quoted=True)]


@pytest.mark.parametrize("line", ['prompt "Once', "prompt 'Once\"", '"', "a \\"])
def test_open_quotes_are_told_apart(line: str) -> None:
    """What is not finished is told from what is wrong, so that a terminal asks for the rest."""
    with pytest.raises(OpenQuote):
        split_line(line)


@pytest.mark.parametrize("line", [r"force \q", r'force "\xg0"', r"force \u{110000}", r"force \u{}"])
def test_unknown_escapes_are_refused(line: str) -> None:
    """An escape that means nothing is named, not taken literally."""
    with pytest.raises(WrongWord, match="unknown escape") as caught:
        split_line(line)
    assert not isinstance(caught.value, OpenQuote)


@given(st.binary(max_size=40))
def test_written_bytes_are_read_back(raw: bytes) -> None:
    """Any bytes can be written as an argument in printable characters, such as a completed token."""
    text = written(raw)
    assert text.isprintable()
    assert split_line(text) == [Argument(raw, quoted=True)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (0, "")),
        ("st", (0, "st")),
        ("step ", (1, "")),
        ('force "a b', (1, '"a b')),
        ('what-if PR-3="53 h', (1, 'PR-3="53 h')),
        ('prompt "a" ids', (2, "ids")),
        (r'force "a\" b', (1, r'"a\" b')),
    ],
)
def test_fragment_before_the_cursor(line: str, expected: tuple[int, str]) -> None:
    """Completion knows which argument is being written, with its quote."""
    assert fragment(line) == expected


def test_numbers_say_what_was_expected() -> None:
    """Integers are decimal or 0x, floats decimal or hexadecimal; anything else names the argument."""
    assert integer("0x10", "N") == 16
    assert integer("-3", "N") == -3
    assert number("0x1.8p-1", "x") == 0.75
    for wrong in ("", "1.5", "ten", "0x"):
        with pytest.raises(WrongWord, match=r"COUNT: expected an integer"):
            integer(wrong, "COUNT")
    with pytest.raises(WrongWord, match=r"COUNT: expected 1 \.\. 5, found 6"):
        integer("6", "COUNT", 1, 5)
    with pytest.raises(WrongWord, match="temperature: expected a number"):
        number("warm", "temperature")


def test_a_long_line_takes_time_in_proportion() -> None:
    """A line of millions of characters is read in seconds, not in hours."""
    text = "ab" * 1_500_000
    assert [each.raw for each in split_line(f"prompt '{text}' {text}")] == [b"prompt", text.encode(), text.encode()]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("WHY", r"unknown word \"WHY\"; perhaps why\? `help` lists all"),
        ("pormpt", r"perhaps prompt"),
        ("setp", r"perhaps set or step or reset\?"),
        ("undo", r"unknown word \"undo\"; `help` lists all"),
        ("\udcff\x00", r"unknown word \"\\xff␀\"; `help`"),
        ("x" * 10_000, "^.{0,120}$"),
    ],
)
def test_unknown_words_name_what_is_meant_perhaps(written: str, message: str) -> None:
    """A typo names the few words that are near; what is near nothing names none; the message stays short."""
    with pytest.raises(WrongWord, match=message):
        all_words().find(written)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("step", ["step"]),
        ("step 2\nwhy", ["step 2", "why"]),
        ("set top_k=7\ntemperature=2\nstep", ["set top_k=7\ntemperature=2", "step"]),
        ("prompt 'a\nwhy\nb'\nwhy", ["prompt 'a\nwhy\nb'", "why"]),
        ("prompt 'a\nwhy", ["prompt 'a\nwhy"]),
        ("step # two's\n\nwhy", ["step # two's", "", "why"]),
        ("set top_k=7 # warm\n temperature=2", ["set top_k=7 # warm\n temperature=2"]),
    ],
)
def test_lines_of_what_was_pasted(text: str, expected: list[str]) -> None:
    """A line begins with a word or goes on with the one before; quotes hold breaks, comments end at them."""
    assert lines_of(text, all_words().by_name) == expected


def test_a_comment_ends_with_its_line() -> None:
    """What stands in the line behind a comment counts."""
    assert [each.raw for each in split_line("set top_k=7 # warm\n temperature=2")] == [
        b"set",
        b"top_k=7",
        b"temperature=2",
    ]
