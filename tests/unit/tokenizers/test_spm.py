"""SentencePiece tokenization as llama.cpp does it (GG-5, GG-6, section 13 "GGUF")."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.errors import GenerationFailed, InvalidHeader
from refruntime.hypotheses.faults import tokenizer as tokenizer_faults
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.tokenizers.token_attributes import Attribute, derive_attributes
from refruntime.tokenizers.vocabulary import Vocabulary

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
Token = tuple[str | bytes, int, float]
BASE: list[Token] = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0)]
BYTES: list[Token] = [(f"<0x{byte:02X}>", BYTE, 0.0) for byte in range(256)]


def vocabulary(tokens: list[Token], name: str = "") -> Vocabulary:
    texts = [text.encode() if isinstance(text, str) else text for text, _, _ in tokens]
    return Vocabulary.build(texts, [kind for _, kind, _ in tokens], model_name=name)


def tokenizer(*extra: Token, base: list[Token] = BASE, name: str = "", **settings: bool) -> SpmTokenizer:
    tokens = [*base, *extra]
    return SpmTokenizer(vocabulary(tokens, name), [score for _, _, score in tokens], **settings)


def pieces(spm: SpmTokenizer, text: str, *, add_special: bool = False) -> list[str]:
    """Encode and show the token texts."""
    ids = spm.encode(text.encode(), add_special=add_special)
    return [spm.vocabulary.texts[token].decode() for token in ids]


def normal(text: str, score: float) -> Token:
    return (text, NORMAL, score)


LETTERS = [normal(letter, -100.0) for letter in "▁abcd"]


def test_the_best_score_merges_first() -> None:
    """GG-5: `ab` + `c` and `a` + `bc` compete; the higher score wins, wherever it stands."""
    assert pieces(tokenizer(*LETTERS, normal("ab", -2), normal("bc", -1)), "abc") == ["▁", "a", "bc"]
    assert pieces(tokenizer(*LETTERS, normal("ab", -1), normal("bc", -2)), "abc") == ["▁", "ab", "c"]
    grown = tokenizer(*LETTERS, normal("ab", -2), normal("bc", -1), normal("abc", -9), normal("abcd", 5))
    assert pieces(grown, "abcd") == ["▁", "abcd"]


def test_of_equal_scores_the_leftmost_merges_first() -> None:
    """GG-5: ties go to the pair further left."""
    assert pieces(tokenizer(*LETTERS, normal("aa", -1)), "aaa") == ["▁", "aa", "a"]
    assert pieces(tokenizer(*LETTERS, normal("ab", -1), normal("ba", -1)), "bab") == ["▁", "ba", "b"]


def test_merged_symbols_merge_with_merged_neighbours_on_both_sides() -> None:
    """GG-5: `ab` and `cd` are formed first; then the pair of both is found from either side."""
    pairs = [normal("ab", -1), normal("cd", -2), normal("abcd", -3)]
    assert pieces(tokenizer(*LETTERS, *pairs), "abcd") == ["▁", "abcd"]
    pairs = [normal("ab", -2), normal("cd", -1), normal("abcd", -3)]
    assert pieces(tokenizer(*LETTERS, *pairs), "abcd") == ["▁", "abcd"]
    assert pieces(tokenizer(*LETTERS, *pairs, normal("▁abcd", -4)), "abcd") == ["▁abcd"]


def test_spaces_become_marks_and_one_is_put_in_front() -> None:
    """GG-5, section 13: each space is U+2581; one more leads the text unless add_space_prefix is false."""
    tokens = [*LETTERS, normal("▁a", -1)]
    assert pieces(tokenizer(*tokens), "a  a") == ["▁a", "▁", "▁a"]
    assert pieces(tokenizer(*tokens), " a") == ["▁", "▁a"]
    assert pieces(tokenizer(*tokens, add_space_prefix=False), "a a") == ["a", "▁a"]
    assert pieces(tokenizer(*tokens), "▁a") == ["▁", "▁a"]


def test_bos_and_eos_are_added_as_told() -> None:
    """Section 13 GGUF: BOS by default, EOS not; both also around an empty text; neither without add_special."""
    assert tokenizer().encode(b"") == [1]
    assert tokenizer().encode(b"", add_special=False) == []
    assert tokenizer(add_bos=False, add_eos=True).encode(b"") == [2]
    assert tokenizer(*LETTERS, add_eos=True).encode(b"a") == [1, 3, 4, 2]
    assert tokenizer(*LETTERS, add_eos=True).encode(b"a", add_special=False) == [3, 4]


def test_unknown_characters_fall_back_to_bytes() -> None:
    """GG-5: a character without token becomes its byte tokens, all of them."""
    spm = tokenizer(*BYTES, *LETTERS)
    assert pieces(spm, "aé日") == ["▁", "a", "<0xC3>", "<0xA9>", "<0xE6>", "<0x97>", "<0xA5>"]
    assert pieces(tokenizer(*BYTES), " ") == ["<0xE2>", "<0x96>", "<0x81>"] * 2
    assert pieces(spm, "\0\n") == ["▁", "<0x00>", "<0x0A>"]


def test_a_byte_may_be_a_token_of_its_own() -> None:
    """GG-5: without `<0xHH>` llama.cpp takes the token whose text is that byte."""
    spm = tokenizer(normal("▁", -1), (b"\xc3", NORMAL, -1.0), (b"\xa9", NORMAL, -1.0))
    assert spm.encode("é".encode(), add_special=False) == [3, 4, 5]


def test_a_byte_that_no_token_expresses_gives_13() -> None:
    """Section 13 GGUF: an inexpressible byte makes encoding fail with 13 and is named."""
    with pytest.raises(GenerationFailed) as caught:
        tokenizer(*LETTERS).encode(b"a?")
    assert caught.value.expected == "<0x3F>"


def test_user_defined_tokens_are_found_in_raw_text_and_control_tokens_are_not() -> None:
    """Section 13 GGUF: control tokens are not parsed, user-defined ones are (parse_special off)."""
    spm = tokenizer(*BYTES, *LETTERS, ("<x>", USER_DEFINED, 0.0), ("<c>", CONTROL, 0.0))
    assert pieces(spm, "a<x>b") == ["▁", "a", "<x>", "▁", "b"]
    assert "<c>" not in pieces(spm, "a<c>b")
    assert pieces(spm, "<x>") == ["<x>"]
    assert pieces(spm, "<x><x> a", add_special=True) == ["<s>", "<x>", "<x>", "▁", "▁", "a"]
    assert pieces(tokenizer(*BYTES, *LETTERS, ("<x>", USER_DEFINED, 0.0), add_space_prefix=False), "a<x>b") == [
        "a",
        "<x>",
        "b",
    ]


def test_control_tokens_are_parsed_when_asked() -> None:
    """GG-5: the text of a chat template spells control and unknown tokens (parse_special on); a space follows each."""
    spm = tokenizer(*BYTES, *LETTERS, ("<x>", USER_DEFINED, 0.0), ("<c>", CONTROL, 0.0), ("<-->", UNUSED, 0.0))
    ids = spm.encode(b"<s>a<c><x><unk>b", parse_special=True, add_special=False)
    expected = ["<s>", "▁", "a", "<c>", "<x>", "<unk>", "▁", "b"]
    assert [spm.vocabulary.texts[token].decode() for token in ids] == expected
    assert spm.encode(b"<-->", parse_special=True) == spm.encode(b"<-->")
    assert (spm.bos_id, spm.adds_bos, tokenizer(add_bos=False).adds_bos) == (1, True, False)


def test_longer_user_defined_tokens_come_first() -> None:
    """GG-5: of overlapping user-defined tokens the longest text is cut out first, then leftmost first."""
    spm = tokenizer(*BYTES, *LETTERS, ("ab", USER_DEFINED, 0.0), ("bcd", USER_DEFINED, 0.0))
    assert pieces(spm, "abcd") == ["▁", "a", "bcd"]
    assert pieces(spm, "abab") == ["ab", "ab"]
    assert pieces(tokenizer(*LETTERS, ("aa", USER_DEFINED, 0.0)), "aaa") == ["aa", "▁", "a"]


def test_spaces_inside_user_defined_tokens_are_raw() -> None:
    """GG-5: the raw text is searched before spaces become marks, and the token's text is decoded unchanged."""
    spm = tokenizer(*BYTES, *LETTERS, ("a b", USER_DEFINED, 0.0), ("▁▁", USER_DEFINED, 0.0))
    assert pieces(spm, "ca bc") == ["▁", "c", "a b", "▁", "c"]
    assert spm.decode(spm.encode(b"a b")) == b"a b"
    assert pieces(spm, "  ") == ["▁▁", "▁"]  # not found in raw text, but merged from marks like any token
    assert spm.piece(spm.vocabulary.ids["▁▁".encode()]) == "▁▁".encode()


