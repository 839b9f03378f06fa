"""What a vocabulary costs: a use makes what it needs, and no more."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.errors import InvalidHeader
from refruntime.inspection import inspect_artifact
from refruntime.model.gguf.tokenizer import read_tokenizer
from refruntime.string_table import StringTable
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.tokenizers.text_numbers import TextNumbers
from tests.support.gguf_by_hand import F32, I32, STRING, U32, array, gguf_file, key, scalar

COUNT = 5000
TEXTS = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
TEXTS += ["\u2581".encode(), b"a", b"b", b"ab", "\u0120ab".encode()]
TEXTS += [b"text %d" % index for index in range(COUNT - len(TEXTS))]
TYPES = [2, 3, 3, *[6] * 256, *[1] * (COUNT - 259)]
MERGES = ["a b", "\u0120 ab", *(f"text {index}" for index in range(COUNT))]


def vocabulary(model: str, texts: list[bytes], scores: list[float] | None = None) -> bytes:
    """A file of a tokenizer and nothing else."""
    numbers = [0.0] * len(texts) if scores is None else scores
    return gguf_file(
        [
            key("general.architecture", scalar(STRING, "llama")),
            key("tokenizer.ggml.model", scalar(STRING, model)),
            key("tokenizer.ggml.pre", scalar(STRING, "gpt-2")),
            key("tokenizer.ggml.tokens", array(STRING, texts)),
            key("tokenizer.ggml.token_type", array(I32, TYPES[: len(texts)])),
            key("tokenizer.ggml.scores", array(F32, numbers)),
            key("tokenizer.ggml.merges", array(STRING, MERGES)),
            key("tokenizer.ggml.bos_token_id", scalar(U32, 1)),
        ]
    )


@pytest.fixture
def nothing_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to make all texts of a vocabulary, or a dictionary of them."""

    def refuse(_: object) -> None:
        raise AssertionError("all texts were made")

    def few(table: StringTable) -> Iterator[bytes]:
        assert len(table) < 10, "all texts were made"
        return iter(table[:])

    monkeypatch.setattr(StringTable, "__iter__", few)
    monkeypatch.setattr(TextNumbers, "_all", refuse)


@pytest.mark.usefixtures("nothing_whole")
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_a_short_text_makes_no_dictionary(model: str) -> None:
    """GG-5: a file is checked, a token decoded, a short text encoded, without an object for each text."""
    data = vocabulary(model, TEXTS)
    tokenizer = read_tokenizer(read_gguf(data).metadata, Profile())
    assert isinstance(tokenizer, BpeTokenizer | SpmTokenizer)
    assert tokenizer.decode([TEXTS.index(b"ab")]) == b"ab"
    assert not {"_ranks", "costs", "of_byte"} & vars(tokenizer).keys()  # a token is decoded without the encoder
    assert tokenizer.encode(b"ab", add_special=False)[-1] == TEXTS.index(b"ab")
    inspect_artifact(data, Profile())


@pytest.mark.usefixtures("nothing_whole")
def test_refusals_need_no_dictionary() -> None:
    """GG-4, GG-13: equal texts and a score that is none are found at load, whatever is made of the rest later."""
    texts = [*TEXTS[:-1], b"text 123"]
    with pytest.raises(InvalidHeader, match="NaN"):
        read_tokenizer(read_gguf(vocabulary("llama", TEXTS, [0.0] * 4999 + [float("nan")])).metadata, Profile())
    with pytest.raises(InvalidHeader, match="same text") as caught:
        read_tokenizer(read_gguf(vocabulary("llama", texts)).metadata, Profile())
    assert caught.value.found == f"ids {TEXTS.index(b'text 123')} and {COUNT - 1}, b'text 123'"


def test_a_file_may_change_behind_its_load() -> None:
    """MEM-9: texts, scores and merges that are read late are those that the file had."""
    for model in ("llama", "gpt2"):
        data = bytearray(vocabulary(model, TEXTS, list(np.arange(COUNT, dtype=np.float32))))
        tokenizer = read_tokenizer(read_gguf(data).metadata, Profile())
        expected = read_tokenizer(read_gguf(bytes(data)).metadata, Profile()).encode(b"ab ab")
        data[struct.calcsize("<4sIQQ") :] = bytes(len(data) - struct.calcsize("<4sIQQ"))
        assert tokenizer.encode(b"ab ab") == expected
        assert tokenizer.decode([TEXTS.index(b"ab")]) == b"ab"
