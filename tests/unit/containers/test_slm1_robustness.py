"""Damaged SLM1 files of every kind are refused with a leaf of the error tree, never with anything else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.contract import Profile
from refruntime.errors import ContractError, InvalidHeader, InvalidModelMagic
from refruntime.model.validated import ValidatedModel
from tests.support.slm1_by_hand import (
    F32,
    HEADER_FIELDS,
    Q4_0,
    Q8_0,
    bpe1,
    build,
    fix_checksum,
    model_tensors,
)
from tests.support.slm1_refusals import PROFILE, checked, load

UNCHECKED = Profile(checksum="not verified")
SECTION = bpe1([(260, b"th"), (261, b"the")], [(116, 104, 260, 0), (260, 101, 261, 1)])


def small_file(dtype: int) -> bytes:
    """Make a tied BPE1 model of about 4 KB."""
    return bytes(build(model_tensors(dtype, vocab=262, tied=True), SECTION, vocab_size=262, flags=1))


FILES = {dtype: small_file(dtype) for dtype in (F32, Q8_0, Q4_0)}


def attempt(file: bytes | bytearray, profile: Profile) -> ValidatedModel | ContractError:
    """Load a file and decode its weights; any exception that is no leaf of the tree goes through and fails the test."""
    try:
        model = load(file, profile)
    except ContractError as error:
        return checked(error, type(error))
    for weight in model.tensors.values():
        assert weight.rows().shape == weight.shape
    model.tokenizer.decode(model.tokenizer.encode(b"the other"))
    return model


@pytest.mark.parametrize("dtype", [F32, Q8_0, Q4_0])
def test_every_truncation(dtype: int) -> None:
    """SL-1, SL-5, SL-6: no prefix of a file is a model, except by losing nothing but the final padding."""
    file = FILES[dtype]
    meaning = len(file.rstrip(b"\0"))
    assert isinstance(attempt(file, PROFILE), ValidatedModel)
    for length in range(len(file)):
        outcome = attempt(file[:length], UNCHECKED)
        if length < 4:
            assert isinstance(outcome, InvalidModelMagic)
        elif length < 108:
            assert isinstance(outcome, InvalidHeader)
        elif length < meaning:
            assert isinstance(outcome, ContractError), length


def test_truncation_is_seen_by_the_checksum() -> None:
    """SL-5: losing only final padding breaks the checksum, since every step multiplies."""
    file = FILES[Q8_0]
    for length in range(len(file) - 64, len(file)):
        assert isinstance(attempt(file[:length], PROFILE), InvalidHeader)


@settings(max_examples=300, deadline=None)
@given(
    dtype=st.sampled_from([F32, Q8_0, Q4_0]),
    flips=st.lists(st.tuples(st.integers(0, 1100), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes(dtype: int, flips: list[tuple[int, int]]) -> None:
    """SL-1 to SL-9: flipped bytes of header, tokenizer, directory or data under a right checksum never crash."""
    file = bytearray(FILES[dtype])
    for position, mask in flips:
        file[position] ^= mask
    attempt(fix_checksum(file), PROFILE)


@settings(max_examples=300, deadline=None)
@given(
    dtype=st.sampled_from([F32, Q8_0, Q4_0]),
    field=st.sampled_from([name for name in HEADER_FIELDS if name != "checksum"]),
    bits=st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 107, 2**31, 2**32 - 1, 2**63, 2**64 - 1])),
    second=st.tuples(st.integers(0, 10), st.sampled_from(range(0, 60, 4)), st.integers(0, 2**32 - 1)),
)
def test_wild_fields(dtype: int, field: str, bits: int, second: tuple[int, int, int]) -> None:
    """SL-1 to SL-6: any value in a header field and in an entry gives a status or a model, quickly."""
    file = bytearray(FILES[dtype])
    offset, code = HEADER_FIELDS[field]
    width = struct.calcsize(code)
    file[offset : offset + width] = (bits % 256**width).to_bytes(width, "little")
    attempt(file, UNCHECKED)
    entry, place, value = second
    file = bytearray(FILES[dtype])
    struct.pack_into("<I", file, struct.unpack_from("<Q", file, 80)[0] + 64 * entry + place, value)
    attempt(file, UNCHECKED)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes(tail: bytes) -> None:
    """SL-1: bytes that only begin like an SLM1 file are refused."""
    assert isinstance(attempt(b"SLM1" + tail, PROFILE), ContractError)
