"""The BPE1 tokenizer: section checks, encode against the plain definition, decode."""

from __future__ import annotations

import random
import struct
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from refruntime.errors import InvalidHeader
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe1 import Bpe1Tokenizer
from refruntime.tokenizers.bpe1_section import Merge, TokenRecord
from tests.support.slm1_by_hand import bpe1

THE_TOKENS = [(260, b"th"), (261, b"the")]
THE_MERGES = [(116, 104, 260, 0), (260, 101, 261, 1)]
THE = bpe1(THE_TOKENS, THE_MERGES)


def parse(section: bytes, vocab_size: int = 262) -> Bpe1Tokenizer:
    return Bpe1Tokenizer.parse(memoryview(section), vocab_size)


def refusal(section: bytes, vocab_size: int = 262) -> InvalidHeader:
    """Parse a section that must be refused; the offset is given relative to the section."""
    with pytest.raises(InvalidHeader) as caught:
        Bpe1Tokenizer.parse(memoryview(section), vocab_size, base_offset=5000)
    error = caught.value
    assert (error.status, error.rule) == (6, "SL-9")
    assert error.field is not None
    assert error.expected is not None
    assert error.found is not None
    assert error.offset is not None
    error.offset -= 5000
    return error


def naive_merge(ids: list[int], merges: list[tuple[int, int, int, int]]) -> list[int]:
    """Follow SL-10 word by word: of all pairs take the lowest rank, of equals the leftmost, and replace it once."""
    while True:
        best: tuple[int, int, int] | None = None
        for place in range(len(ids) - 1):
            for left, right, output, rank in merges:
                if (ids[place], ids[place + 1]) == (left, right) and (best is None or rank < best[0]):
                    best = rank, place, output
        if best is None:
            return ids
        _, place, output = best
        ids = [*ids[:place], output, *ids[place + 2 :]]


def test_published_example() -> None:
    """SL-10, DG-6, GEN-2: `the` becomes 256,261 once the terminal EOS is removed."""
    tokenizer: Tokenizer = parse(THE)
    ids = tokenizer.encode(b"the")
    assert ids.pop() == tokenizer.eos_id == 257
    assert ",".join(map(str, ids)) == "256,261"
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.stop_ids) == ("bpe1", 262, frozenset({257}))
    assert tokenizer.decode([256, 261, 257]) == b"the"


def test_section_bytes() -> None:
    """SL-9: a section is written as it was read."""
    assert parse(THE).section_bytes() == THE
    tokenizer = Bpe1Tokenizer.build(
        262, [TokenRecord(*item) for item in THE_TOKENS], [Merge(*item) for item in THE_MERGES]
    )
    assert tokenizer.section_bytes() == THE
    assert tokenizer == parse(THE)
    assert tokenizer.records == THE_TOKENS
    assert tokenizer.merges == THE_MERGES


def test_section_outlives_its_memory() -> None:
    """SL-9, MEM-9: the tokenizer keeps a copy, so the memory of the file may be used for something else."""
    memory = bytearray(THE)
    tokenizer = Bpe1Tokenizer.parse(memoryview(memory), 262)
    memory[:] = bytes(len(memory))
    assert tokenizer.encode(b"the") == [256, 261, 257]
    assert tokenizer.decode([261]) == b"the"


def test_build_refuses_what_parse_refuses() -> None:
    """SL-9: a tokenizer cannot be made from parts that break the rules."""
    with pytest.raises(InvalidHeader):
        Bpe1Tokenizer.build(262, [TokenRecord(300, b"x")], [])


def test_first_of_several_repetitions_is_named() -> None:
    """SL-9: the error names the first record whose id came before."""
    error = refusal(bpe1([(261, b"x"), (260, b"x"), (261, b"x"), (260, b"x")], []))
    assert (error.field, error.offset, error.found) == ("id", 36 + 18, 261)