PHI: list[Token] = [
    *BASE,
    *BYTES,
    *LETTERS,
    ("<|endoftext|>", CONTROL, 0.0),
    ("<|user|>", USER_DEFINED, 0.0),
]


@pytest.mark.parametrize("name", ["phi-3", "Phi-3-mini-4k", "my PHI3 tune"])
def test_models_named_phi_3_strip_the_space_behind_user_defined_tokens(name: str) -> None:
    """Section 13 GGUF: `general.name` brings the strip rules of phi-3, in any case of letters."""
    spm = tokenizer(base=PHI, name=name)
    assert pieces(spm, "a <|user|> \n\t\v\f\r b") == ["▁", "a", "▁", "<|user|>", "▁", "b"]
    assert pieces(spm, "<|user|>  ") == ["<|user|>"]
    assert pieces(spm, "<|user|> <|user|> a") == ["<|user|>", "<|user|>", "▁", "a"]
    bits = spm.vocabulary.attributes
    assert [bool(bits[token] & Attribute.RSTRIP) for token in (0, 1, 2)] == [False, False, True]
    assert pieces(tokenizer(base=PHI, name="llama"), "<|user|> a") == ["<|user|>", "▁", "▁", "a"]


def test_a_phi_3_without_its_tokens_is_refused() -> None:
    """Section 13 GGUF: llama.cpp cannot load it either."""
    with pytest.raises(InvalidHeader) as caught:
        vocabulary([*BASE, *LETTERS], "phi-3")
    assert caught.value.expected == "<|endoftext|>"


