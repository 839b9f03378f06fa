"""What the metadata of a GGUF file says about a byte-pair tokenizer: defaults and refusals (GG-4, GG-5, section 13)."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError, InvalidHeader
from refruntime.inspection import inspect_artifact
from refruntime.model.gguf.tokenizer import read_tokenizer
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.end_texts import end_texts
from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS
from tests.support.gguf_by_hand import BOOL, I32, STRING, U32, array, gguf_file, key, scalar

# 14 tokens, because llama.cpp's default BOS and EOS of byte-pair vocabularies are 11
TOKENS = [*"abcdefgh", "ab", "abc", "Ġ", "<|endoftext|>", "<s>", "<x>"]
MERGES = ["a b", "ab c"]


def vocabulary(**changes: bytes | None) -> bytes:
    """A file of a tokenizer and nothing else; None leaves a key out."""
    values: dict[str, bytes | None] = {
        "model": scalar(STRING, "gpt2"),
        "pre": scalar(STRING, "gpt-2"),
        "tokens": array(STRING, TOKENS),
        "merges": array(STRING, MERGES),
    }
    values |= changes
    return gguf_file([key(f"tokenizer.ggml.{name}", value) for name, value in values.items() if value is not None])


def read(profile: Profile | None = None, **changes: bytes | None) -> BpeTokenizer:
    tokenizer = read_tokenizer(read_gguf(vocabulary(**changes)).metadata, profile or Profile())
    assert isinstance(tokenizer, BpeTokenizer)
    return tokenizer


def refusal(**changes: bytes | None) -> InvalidHeader:
    with pytest.raises(InvalidHeader) as caught:
        read(**changes)
    return caught.value


def test_defaults_of_byte_pair_vocabularies() -> None:
    """Section 13 GGUF: no BOS and no EOS are added, token types are normal; EOS is id 11 as in llama.cpp."""
    tokenizer = read()
    assert tokenizer.encode(b"abcab") == [9, 8]
    assert (tokenizer.eos_id, tokenizer.stop_ids) == (11, frozenset({11}))
    assert read(tokens=array(STRING, TOKENS[:11])).eos_id is None


@pytest.mark.parametrize(
    ("pre", "around"),
    [
        ("gpt-2", []),
        ("llama-bpe", [11]),
        ("smaug-bpe", []),
        ("tekken", [11]),
        ("chameleon", [11]),
        ("qwen2", []),
        ("granite-embed-multi-311m", [11]),
    ],
)
def test_some_pre_tokenizers_add_bos(pre: str, around: list[int]) -> None:
    """Section 13 GGUF: BOS is added as the group of the pre-tokenizer says, unless the file says otherwise."""
    name = scalar(STRING, pre)
    assert read(pre=name).encode(b"") == around
    assert read(pre=name, bos_token_id=scalar(U32, 12), add_bos_token=scalar(BOOL, True)).encode(b"") == [12]
    always = [12] if pre == "granite-embed-multi-311m" else []  # llama.cpp overrides the file for Gemma 4
    assert read(pre=name, bos_token_id=scalar(U32, 12), add_bos_token=scalar(BOOL, False)).encode(b"") == always


def test_eos_is_added_when_the_file_says_so() -> None:
    """Section 13 GGUF: add_eos is false unless the key is there."""
    assert read(add_eos_token=scalar(BOOL, True), eos_token_id=scalar(U32, 13)).encode(b"a") == [0, 13]


@pytest.mark.parametrize("pre", ["chatglm-bpe", "glm4"])
def test_pre_tokenizers_without_a_bos(pre: str) -> None:
    """GG-4: where llama.cpp knows no BOS, a file that wants one must name it."""
    name = scalar(STRING, pre)
    assert read(pre=name).encode(b"a") == [0]
    assert refusal(pre=name, add_bos_token=scalar(BOOL, True)).field == "tokenizer.ggml.bos_token_id"
    assert read(pre=name, add_bos_token=scalar(BOOL, True), bos_token_id=scalar(U32, 12)).encode(b"a") == [12, 0]


def test_gemma_4_ignores_pre_and_needs_its_bos() -> None:
    """GG-5: the model `gemma4` is its own pre-tokenizer, adds BOS always and has no default ids."""
    model = scalar(STRING, "gemma4")
    assert refusal(model=model).field == "tokenizer.ggml.bos_token_id"
    tokenizer = read(model=model, pre=scalar(STRING, "no such"), bos_token_id=scalar(U32, 12))
    assert (tokenizer.encode(b"ab"), tokenizer.eos_id, tokenizer.stop_ids) == ([12, 8], None, frozenset({11}))


def test_stop_tokens() -> None:
    """GG-6: EOS, end of turn and end of message where the file names them, and tokens that are known by their text."""
    ends = {"eos_token_id": scalar(U32, 1), "eot_token_id": scalar(U32, 2), "eom_token_id": scalar(U32, 3)}
    assert read(**ends).stop_ids == frozenset({1, 2, 3, 11})
    ends["tokens"] = array(STRING, [*TOKENS, "<|im_end|>", "<|end|>", "<PAD>", "<|fim_prefix|>"])
    by_text = read(**ends)
    assert by_text.stop_ids == frozenset({1, 2, 3, 11, 14, 15, 16})
    assert by_text.piece(14) == b""
    by_id = read(Profile(gguf_stop_tokens="metadata ids only"), **ends)
    assert by_id.stop_ids == frozenset({1, 2, 3})
    assert by_id.piece(14) == b"<|im_end|>"


def test_marks_of_fill_in_the_middle_that_stop() -> None:
    """GG-6: padding, repository and file marks end a generation; one that the file names counts, not its text."""
    tokens = array(STRING, [*TOKENS, "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|fim_middle|>"])
    assert read(tokens=tokens).stop_ids == frozenset({11, 14, 15, 16})
    named = read(tokens=tokens, fim_pad_token_id=scalar(U32, 5), fim_pre_token_id=scalar(U32, 6))
    assert named.stop_ids == frozenset({11, 5, 15, 16})


def test_some_ends_end_nothing_beside_others() -> None:
    """GG-6: where llama.cpp takes an end off its list, the token ends nothing even if the file names it as EOS."""
    call = [*TOKENS, "<|end|>", "<|return|>", "<|call|>"]
    read_call = read(tokens=array(STRING, call), eos_token_id=scalar(U32, 14))
    assert read_call.stop_ids == frozenset({11, 15, 16})
    assert read_call.piece(14) == b"<|end|>"
    assert read(tokens=array(STRING, call[:-1]), eos_token_id=scalar(U32, 14)).stop_ids == frozenset({11, 14, 15})
    tool = [*TOKENS, "</s>", "<|tool_response>"]
    assert read(tokens=array(STRING, tool), eos_token_id=scalar(U32, 14)).stop_ids == frozenset({11, 15})
    ids_only = Profile(gguf_stop_tokens="metadata ids only")
    assert read(ids_only, tokens=array(STRING, tool), eos_token_id=scalar(U32, 14)).stop_ids == frozenset({14})


def test_the_lists_of_texts_are_dated() -> None:
    """GG-6: the lists say which llama.cpp they are, and name no text twice."""
    lists = end_texts()
    assert "llama.cpp 0.5.0" in lists.source
    assert date.fromisoformat(lists.date) >= date(2026, 11, 29)
    texts = [*lists.ends, *(text for texts in lists.fill_in_the_middle.values() for text in texts)]
    assert len(set(texts)) == len(texts) > 50
    assert {exemption.text for exemption in lists.exemptions} <= set(lists.ends)


def test_an_unknown_pre_tokenizer_is_refused_with_the_nearest_name() -> None:
    """GG-4, GG-5: 6, with what was found and what was probably meant."""
    error = refusal(pre=scalar(STRING, "qwen-2"))
    assert (error.rule, error.field, error.found) == ("GG-5", "tokenizer.ggml.pre", "qwen-2")
    assert str(error.expected).endswith("the nearest is qwen2")
    assert refusal(pre=scalar(STRING, "x\n" * 500)).found.startswith("x\\nx")  # type: ignore[attr-defined]
    assert refusal(pre=scalar(U32, 1)).field == "tokenizer.ggml.pre"


@pytest.mark.parametrize("pre", [None, scalar(STRING, "")])
def test_an_absent_pre_tokenizer_is_the_default_and_inspection_says_so(pre: bytes | None) -> None:
    """GG-5: llama.cpp takes its `default`, which cuts digits by three."""
    assert read(pre=pre).words(b"12345") == ["123", "45"]
    assert read(pre=scalar(STRING, "default")).words(b"12345") == ["123", "45"]
    note = "tokenizer.ggml.pre is absent, so text is cut into words as llama.cpp's default does"
    assert note in inspect_artifact(vocabulary(pre=pre), Profile()).notes
    assert note not in inspect_artifact(vocabulary(), Profile()).notes


def test_merges_are_required_except_for_kimi() -> None:
    """GG-4: without merges 6; llama.cpp lets `kimi-k2` do without."""
    assert refusal(merges=None).field == "tokenizer.ggml.merges"
    assert refusal(merges=array(I32, [1])).field == "tokenizer.ggml.merges"
    assert read(merges=None, pre=scalar(STRING, "kimi-k2")).encode(b"ab") == [0, 1]
    assert read(pre=scalar(STRING, "kimi-k2")).encode(b"ab") == [8]


def test_merges_are_taken_as_c_strings() -> None:
    """GG-5: llama.cpp cuts an entry at NUL; an entry without two parts is no merge."""
    assert read(merges=array(STRING, [b"a b\0 junk", b"nothing", b"", b" "])).encode(b"abc") == [8, 2]


def test_tokens_are_required_and_distinct() -> None:
    """GG-4: as for every vocabulary."""
    assert refusal(tokens=None).field == "tokenizer.ggml.tokens"
    assert refusal(tokens=array(STRING, ["a", "a"])).field == "tokenizer.ggml.tokens"
    for count in (1, len(TOKENS) - 1, len(TOKENS) + 1):  # GG-13
        assert refusal(token_type=array(I32, [1] * count)).field == "tokenizer.ggml.token_type"


def test_an_unknown_model_is_refused() -> None:
    """GG-4: 6 for tokenizers that are not there, such as WordPiece and Unigram."""
    error = refusal(model=scalar(STRING, "bert"))
    assert (error.expected, error.found) == ("llama, gpt2 or gemma4", "bert")


RAW = st.binary(max_size=4) | st.sampled_from([b"a b", b" a", b"\xc4\xa0 a", b"<0x41>", b"<0xZZ>", b"a\0b", b"<s>"])


@settings(max_examples=200, deadline=None)
@given(
    tokens=st.lists(RAW, max_size=20, unique=True),
    merges=st.lists(RAW, max_size=10),
    types=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(1, 6), min_size=20, max_size=20),
    model=st.sampled_from(["gpt2", "gemma4"]),
    pre=st.sampled_from([*PRE_TOKENIZERS, "?"]),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    numbers=st.lists(st.integers(0, 21), min_size=2, max_size=2),
    exactly=st.booleans(),
)
def test_hostile_vocabularies_are_refused_or_work(
    tokens: list[bytes],
    merges: list[bytes],
    types: list[int],
    model: str,
    pre: str,
    text: str,
    numbers: list[int],
    exactly: bool,
) -> None:
    """GG-4, GG-5: any bytes as tokens and merges, any types and ids: a contract failure or a tokenizer that works."""
    changes = {
        "model": scalar(STRING, model),
        "pre": scalar(STRING, pre),
        "tokens": array(STRING, tokens),
        "merges": array(STRING, merges),
        "token_type": array(I32, types[: len(tokens)] if exactly else types),
        "bos_token_id": scalar(U32, numbers[0]),
        "eos_token_id": scalar(U32, numbers[1]),
    }
    with suppress(ContractError):
        tokenizer = read(**changes)
        assert isinstance(tokenizer.decode(range(tokenizer.vocab_size)), bytes)
        for parse_special in (False, True):
            ids = tokenizer.encode(text.encode(), parse_special=parse_special)
            assert all(0 <= token < tokenizer.vocab_size for token in ids)