def test_no_records_and_no_merges() -> None:
    """SL-9, CL-bpe1: the 256 bytes are implicit and need no records."""
    tokenizer = parse(bpe1([], [], 260), 260)
    assert tokenizer.encode(bytes(range(256)), add_special=False) == list(range(256))
    assert tokenizer.decode(range(256)) == bytes(range(256))


@pytest.mark.parametrize(
    ("offset", "field"),
    [(0, "magic"), (4, "version"), (8, "vocab_size"), (12, "BOS"), (16, "EOS"), (20, "PAD"), (24, "UNK")],
)
def test_fixed_fields(offset: int, field: str) -> None:
    """SL-9: wrong magic, version, vocabulary or special ids."""
    section = bytearray(THE)
    section[offset] ^= 0x10
    error = refusal(bytes(section))
    assert (error.field, error.offset) == (field, offset)


@pytest.mark.parametrize("vocab_size", [0, 259])
def test_small_vocabulary(vocab_size: int) -> None:
    """SL-9, CL-slm1: a vocabulary below 260 gives 6."""
    assert refusal(bpe1([], [], vocab_size), vocab_size).field == "vocab_size"


def test_vocabulary_drift() -> None:
    """SL-9: header and section must agree."""
    error = refusal(THE, 263)
    assert (error.field, error.expected, error.found) == ("vocab_size", 263, 262)


@pytest.mark.parametrize("length", range(len(THE)))
def test_every_truncation(length: int) -> None:
    """SL-9: no prefix of a section is a section."""
    error = refusal(THE[:length])
    assert error.offset is not None
    assert error.offset <= length


@pytest.mark.parametrize("tail", [b"\0", bytes(16), THE])
def test_trailing_bytes(tail: bytes) -> None:
    """SL-9: nothing may follow the last merge."""
    error = refusal(THE + tail)
    assert (error.field, error.offset) == ("merge_count", len(THE))


def test_false_counts_cost_nothing() -> None:
    """SL-9: counts of 2^32 - 1 are refused without work or memory."""
    start = time.process_time()
    for offset, field in ((28, "token_count"), (32, "merge_count")):
        section = bytearray(bpe1([], []))
        struct.pack_into("<I", section, offset, 0xFFFFFFFF)
        assert refusal(bytes(section)).field == field
    assert time.process_time() - start < 1


@pytest.mark.parametrize("token", [262, 2**32 - 1])
def test_record_out_of_range(token: int) -> None:
    """SL-9: a recorded id lies below the vocabulary size."""
    error = refusal(bpe1([(260, b"x"), (token, b"y")], []))
    assert (error.field, error.offset, error.found) == ("id", 36 + 9, token)


@pytest.mark.parametrize("token", [0, 97, 255, 256, 259, 260])
def test_duplicate_record(token: int) -> None:
    """SL-9, CL-bpe1: two records of one id, also of a byte or a special, even if they agree."""
    error = refusal(bpe1([(token, b"x"), (token, b"x")], []))
    assert (error.field, error.offset, error.found) == ("id", 36 + 9, token)


def test_empty_record() -> None:
    """SL-9: a record has at least one byte."""
    error = refusal(bpe1([(260, b"")], []))
    assert (error.field, error.offset, error.found) == ("byte_length", 40, 0)


@pytest.mark.parametrize("length", [2, 2**31, 2**32 - 1])
def test_malformed_length(length: int) -> None:
    """SL-9: the bytes of a record lie inside the section."""
    section = bytearray(bpe1([(260, b"x")], []))
    struct.pack_into("<I", section, 40, length)
    error = refusal(bytes(section))
    assert (error.field, error.offset, error.found) == ("byte_length", 40, length)


@pytest.mark.parametrize(("place", "field"), [(0, "left"), (1, "right"), (2, "output")])
def test_merge_out_of_range(place: int, field: str) -> None:
    """SL-9: each id of a merge lies below the vocabulary size."""
    merge = [97, 98, 260, 5]
    merge[place] = 262
    section = bpe1(THE_TOKENS, [THE_MERGES[0], (merge[0], merge[1], merge[2], merge[3])])
    error = refusal(section)
    assert (error.field, error.offset, error.found) == (field, len(section) - 16 + 4 * place, 262)


