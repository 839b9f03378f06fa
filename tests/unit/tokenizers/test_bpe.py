"""Byte-pair tokenization of GGUF vocabularies (GG-5, GG-6, section 13 "GGUF"), with vocabularies made by hand."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.errors import GenerationFailed
from refruntime.tokenizers.bpe import LONGEST_REMEMBERED_WORD, REMEMBERED_WORDS, BpeTokenizer
from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS
from refruntime.tokenizers.vocabulary import Vocabulary

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
# The byte alphabet of GPT-2 from Latin-1 by hand: what prints is itself, the rest counts on from U+0100.
PRINTS = [chr(byte) for byte in (*range(33, 127), *range(161, 173), *range(174, 256))]
ALPHABET = [chr(byte) if chr(byte) in PRINTS else "" for byte in range(256)]
for position, gap in enumerate([byte for byte in range(256) if not ALPHABET[byte]]):
    ALPHABET[gap] = chr(256 + position)
RAW_BYTES = [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]

Extra = tuple[str, int]


def alphabet(text: str) -> str:
    return "".join(ALPHABET[byte] for byte in text.encode())


def byte_level(merges: str = "", *extra: Extra, pre: str = "gpt-2", base: list[str] = ALPHABET) -> BpeTokenizer:
    """All 256 bytes, then what the merges make (`a b,ab c`), then extra tokens."""
    pairs = [pair for pair in merges.split(",") if pair]
    texts = list(dict.fromkeys([*base, *(pair.replace(" ", "") for pair in pairs)]))
    return build([(text, NORMAL) for text in texts], pairs, *extra, pre=pre)


def raw(merges: str = "", *extra: Extra, pre: str = "gemma4") -> BpeTokenizer:
    """The 256 byte tokens, a few characters and what the merges make."""
    pairs = [pair for pair in merges.split(",") if pair]
    texts = dict.fromkeys(["▁", *"abc\n日", *(pair.replace(" ", "") for pair in pairs)])
    return build([*RAW_BYTES, *((text, NORMAL) for text in texts)], pairs, *extra, pre=pre)


def build(tokens: list[Extra], pairs: list[str], *extra: Extra, pre: str) -> BpeTokenizer:
    tokens = [*tokens, *extra]
    vocabulary = Vocabulary.build([text.encode() for text, _ in tokens], [kind for _, kind in tokens])
    return BpeTokenizer(vocabulary, [pair.encode() for pair in pairs], PRE_TOKENIZERS[pre])


def pieces(tokenizer: BpeTokenizer, text: str, **options: bool) -> list[str]:
    ids = tokenizer.encode(text.encode(), add_special=False, **options)
    return [tokenizer.vocabulary.texts[token].decode() for token in ids]


def test_the_lowest_rank_merges_first() -> None:
    """GG-5: `ab` + `c` and `a` + `bc` compete; the earlier line of the merges wins, wherever it stands."""
    assert pieces(byte_level("a b,b c"), "abc") == ["ab", "c"]
    assert pieces(byte_level("b c,a b"), "abc") == ["a", "bc"]
    assert pieces(byte_level("b c,a b,a bc"), "abc") == ["abc"]
    assert pieces(byte_level("a b,c d,ab cd"), "abcd") == ["abcd"]
    assert pieces(byte_level("c d,a b,ab cd"), "abcd") == ["abcd"]


def test_of_one_rank_the_leftmost_merges_first() -> None:
    """GG-5: ties go to the pair further left; of a pair that is listed twice the first rank counts."""
    assert pieces(byte_level("a a"), "aaa") == ["aa", "a"]
    assert pieces(byte_level("a b,b c,a b"), "abc") == ["ab", "c"]
    assert pieces(byte_level("a b,b c,b c"), "abc") == ["ab", "c"]


def test_only_listed_pairs_merge() -> None:
    """GG-5: that the text of two symbols is a token does not merge them, unlike SentencePiece."""
    tokenizer = byte_level("b c", ("abc", NORMAL), ("ab", NORMAL))
    assert pieces(tokenizer, "abc") == ["a", "bc"]
    assert pieces(byte_level("b c,a bc", pre="llama-bpe"), "abc") == ["abc"]


def test_words_that_are_tokens_may_skip_the_merges() -> None:
    """GG-5: with llama-bpe a whole word that is a token is taken as it is, with gpt-2 it is not."""
    word = (alphabet(" abc"), NORMAL)
    assert pieces(byte_level("a b", word, pre="llama-bpe"), "abc abc") == ["ab", "c", "Ġabc"]
    assert pieces(byte_level("a b", word, pre="gpt-2"), "abc abc") == ["ab", "c", "Ġ", "ab", "c"]


def test_merges_stay_inside_words() -> None:
    """GG-5: no pair reaches across the cut of the pre-tokenizer, and spaces lead words."""
    tokenizer = byte_level("a Ġ,Ġ b,a b,Ġ Ġ")
    assert pieces(tokenizer, "a b") == ["a", "Ġb"]
    assert pieces(tokenizer, "a  b") == ["a", "Ġ", "Ġb"]
    assert pieces(tokenizer, "ab  ") == ["ab", "ĠĠ"]


def test_bytes_that_no_token_expresses_give_13() -> None:
    """Section 13 GGUF: encoding fails with 13 and names the byte, where llama.cpp would leave it out."""
    tokenizer = byte_level(base=[each for each in ALPHABET if each != "b"])
    with pytest.raises(GenerationFailed) as caught:
        tokenizer.encode(b"abc")
    assert (caught.value.rule, caught.value.expected) == ("GG-5", "b")
    bare = build([("a", NORMAL)], [], pre="gemma4")
    with pytest.raises(GenerationFailed) as caught:
        bare.encode("aé".encode())
    assert caught.value.expected == "<0xC3>"


def test_merges_that_make_no_token_fall_apart() -> None:
    """GG-5: a symbol that is no token becomes the tokens of its bytes."""
    tokens: list[Extra] = [(each, NORMAL) for each in ALPHABET]
    assert pieces(build(tokens, ["a b", "ab c"], pre="gpt-2"), "abc") == ["a", "b", "c"]


def test_gemma_4_writes_spaces_as_marks_and_merges_across_them() -> None:
    """GG-5: no words but lines; a character that is no token becomes byte tokens; line feeds may be one token."""
    tokenizer = raw("a ▁,a▁ b", ("\n\n", NORMAL))
    assert pieces(tokenizer, "a b") == ["a▁b"]
    assert pieces(tokenizer, "a\n\nb\n\n\né") == ["a", "\n\n", "b", "\n", "\n", "\n", "<0xC3>", "<0xA9>"]
    assert pieces(raw("", ("\n\n", NORMAL), pre="sarvam-moe"), "\n\n") == ["\n", "\n"]
    assert tokenizer.decode(tokenizer.encode("a b\n\n日 é▁".encode())) == "a b\n\n日 é ".encode()


SPECIAL: tuple[Extra, ...] = (
    ("<c>", CONTROL),
    ("<u>", USER_DEFINED),
    ("<?>", UNKNOWN),
    ("<-->", UNUSED),
    ("a b", USER_DEFINED),
)


def test_control_tokens_are_parsed_only_when_asked() -> None:
    """Section 13 GGUF: plain text spells no control token; the text of a chat template does (parse_special)."""
    tokenizer = byte_level("", *SPECIAL)
    text = "x<c><u><?><-->a b"
    plain = ["x", "<", "c", ">", "<u>", "<", "?", ">", "<", "-", "-", ">", "a b"]
    assert pieces(tokenizer, text) == plain
    assert pieces(tokenizer, text, parse_special=True) == ["x", "<c>", "<u>", "<?>", "<", "-", "-", ">", "a b"]


def test_special_tokens_cut_words() -> None:
    """GG-5: text before and behind a user-defined token is cut into words on its own."""
    assert pieces(byte_level("Ġ x", *SPECIAL), " x<u> x") == ["Ġx", "<u>", "Ġx"]
    assert pieces(byte_level("Ġ Ġ", *SPECIAL), "  <u>") == ["ĠĠ", "<u>"]


def test_decoding_by_kind_of_token() -> None:
    """GG-6, section 13: control, unknown, unused and undefined tokens give nothing; the rest their bytes."""
    tokenizer = byte_level("", *SPECIAL, (alphabet(" é\n"), NORMAL), ("<0xFF>", BYTE), ("odd", 77), ("日x", NORMAL))
    first = 256
    found = [tokenizer.piece(token) for token in range(first, tokenizer.vocab_size)]
    unspelt = "[UNK_BYTE_0xe697a5日x]x".encode()  # what llama.cpp says of a character outside the byte alphabet
    assert found == [b"", b"<u>", b"", b"", b"a b", " é\n".encode(), b"\xff", b"", unspelt]
    assert tokenizer.decode(range(256)) == bytes(range(256))


def test_a_token_may_cut_a_character() -> None:
    """GG-5: what a user-defined token leaves of a character is U+FFFD for each byte, as in llama.cpp."""
    tokens = [*(each.encode() for each in ALPHABET), b"\xe6"]
    vocabulary = Vocabulary.build(tokens, [NORMAL] * 256 + [USER_DEFINED])
    tokenizer = BpeTokenizer(vocabulary, [], PRE_TOKENIZERS["gpt-2"])
    assert tokenizer.decode(tokenizer.encode("日".encode())) == b"\xe6" + "\ufffd\ufffd".encode()


def test_bos_and_eos_are_added_as_told() -> None:
    """Section 13 GGUF: around every text, also an empty one; not without add_special."""
    vocabulary = Vocabulary.build([b"a", b"<s>", b"</s>"], [NORMAL, CONTROL, CONTROL])
    both = BpeTokenizer(vocabulary, [], PRE_TOKENIZERS["gpt-2"], bos_id=1, eos_id=2, add_bos=True, add_eos=True)
    assert (both.encode(b"a"), both.encode(b""), both.encode(b"a", add_special=False)) == ([1, 0, 2], [1, 2], [0])
    neither = BpeTokenizer(vocabulary, [], PRE_TOKENIZERS["gpt-2"], bos_id=1, eos_id=2, stop_ids=[0, 2])
    assert (neither.encode(b"a"), neither.stop_ids, neither.eos_id, neither.kind) == ([0], frozenset({0, 2}), 2, "bpe")


# Against the definition ----------------------------------------------------------------------------------------------


def merge_slowly(word: str, pairs: list[str]) -> list[str]:
    """Merge by looking at all neighbours every time: the definition, without heap, list or staleness."""
    symbols = list(word)
    while True:
        ranks = [(pairs.index(f"{a} {b}"), at) for at, (a, b) in enumerate(pairwise(symbols)) if f"{a} {b}" in pairs]
        if not ranks:
            return symbols
        at = min(ranks)[1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


symbol = st.text("abc", min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(pairs=st.lists(st.builds("{} {}".format, symbol, symbol), max_size=30), word=st.text("abc", max_size=24))
def test_the_heap_merges_as_the_definition_says(pairs: list[str], word: str) -> None:
    """GG-5: any merges and word give what repeated search for the best neighbours gives."""
    assert pieces(byte_level(",".join(pairs)), word) == merge_slowly(word, pairs)


def trained(text: str, count: int) -> str:
    """Return merges learnt from a text: again and again its most frequent pair."""
    words = [list(alphabet(word)) for word in text.replace(" ", "| ").split("|")]
    pairs: list[str] = []
    for _ in range(count):
        counts: dict[tuple[str, str], int] = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        left, right = max(sorted(counts), key=lambda pair: counts[pair])
        pairs.append(f"{left} {right}")
        words = [merge_slowly("".join(word), pairs) for word in words]
    return ",".join(pair for pair in pairs if "," not in pair)


LEARNT = trained("the cat and the hat and that thin man sat on the mat, ätsch, the end of the band, 日本 日本語", 40)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("the cat's\n 12日́\u3000", max_size=60)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_decoding_gives_the_text_back(text: str) -> None:
    """GG-6: a vocabulary with all bytes expresses every text, whatever the pre-tokenizer."""
    for tokenizer in TOKENIZERS:
        assert tokenizer.decode(tokenizer.encode(text.encode())) == text.encode()


TOKENIZERS = [
    byte_level(LEARNT, pre=pre) for pre in ("gpt-2", "llama-bpe", "qwen2", "tekken", "deepseek-llm", "default")
]


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_words_merge_one_by_one(text: str) -> None:
    """GG-5: the ids of a text are those that the definition gives for each of its words."""
    tokenizer = TOKENIZERS[0]
    pairs = LEARNT.split(",")
    words = tokenizer.words(text.encode())
    assert "".join(words) == text
    expected = [each for word in words for each in merge_slowly(alphabet(word), pairs)]
    assert pieces(tokenizer, text) == expected


def test_the_memory_of_words_is_bounded_and_changes_nothing() -> None:
    """GG-5: words are remembered with their ids, but not without end and not the long ones."""
    tokenizer = byte_level(LEARNT)
    long = "the" * LONGEST_REMEMBERED_WORD
    for text in ("the cat", long):
        assert tokenizer.encode(text.encode()) == tokenizer.encode(text.encode())
    assert set(tokenizer._known_words) == {"the", " cat"}
    tokenizer._known_words.update({f"\0{number}": [0] for number in range(REMEMBERED_WORDS)})
    size = len(tokenizer._known_words)
    assert pieces(tokenizer, "that hat") == pieces(byte_level(LEARNT), "that hat")
    assert len(tokenizer._known_words) == size


@pytest.mark.parametrize("word", ["a", "ab", "abc", "é", "日", " ", "a\n", "1"])
def test_long_words_take_linear_time(word: str) -> None:
    """GG-5: a text of 40,000 equal characters or pairs is no problem (measured: up to 0.4 seconds)."""
    doubling = ",".join(f"{'a' * 2**power} {'a' * 2**power}" for power in range(10))
    text = (word * 40_000)[:40_000].encode()
    for tokenizer in (byte_level(f"{doubling},a b,b c,ab ab,Ġ Ġ,ĠĠ ĠĠ"), raw(f"{doubling},a b,b c,▁ ▁")):
        start = time.process_time()
        ids = tokenizer.encode(text)
        assert time.process_time() - start < 4
        assert tokenizer.decode(ids) == text
