"""Byte-pair tokenizers against what llama.cpp computed, and the classes of code points against `unicodedata`."""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.containers.gguf import read_gguf
from refruntime.contract import Profile
from refruntime.model.gguf.tokenizer import read_tokenizer
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS
from refruntime.tokenizers.unicode_classes import UNICODE_VERSION, WHITE_SPACE, collapse, general_categories
from tests.support.gguf_by_hand import I32, STRING, U32, array, gguf_file, key, scalar

VECTORS = Path(__file__).parent / "vectors" / "tokenizers"
SHARED = {"gpt-2": 163, "llama-bpe": 184, "qwen2": 184, "deepseek-coder": 184}


@cache
def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


SPLIT_NAMES = [names for split in vectors("splits")["splits"] for names in split["names"]]
RUNS = [
    (name, index)
    for name, each in vectors("small_vocabularies")["vocabularies"].items()
    for index in range(len(each["runs"]))
]


def small_tokenizer(vocabulary: dict[str, Any], model: str, pre: str | None) -> BpeTokenizer:
    values = {
        "model": scalar(STRING, model),
        "tokens": array(STRING, vocabulary["tokens"]),
        "token_type": array(I32, vocabulary["types"]),
        "merges": array(STRING, vocabulary["merges"]),
        "bos_token_id": scalar(U32, vocabulary["bos"]),
        "eos_token_id": scalar(U32, vocabulary["eos"]),
    }
    if pre is not None:
        values["pre"] = scalar(STRING, pre)
    file = gguf_file([key(f"tokenizer.ggml.{name}", value) for name, value in values.items()])
    tokenizer = read_tokenizer(read_gguf(file).metadata, Profile())
    assert isinstance(tokenizer, BpeTokenizer)
    return tokenizer


def test_every_name_has_a_split_vector() -> None:
    """GG-5: no pre-tokenizer rests on our reading of a pattern alone."""
    assert sorted(SPLIT_NAMES) == sorted(PRE_TOKENIZERS)
    assert len(vectors("splits")["texts"]) == 139


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_words_are_those_of_llama_cpp(name: str) -> None:
    """GG-5: words of nasty texts: scripts, marks, digits of many kinds, white space, emoji, unassigned."""
    split = next(each for each in vectors("splits")["splits"] if name in each["names"])
    for text, lengths in zip(vectors("splits")["texts"], split["lengths"], strict=True):
        words = PRE_TOKENIZERS[name].splitter.split(text)
        assert "".join(words) == text
        assert " ".join(str(len(word)) for word in words) == lengths, text


@pytest.mark.parametrize(("name", "index"), RUNS)
def test_ids_are_those_of_llama_cpp(name: str, index: int) -> None:
    """GG-5: merges, whole words, BOS, special and user-defined tokens, for every pre-tokenizer name."""
    vocabulary = vectors("small_vocabularies")["vocabularies"][name]
    run = vocabulary["runs"][index]
    tokenizer = small_tokenizer(vocabulary, run["model"], run["pre"])
    texts = vectors("small_vocabularies")["texts"]
    for add_special, parse_special, text, ids in run["cases"]:
        found = tokenizer.encode(texts[text].encode(), add_special=bool(add_special), parse_special=bool(parse_special))
        assert " ".join(map(str, found)) == ids, texts[text]
    around = [vocabulary["bos"]] * run["add_bos"] + [vocabulary["eos"]] * run["add_eos"]
    assert tokenizer.encode(b"") == around


@pytest.mark.parametrize(("name", "pre"), [("byte_level", "gpt-2"), ("raw", None)])
def test_pieces_and_attributes_are_those_of_llama_cpp(name: str, pre: str | None) -> None:
    """GG-6, section 13: the bytes of every token of the small vocabularies, and the attributes behind them."""
    vocabulary = vectors("small_vocabularies")["vocabularies"][name]
    tokenizer = small_tokenizer(vocabulary, vocabulary["model"], pre)
    assert len(vocabulary["pieces"]) == tokenizer.vocab_size > 390
    for token, (piece, attributes) in enumerate(vocabulary["pieces"]):
        assert tokenizer.piece(token).hex() == piece, vocabulary["tokens"][token]
        assert tokenizer.vocabulary.attributes[token] == attributes, vocabulary["tokens"][token]