@pytest.mark.parametrize("output", [256, 257, 258, 259, 261])
def test_merge_output_without_token(output: int) -> None:
    """SL-9, CL-bpe1: an output needs a record unless it is a byte; with one it is accepted, specials too."""
    error = refusal(bpe1([(260, b"x")], [(97, 98, output, 0)]))
    assert (error.field, error.found) == ("output", output)
    tokenizer = parse(bpe1([(output, b"x")], [(97, 98, output, 0)]))
    assert tokenizer.encode(b"ab", add_special=False) == [output]


def test_merge_parts_and_outputs_that_are_allowed() -> None:
    """SL-9, CL-bpe1: outputs may be bytes; left and right need no record, only to be below the vocabulary size."""
    tokenizer = parse(bpe1([(260, b"anything")], [(97, 98, 99, 0), (99, 99, 260, 1), (261, 256, 260, 2)]))
    assert tokenizer.encode(b"abab", add_special=False) == [260]
    assert tokenizer.decode([260]) == b"anything"


def test_special_ids_that_come_out_of_merges() -> None:
    """SL-10, CL-bpe1: a merge may make a special id, which takes part in later merges like any other."""
    tokenizer = parse(bpe1([(257, b"x"), (260, b"y")], [(97, 98, 257, 0), (257, 99, 260, 1)]))
    assert tokenizer.encode(b"ab") == [256, 257, 257]
    assert tokenizer.encode(b"abc") == [256, 260, 257]


def test_ranks_order_merges_not_the_file() -> None:
    """SL-10: the lowest rank goes first wherever it stands in the file and in the text."""
    merges = [(97, 98, 260, 7), (98, 99, 261, 3)]
    assert parse(bpe1(THE_TOKENS, merges)).encode(b"abc", add_special=False) == [97, 261]


def test_leftmost_of_equal_ranks() -> None:
    """SL-10: of equal ranks the leftmost pair goes first, one occurrence at a time."""
    merges = [(98, 99, 261, 3), (97, 98, 260, 3)]
    tokenizer = parse(bpe1(THE_TOKENS, merges))
    assert tokenizer.encode(b"abc", add_special=False) == [260, 99]
    assert tokenizer.encode(b"bcab", add_special=False) == [261, 260]
    assert parse(bpe1(THE_TOKENS, [(97, 97, 260, 0)])).encode(b"aaaaa", add_special=False) == [260, 260, 97]


def test_one_occurrence_at_a_time() -> None:
    """SL-10: a merge that arises with a lower rank goes before the remaining occurrences of the first pair."""
    # aabab: (a, b) -> 260 at rank 5 first at place 1, then (a, 260) -> 261 at rank 1 at place 0, then (261, a) -> 260
    # at rank 0, and only b is left. Merging both `ab` at once would have given 261, 260.
    merges = [(97, 98, 260, 5), (97, 260, 261, 1), (261, 97, 260, 0)]
    assert parse(bpe1(THE_TOKENS, merges)).encode(b"aabab", add_special=False) == [260, 98]


def test_pair_that_changes_before_its_turn() -> None:
    """SL-10: a pair whose right part is merged away loses its turn; the new pair waits for its own rank."""
    # abca: (b, c) -> 260 at rank 0. (a, b) at rank 1 is gone. (260, a) at rank 3 goes before (a, 260) at rank 4.
    merges = [(98, 99, 260, 0), (97, 98, 261, 1), (97, 260, 261, 4), (260, 97, 261, 3)]
    assert parse(bpe1(THE_TOKENS, merges)).encode(b"abca", add_special=False) == [97, 261]


def test_two_merges_of_one_pair() -> None:
    """SL-9, CL-bpe1: the lower rank counts, of equal ranks the first."""
    for merges, expected in (
        ([(97, 98, 260, 2), (97, 98, 261, 1)], 261),
        ([(97, 98, 260, 1), (97, 98, 261, 2)], 260),
        ([(97, 98, 260, 1), (97, 98, 261, 1)], 260),
        ([(97, 98, 261, 3), (97, 98, 260, 1), (97, 98, 261, 1)], 260),
    ):
        assert parse(bpe1(THE_TOKENS, merges)).encode(b"ab", add_special=False) == [expected]


