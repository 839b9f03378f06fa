"""The BTOK byte tokenizer: section checks, encode, decode."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refruntime.errors import InvalidHeader
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.btok import BtokTokenizer

GOOD = bytes.fromhex("42544f4b 01000000 04010000 00010000 01010000 02010000 03010000".replace(" ", ""))


def refusal(section: bytes, vocab_size: int = 260, base_offset: int = 0) -> InvalidHeader:
    with pytest.raises(InvalidHeader) as caught:
        BtokTokenizer.parse(memoryview(section), vocab_size, base_offset=base_offset)
    error = caught.value
    assert (error.status, error.rule) == (6, "SL-7")
    assert error.expected is not None
    assert error.found is not None
    return error


def test_section_by_hand() -> None:
    """SL-7, SL-11: 28 bytes; the tokenizer says what it is, and that EOS alone stops."""
    tokenizer: Tokenizer = BtokTokenizer.parse(memoryview(GOOD), 260)
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.eos_id) == ("btok", 260, 257)
    assert tokenizer.stop_ids == {257}


def test_section_bytes() -> None:
    """SL-7: the section is written as it is read, for any vocabulary size."""
    assert BtokTokenizer(260).section_bytes() == GOOD
    section = BtokTokenizer(2**32 - 1).section_bytes()
    assert BtokTokenizer.parse(memoryview(section), 2**32 - 1) == BtokTokenizer(2**32 - 1)


@pytest.mark.parametrize("length", [0, 4, 27, 29, 56])
def test_length(length: int) -> None:
    """SL-7, CL-slm1: the section is exactly 28 bytes."""
    error = refusal((GOOD * 2)[:length], base_offset=108)
    assert (error.field, error.offset, error.found) == ("section", 108, f"{length} bytes")


@pytest.mark.parametrize(
    ("offset", "field"),
    [(0, "magic"), (4, "version"), (8, "vocab_size"), (12, "BOS"), (16, "EOS"), (20, "PAD"), (24, "UNK")],
)
@pytest.mark.parametrize("change", [1, 0x80000000])
def test_fields(offset: int, field: str, change: int) -> None:
    """SL-7: magic, version, vocabulary and each special id are fixed."""
    section = bytearray(GOOD)
    value = struct.unpack_from("<I", section, offset)[0] ^ change
    struct.pack_into("<I", section, offset, value)
    error = refusal(bytes(section), base_offset=1000)
    assert (error.field, error.offset) == (field, 1000 + offset)


def test_swapped_special_ids() -> None:
    """SL-7: the order is BOS, EOS, PAD, UNK."""
    assert refusal(GOOD[:12] + struct.pack("<4I", 257, 256, 258, 259)).field == "BOS"


@pytest.mark.parametrize("vocab_size", [0, 1, 256, 259])
def test_small_vocabulary(vocab_size: int) -> None:
    """SL-7, CL-slm1: a vocabulary below 260 gives 6 even if header and section agree."""
    section = GOOD[:8] + struct.pack("<I", vocab_size) + GOOD[12:]
    error = refusal(section, vocab_size)
    assert (error.field, error.found) == ("vocab_size", vocab_size)


def test_encode() -> None:
    """SL-8: BOS, the bytes, EOS; also for no text."""
    tokenizer = BtokTokenizer(260)
    assert tokenizer.encode(b"") == [256, 257]
    assert tokenizer.encode("é\0".encode()) == [256, 0xC3, 0xA9, 0, 257]
    assert tokenizer.encode(b"ab", add_special=False) == [97, 98]


def test_decode() -> None:
    """SL-8: BOS, EOS, PAD give nothing, UNK and ids from 260 on give `?`, bytes need not be UTF-8 here."""
    tokenizer = BtokTokenizer(300)
    assert tokenizer.decode([256, 104, 257, 258, 105, 259, 260, 299, 2**32 - 1, 255]) == b"hi????\xff"
    assert tokenizer.decode(iter([])) == b""


@given(st.binary(max_size=200))
def test_round_trip(text: bytes) -> None:
    """SL-8: decoding gives the text back."""
    tokenizer = BtokTokenizer(260)
    assert tokenizer.decode(tokenizer.encode(text)) == text