def test_left_strip_rules() -> None:
    """Section 13 GGUF: with a modern-bert name whitespace before `[MASK]` vanishes."""
    spm = tokenizer(*LETTERS, ("[MASK]", USER_DEFINED, 0.0), name="modern-bert")
    assert pieces(spm, "a  [MASK] b") == ["▁", "a", "[MASK]", "▁", "▁", "b"]
    assert pieces(spm, "  [MASK]") == ["[MASK]"]


def test_texts_that_look_like_ends_become_control_tokens() -> None:
    """GG-5: llama.cpp overrides the type of tokens such as <|im_end|>; then they are neither parsed nor shown."""
    spm = tokenizer(*BYTES, *LETTERS, ("<|im_end|>", USER_DEFINED, 0.0), ("<|fim_pad|>", NORMAL, 0.0))
    assert "<|im_end|>" not in pieces(spm, "a<|im_end|>")
    for text in (b"<|im_end|>", b"<|fim_pad|>"):
        assert spm.piece(spm.vocabulary.ids[text]) == b""


def attributes_of(*texts: str, kind: int = NORMAL, **settings: list[str]) -> list[int]:
    raw = [text.encode() for text in texts]
    ids = {text: index for index, text in enumerate(raw)}
    return derive_attributes(raw, ids, [kind] * len(texts), **settings).tolist()


def test_attributes_by_text() -> None:
    """GG-5: the corrections of llama.cpp's vocabulary loader, one by one."""
    n, c, u = int(Attribute.NORMAL), int(Attribute.CONTROL), int(Attribute.USER_DEFINED)
    assert attributes_of("<EOT>", "x") == [n | c, n]
    assert attributes_of("<PRE>", "<|fim_prefix|>") == [n | c, n]  # one token for a role
    assert attributes_of("<PRE>", named_roles=["fim_pre"]) == [n]
    assert attributes_of("a<unused5>", "b", kind=CONTROL) == [c | Attribute.UNUSED, c]
    assert attributes_of("<|channel|>", kind=CONTROL) == [u]
    assert attributes_of("<|end|>", "<|return|>", "<|call|>", kind=CONTROL) == [u, c, c]
    assert attributes_of("<|end|>", "<|flush|>", "<|calls|>", kind=CONTROL) == [u, c, c]
    assert attributes_of("<|end|>", "<|return|>", kind=CONTROL) == [c, c]
    assert attributes_of("</s>", "<|tool_response>", kind=CONTROL) == [n, c]
    assert attributes_of("x", kind=77) == [0]
    assert derive_attributes([b"x"], {b"x": 0}, None).tolist() == [n]


def test_decoding_by_kind_of_token() -> None:
    """GG-6, section 13: control, unknown, unused and undefined tokens give nothing; the rest their bytes."""
    spm = tokenizer(
        ("▁a▁b", NORMAL, 0.0), ("<0xFF>", BYTE, 0.0), ("▁x", USER_DEFINED, 0.0), ("gone", UNUSED, 0.0), ("odd", 77, 0.0)
    )
    assert [spm.piece(token) for token in range(8)] == [b"", b"", b"", b" a b", b"\xff", "▁x".encode(), b"", b""]
    assert spm.decode([1, 3, 4, 2]) == b" a b\xff"


def test_texts_are_taken_as_c_strings() -> None:
    """GG-5: llama.cpp cuts a text at NUL and names empty ones after their id."""
    built = Vocabulary.build([b"a\0b", b"", b"\0"])
    assert list(built.texts) == [b"a", b"[EMPTY_1]", b"[EMPTY_2]"]
    with pytest.raises(InvalidHeader, match="same text"):
        Vocabulary.build([b"a\0b", b"a\0c"])