# Real vocabularies ---------------------------------------------------------------------------------------------------


@cache
def shared_tokenizer(folder: Path, name: str) -> BpeTokenizer:
    path = folder / "tokenizers" / f"{name}.gguf"
    data = path.read_bytes() if path.exists() else np.load(f"{path}.npz")["gguf"].tobytes()
    tokenizer = read_tokenizer(read_gguf(data).metadata, Profile())
    assert isinstance(tokenizer, BpeTokenizer)
    return tokenizer


def shared_cases(folder: Path, name: str, kind: str, key: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "tokenizers" / f"{name}.{kind}.json").read_text())[key]
    return entries


@pytest.mark.parametrize("name", SHARED)
def test_ids_of_real_vocabularies_are_those_of_llama_cpp(shared_data: Path, name: str) -> None:
    """GG-5: every nasty text, with and without special tokens around it."""
    tokenizer = shared_tokenizer(shared_data, name)
    cases = shared_cases(shared_data, name, "cases", "cases")
    assert len(cases) == SHARED[name]
    for case in cases:
        text = case["text"].encode()
        assert tokenizer.encode(text, add_special=False) == case["ids"], case
        assert tokenizer.encode(text) == case["ids_add_special"], case
        assert tokenizer.decode(case["ids"]) == text, case


@pytest.mark.parametrize("name", SHARED)
def test_vectors_of_the_model_makers(shared_data: Path, name: str) -> None:
    """GG-5: llama.cpp's own vectors, made with the original tokenizers."""
    tokenizer = shared_tokenizer(shared_data, name)
    cases = shared_cases(shared_data, name, "upstream", "cases")
    assert len(cases) == 47
    for case in cases:
        assert tokenizer.encode(case["text"].encode(), add_special=False) == case["ids"], case


@pytest.mark.parametrize("name", SHARED)
def test_pieces_of_real_vocabularies_are_those_of_llama_cpp(shared_data: Path, name: str) -> None:
    """GG-6, section 13: the bytes of a token, and the attributes behind them."""
    tokenizer = shared_tokenizer(shared_data, name)
    pieces = shared_cases(shared_data, name, "pieces", "pieces")
    assert len(pieces) == 500
    for piece in pieces:
        assert tokenizer.piece(piece["id"]).hex() == piece["bytes"], piece
        assert tokenizer.vocabulary.attributes[piece["id"]] == piece["attr"], piece


# Classes of code points ----------------------------------------------------------------------------------------------


def test_categories_are_those_of_unicodedata() -> None:
    """GG-5: the pinned table agrees with Python's on every code point that both versions of Unicode assign."""
    ours = general_categories()
    assert len(ours) == 0x110000
    version = tuple(map(int, unicodedata.unidata_version.split(".")))
    for code, category in enumerate(ours):
        theirs = unicodedata.category(chr(code))
        if theirs != "Cn" or version >= (15, 1):
            newer = version > (15, 1) and category == "O"  # assigned since
            assert category == ("O" if theirs[0] in "ZC" else theirs[0]) or newer, hex(code)
    assert UNICODE_VERSION == "15.1.0"
    assert sum(category != "O" for category in ours) == 149_813 - 172 - 17  # all but format characters and spaces


def test_white_space_is_that_of_python() -> None:
    """GG-5: beyond ASCII, `str.isspace` and the property White_Space agree."""
    assert list(WHITE_SPACE) == [code for code in range(0x80, 0x110000) if chr(code).isspace()]
    assert collapse("a\u3000b\u00e9") == "a\vb\xd2"
