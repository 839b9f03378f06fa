"""How text is cut into words before byte-pair merges (GG-5); vectors of llama.cpp are in tests/second_opinion."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS, nearest_name
from refruntime.tokenizers.splitting import Splitter, before_threes, compile_pattern, groups_of_three


def words(name: str, text: str) -> list[str]:
    return PRE_TOKENIZERS[name].splitter.split(text)


def test_words_of_well_known_pre_tokenizers() -> None:
    """GG-5: where the published patterns differ: contractions, digits, line feeds, cases, marks."""
    text = "I'LL pay 12345 EUROs\n\n  now"
    assert words("gpt-2", text) == ["I", "'", "LL", " pay", " 12345", " EUROs", "\n\n ", " now"]
    assert words("llama-bpe", text) == ["I", "'LL", " pay", " ", "123", "45", " EUROs", "\n\n", " ", " now"]
    assert words("qwen2", text) == ["I", "'LL", " pay", " ", *"12345", " EUROs", "\n\n", " ", " now"]
    assert words("tekken", text) == ["I", "'LL", " pay", " ", *"12345", " EUROs", "\n\n", " ", " now"]
    assert words("gpt-4o", "camelCase HTTPs XMLs it'S") == ["camel", "Case", " HTTPs", " XMLs", " it'S"]
    assert words("tekken", "camelCase XML it'S") == ["camel", "Case", " XML", " it", "'S"]
    assert words("qwen2", "e\u0301a") == ["e", "\u0301a"]
    assert words("qwen35", "e\u0301a") == ["e\u0301a"]
    assert words("deepseek-coder", "x 日本é12") == ["x", " ", "日本", "é", "1", "2"]
    assert words("falcon", "1234,5") == ["123", "4", ",", "5"]
    assert words("starcoder", " 12 ab") == [" ", "1", "2", " ab"]
    assert words("gemma4", "a b\n\nc") == ["a b", "\n\n", "c"]
    assert words("kimi-k2", "漢字ab漢'S") == ["漢字", "ab", "漢", "'S"]
    assert words("tiny_aya", "12345678") == ["12", "345", "678"]
    assert words("superbpe", "a1234567b") == ["a", "1", "234", "567", "b"]
    assert words("default", "1234 x.") == ["123", "4", " x", "."]


def test_white_space_beyond_ascii_is_white_space() -> None:
    """GG-5: U+3000, U+0085 and their kin are `\\s`; U+200B and the separators U+001C to U+001F are not."""
    assert words("llama-bpe", "a\u3000\u3000b") == ["a", "\u3000", "\u3000b"]
    assert words("llama-bpe", "a\u0085\nb") == ["a", "\u0085\n", "b"]
    assert words("gpt-2", "a\x1c\x1c \u200bb") == ["a", "\x1c\x1c", " \u200b", "b"]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
NASTY = st.text("aZs't é日한\u0301\u3000\n\r\t 12½٣!'_/IMG<>", max_size=60)


@settings(max_examples=100, deadline=None)
@given(text=ANY_TEXT | NASTY)
def test_words_are_the_text(text: str) -> None:
    """GG-5: no pre-tokenizer loses, adds or reorders anything, and no word is empty."""
    for name in PRE_TOKENIZERS:
        found = words(name, text)
        assert "".join(found) == text, name
        assert all(found), name


@settings(max_examples=200, deadline=None)
@given(text=st.text("1a٣２", max_size=40))
def test_groups_of_three_by_hand(text: str) -> None:
    """GG-5: each run of numbers from its end in threes; what stands before a run joins its first group."""
    expected = []
    rest = text
    while run := re.search("[1٣２]+", rest):
        head = len(run[0]) % 3 or 3
        expected.append(rest[: run.start() + head])
        expected += re.findall("...", run[0][head:])
        rest = rest[run.end() :]
    expected += [rest] if rest else []
    assert Splitter((groups_of_three,)).split(text) == expected


@settings(max_examples=200, deadline=None)
@given(text=st.text("1a", max_size=40))
def test_before_threes_is_its_pattern(text: str) -> None:
    """GG-5: the pattern with a look-ahead cuts at the same places, in quadratic time."""
    by_pattern = Splitter((r"(?=(?:\d{3})+(?!\d))",)).split(text)
    assert Splitter((before_threes,)).split(text) == [word for word in by_pattern if word]


def test_classes_in_and_out_of_brackets() -> None:
    """GG-5: a class outside brackets is a set of its own, inside it joins the set; escapes stay."""
    assert compile_pattern(r"\p{N}{2}").fullmatch("4\xd1")
    assert compile_pattern(r"[\p{N}\[a]+\]").fullmatch("4[a\xd1]")
    assert not compile_pattern(r"[^\p{N}]").fullmatch("\xd1")
    assert compile_pattern(r"\p{P}\p{S}").fullmatch("\\^")


SLOW = [
    pytest.param(text, marks=pytest.mark.slow) for text in ("\t", "½1", "!", "日", "\u0301", "'s", "a b", "!a", " \n")
]


@pytest.mark.parametrize("text", [" ", "\n", "1", "A", *SLOW])
def test_no_pattern_is_quadratic(text: str) -> None:
    """GG-5: 40,000 characters take half a second at most, whatever they are (a quadratic pattern needs a minute)."""
    splitters = {id(each.splitter): each.splitter for each in PRE_TOKENIZERS.values()}
    for splitter in splitters.values():
        start = time.process_time()
        splitter.split((text * 40_000)[:40_000] + "x")
        assert time.process_time() - start < 4, splitter.steps


@pytest.mark.parametrize(("wrong", "near"), [("qwen-2", "qwen2"), ("llama_bpe", "llama-bpe"), ("TEKKEN", "tekken")])
def test_the_nearest_name(wrong: str, near: str) -> None:
    """GG-4: the refusal of an unknown pre-tokenizer names the one that was probably meant."""
    assert nearest_name(wrong) == near