def test_decode() -> None:
    """SL-8, CL-bpe1: specials, `?` for UNK and for ids without a record; records replace bytes, never specials."""
    tokens = [(97, b"A!"), (256, b"bos"), (257, b"eos"), (258, b"pad"), (259, b"unk"), (260, b"\xc3\xa9")]
    tokenizer = parse(bpe1(tokens, [], 263), 263)
    assert tokenizer.decode([256, 97, 98, 260, 258, 259, 261, 262, 2**32 - 1, 257]) == "A!bé????".encode()


def test_replaced_byte_does_not_change_encoding() -> None:
    """SL-10, CL-bpe1: encoding begins with byte ids, whatever their records say."""
    assert parse(bpe1([(97, b"b")], [])).encode(b"ab", add_special=False) == [97, 98]


small_ids = st.sampled_from([97, 98, 99, 260, 261, 262, 263])


@settings(max_examples=600, deadline=None)
@given(
    text=st.text(alphabet="abc", max_size=24),
    merges=st.lists(st.tuples(small_ids, small_ids, small_ids, st.integers(0, 4)), max_size=10),
)
@example(text="aabab", merges=[(97, 98, 260, 4), (97, 260, 261, 1), (261, 97, 260, 0)])
def test_equals_the_definition(text: str, merges: list[tuple[int, int, int, int]]) -> None:
    """SL-10: heap and linked list give what the definition gives, for any merges, ranks shared or not."""
    tokenizer = parse(bpe1([(token, b"?") for token in range(260, 264)], merges, 264), 264)
    assert tokenizer.encode(text.encode(), add_special=False) == naive_merge(list(text.encode()), merges)


def learned_merges(count: int) -> tuple[list[tuple[int, bytes]], list[tuple[int, int, int, int]]]:
    """Make a chain-rich vocabulary over a few letters, as training would."""
    source = random.Random(5)
    texts = {token: bytes([token]) for token in b"abcdefgh "}
    tokens, merges = [], []
    for rank in range(count):
        left, right = source.choice(list(texts)), source.choice(list(texts))
        output = 260 + rank
        texts[output] = texts[left] + texts[right]
        if len(texts[output]) > 12:
            texts.pop(output)
            output = left
        else:
            tokens.append((output, texts[output]))
        merges.append((left, right, output, rank))
    return tokens, merges


def test_longer_texts_with_many_merges() -> None:
    """SL-10: the same on longer texts and a vocabulary of 300 merges."""
    tokens, merges = learned_merges(300)
    tokenizer = parse(bpe1(tokens, merges, 560), 560)
    source = random.Random(6)
    for _ in range(5):
        text = bytes(source.choices(b"abcdefgh ", k=120))
        ids = tokenizer.encode(text, add_special=False)
        assert ids == naive_merge(list(text), merges)
        assert len(ids) < len(text)


@pytest.mark.parametrize("kind", ["random", "one letter"])
def test_long_text_takes_little_time(kind: str) -> None:
    """SL-10: 100 KB are encoded in seconds, also where everything merges again and again."""
    tokens, merges = [(token, b"?") for token in range(260, 277)], [(97, 97, 260, 0)]
    merges += [(token, token, token + 1, token) for token in range(260, 276)]
    if kind == "random":
        tokens, merges = learned_merges(2000)
    tokenizer = parse(bpe1(tokens, merges, 2260), 2260)
    text = b"a" * 2**17 if kind == "one letter" else bytes(random.Random(7).choices(b"abcdefgh ", k=100_000))
    start = time.process_time()
    ids = tokenizer.encode(text, add_special=False)
    assert time.process_time() - start < 10
    if kind == "one letter":
        assert ids == [276]  # 2^17 letters halve 17 times
    else:
        assert len(ids) < len(text)
