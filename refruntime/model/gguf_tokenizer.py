"""Make the tokenizer that the metadata of a GGUF file describes (GG-5, GG-6, section 13)."""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.containers.gguf import GgufMetadata, ValueType
from refruntime.containers.gguf_metadata import printable
from refruntime.errors import InvalidHeader
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.tokenizers.vocabulary import Vocabulary

PREFIX: Final = "tokenizer.ggml."

_ROLE_KEYS: Final = {
    "fim_pre": ("fim_pre_token_id", "prefix_token_id"),
    "fim_suf": ("fim_suf_token_id", "suffix_token_id"),
    "fim_mid": ("fim_mid_token_id", "middle_token_id"),
    "fim_pad": ("fim_pad_token_id",),
    "fim_rep": ("fim_rep_token_id",),
    "fim_sep": ("fim_sep_token_id",),
}


def read_tokenizer(metadata: GgufMetadata) -> Tokenizer:
    """Return the tokenizer; InvalidHeader for an unknown model, missing keys, wrong types and inconsistent values."""
    model = metadata.text(PREFIX + "model")
    if model != "llama":
        raise InvalidHeader(
            "the tokenizer model is not supported",
            rule="GG-4",
            field=PREFIX + "model",
            expected="llama",
            found=printable(model),
        )
    vocabulary = read_vocabulary(metadata)
    size = len(vocabulary.texts)
    bos_id = token_id(metadata, "bos_token_id", size, default=1)
    eos_id = token_id(metadata, "eos_token_id", size, default=2)
    add_bos = metadata.boolean(PREFIX + "add_bos_token", True)
    add_eos = metadata.boolean(PREFIX + "add_eos_token", False)
    for adds, token, name in ((add_bos, bos_id, "bos"), (add_eos, eos_id, "eos")):
        if adds and token is None:
            raise InvalidHeader(
                f"a {name.upper()} token is to be added but there is none",
                rule="GG-4",
                field=f"{PREFIX}{name}_token_id",
                expected=f"an id below {size}",
            )
    ends = (token_id(metadata, f"{name}_token_id", size) for name in ("eot", "eom"))
    return SpmTokenizer(
        vocabulary,
        read_scores(metadata, size),
        bos_id=bos_id,
        eos_id=eos_id,
        extra_stop_ids=[token for token in ends if token is not None],
        add_bos=add_bos,
        add_eos=add_eos,
        add_space_prefix=metadata.boolean(PREFIX + "add_space_prefix", True),
    )


def read_vocabulary(metadata: GgufMetadata) -> Vocabulary:
    """Read token texts and types; absent types are all normal (section 13)."""
    tokens = metadata.strings(PREFIX + "tokens")
    types: list[int] | None = None
    if PREFIX + "token_type" in metadata:
        numbers = metadata.numbers(PREFIX + "token_type", ValueType.INT32)
        check_count(PREFIX + "token_type", len(numbers), len(tokens))
        types = numbers[: len(tokens)].tolist()
    return Vocabulary.build(
        tokens,
        types,
        model_name=metadata.text("general.name", ""),
        pre_tokenizer=metadata.text(PREFIX + "pre", ""),
        named_roles=[
            role
            for role, keys in _ROLE_KEYS.items()
            if any(token_id(metadata, key, len(tokens)) is not None for key in keys)
        ],
    )


def read_scores(metadata: GgufMetadata, size: int) -> list[float]:
    """Read one merge score for each token; InvalidHeader where one is NaN, which no order of merges can follow."""
    scores = metadata.numbers(PREFIX + "scores", ValueType.FLOAT32, ValueType.INT32)
    check_count(PREFIX + "scores", len(scores), size)
    scores = scores[:size].astype(np.float32)
    if np.isnan(scores).any():
        raise InvalidHeader(
            "a token score is NaN",
            rule="GG-4",
            field=PREFIX + "scores",
            expected="a number",
            found=f"NaN for id {int(np.isnan(scores).argmax())}",
        )
    values: list[float] = scores.tolist()
    return values


def check_count(key: str, found: int, expected: int) -> None:
    """Refuse an array that is shorter than the vocabulary with InvalidHeader; a longer one is fine, as in llama.cpp."""
    if found < expected:
        raise InvalidHeader(
            "there are fewer values than tokens", rule="GG-4", field=key, expected=f"at least {expected}", found=found
        )


def token_id(metadata: GgufMetadata, name: str, size: int, default: int | None = None) -> int | None:
    """Read the id of a special token, None when there is none; an id outside the vocabulary is InvalidHeader."""
    key = PREFIX + name
    if key not in metadata:
        return default if default is not None and default < size else None
    token = metadata.u32(key)
    if token >= size:
        raise InvalidHeader(
            "a special token is outside the vocabulary", rule="GG-4", field=key, expected=f"below {size}", found=token
        )
    return token
