"""Word pieces: what becomes a word, and how a word is cut (GG-5)."""

from __future__ import annotations

import pytest

from refruntime.tokenizers.vocabulary import Vocabulary
from refruntime.tokenizers.word_pieces import WordPieceTokenizer, words

TOKENS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "\u2581un",
    "able",
    "\u2581!",
    "ab",
    "\u2581ab",
    "le",
    "\u2581\u4e2d",
    "\u2581U",
    "n",
]
PAD, UNK, CLS, SEP, UN, ABLE, MARK, AB, AB_FIRST, LE, HAN, LARGE_U, N = range(len(TOKENS))


def tokenizer(**choices: bool) -> WordPieceTokenizer:
    vocabulary = Vocabulary.build([token.encode() for token in TOKENS], [3, 2, 3, 3, *[1] * 9])
    return WordPieceTokenizer(vocabulary, first=CLS, last=SEP, unknown=UNK, **choices)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unable", [UN, ABLE]),
        ("Un\u00e1ble!", [UN, ABLE, MARK]),
        ("Una\u0301ble !", [UN, ABLE, MARK]),
        ("able", [AB_FIRST, LE]),  # the longest piece at the start of a word is another than within it
        ("un\u4e2dun", [UN, HAN, UN]),
        ("unxable un", [UNK, UN]),  # a gap makes the whole word unknown
        ("\u00ad\u0000un\u200b\ufffd\u3000\u2028un", [UN, UN]),
        ("", []),
    ],
)
def test_texts_become_pieces(text: str, expected: list[int]) -> None:
    """GG-5: worked out by hand."""
    assert tokenizer().encode(text.encode()) == [CLS, *expected, SEP]
    assert tokenizer().encode(text.encode(), add_special=False) == expected


def test_case_and_accents_stay_where_the_file_says() -> None:
    """GG-5: `normalizer.lowercase` and `normalizer.strip_accents` are each on their own."""
    assert tokenizer(lowercase=False).encode(b"Un", add_special=False) == [LARGE_U, N]
    assert tokenizer(strip_accents=False).encode("un\u00e1".encode(), add_special=False) == [UNK]
    assert list(words("\u00c9 e\u0301", lowercase=True, strip_accents=False)) == ["\u00e9", "e\u0301"]


def test_what_parts_words() -> None:
    """GG-5: punctuation anywhere, symbols in ASCII alone, Han characters; letters of other scripts do not."""
    assert list(words("a+b\u20acc\u2026d\u0430\u3042", lowercase=True, strip_accents=True)) == [
        *("a", "+", "b\u20acc", "\u2026", "d\u0430\u3042")
    ]


def test_special_texts_are_tokens_only_when_asked() -> None:
    """GG-5, GG-6: a prompt is plain text; pieces decode to their bytes, a space before each word."""
    plain = tokenizer().encode(b"[SEP]", add_special=False)
    assert SEP not in plain
    assert tokenizer().encode(b"un[SEP]un", add_special=False, parse_special=True) == [UN, SEP, UN]
    assert tokenizer().decode([CLS, UN, ABLE, MARK, SEP]) == b" unable !"