@pytest.mark.parametrize("text", ["<0x0>", "<0x0G>", "<0x+1>", "<0x1_>", "0x0A", "<0X0A>", "<0x0A> "])
def test_byte_tokens_are_spelt_one_way(text: str) -> None:
    """GG-4: a byte token that does not spell a byte is refused with 6."""
    with pytest.raises(InvalidHeader, match="byte token"):
        vocabulary([(text, BYTE, 0.0)])


def merge_slowly(spm: SpmTokenizer, scores: dict[bytes, float], text: str) -> list[bytes]:
    """Merge by looking at all neighbours every time: the definition, without heap, list or staleness."""
    symbols = [character.encode() for character in ("▁" + text.replace(" ", "▁"))]
    while True:
        pairs = [(-scores[a + b], at) for at, (a, b) in enumerate(pairwise(symbols)) if a + b in scores]
        if not pairs:
            return [part for symbol in symbols for part in ([symbol] if symbol in scores else as_bytes(symbol))]
        at = min(pairs)[1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]


def as_bytes(symbol: bytes) -> list[bytes]:
    return [b"<0x%02X>" % byte for byte in symbol]


@settings(max_examples=150, deadline=None)
@given(
    words=st.dictionaries(
        st.text("ab▁", min_size=1, max_size=4) | st.just("é"),
        st.sampled_from([-3.0, -2.0, -1.0, 0.0]),
        min_size=8,
        max_size=40,
    ),
    text=st.text("ab ab é日", max_size=24),
)
def test_the_heap_merges_as_the_definition_says(words: dict[str, float], text: str) -> None:
    """GG-5: any vocabulary and text give what repeated search for the best neighbours gives."""
    spm = tokenizer(*BYTES, *(normal(word, score) for word, score in words.items()))
    scores = {word.encode(): score for word, score in words.items()}
    found = [spm.vocabulary.texts[token] for token in spm.encode(text.encode(), add_special=False)]
    assert found == (merge_slowly(spm, scores, text) if text else [])


@pytest.mark.parametrize("word", ["a", "ab", "abc", "é"])
def test_long_words_take_linear_time(word: str) -> None:
    """GG-5: a word of 40,000 characters is no problem (measured: 0.1 seconds)."""
    doubling = [normal("a" * 2**power, float(power)) for power in range(1, 12)]
    spm = tokenizer(*BYTES, *LETTERS, *doubling, normal("ab", -1), normal("bc", -2), normal("abab", -1))
    text = (word * 40_000)[:40_000].encode()
    start = time.process_time()
    ids = spm.encode(text)
    assert time.process_time() - start < 2
    assert spm.decode(ids) == b" " + text


def test_decoding_gives_the_text_back() -> None:
    """GG-6: with byte fallback every text comes back, with the leading space that was put in front."""
    spm = tokenizer(*BYTES, *LETTERS, normal("▁a", -1), normal("bc", -3))
    for text in ("", "a", " a  b", "a\nb", "日本 é", "▁", "<s></s>"):
        encoded = text.encode()
        expected = b" " + encoded.replace("▁".encode(), b" ") if text else b""
        assert spm.decode(spm.encode(encoded)) == expected


def test_the_protocol() -> None:
    """GEN-2, GG-6: what the runtime asks of a tokenizer."""
    spm = SpmTokenizer(vocabulary([*BASE, *LETTERS]), [0.0] * 8, eos_id=2, stop_ids=[2, 4])
    assert (spm.kind, spm.vocab_size, spm.eos_id, spm.stop_ids) == ("spm", 8, 2, frozenset({2, 4}))
    assert SpmTokenizer(vocabulary(BASE), [0.0] * 3, eos_id=None).stop_ids == frozenset()


def test_a_build_without_byte_tokens_can_be_told() -> None:
    """GG-5: the fault gives token 0 for each character outside the vocabulary, and leaves the tokenizer as it was."""
    spm = tokenizer(*LETTERS, *BYTES)
    (fault,) = (fault for fault in tokenizer_faults.FAULTS if fault.name == "byte-fallback-missing")
    assert fault.changes.tokenizer is not None
    varied = fault.changes.tokenizer(spm)
    right = spm.encode("aé世".encode(), add_special=False)
    assert [spm.vocabulary.texts[token] for token in right[2:4]] == [b"<0xC3>", b"<0xA9>"]
    assert varied.encode("aé世".encode(), add_special=False) == [*right[:2], 0, 0]
