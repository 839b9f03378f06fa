"""Make the tokenizer that the metadata of a GGUF file describes (GG-5, GG-6, section 13)."""

from __future__ import annotations

from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.gguf import GgufMetadata, ValueType
from refruntime.containers.gguf_metadata import printable
from refruntime.contract.profile import Profile
from refruntime.errors import InvalidHeader
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.end_texts import FILL_IN_THE_MIDDLE_ENDS, end_texts
from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS, nearest_name
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.tokenizers.token_attributes import marks_by_text
from refruntime.tokenizers.vocabulary import Vocabulary
from refruntime.tokenizers.word_pieces import WordPieceTokenizer

PREFIX: Final = "tokenizer.ggml."

_ROLE_KEYS: Final = {
    "fim_pre": ("fim_pre_token_id", "prefix_token_id"),
    "fim_suf": ("fim_suf_token_id", "suffix_token_id"),
    "fim_mid": ("fim_mid_token_id", "middle_token_id"),
    "fim_pad": ("fim_pad_token_id",),
    "fim_rep": ("fim_rep_token_id",),
    "fim_sep": ("fim_sep_token_id",),
}


def read_tokenizer(metadata: GgufMetadata, profile: Profile, *, word_pieces: bool = False) -> Tokenizer:
    """Return the tokenizer; InvalidHeader for an unknown model, missing keys, wrong types and inconsistent values.

    The profile decides which tokens end a generation (GG-6). Only with `word_pieces` may it be that of an encoder.
    """
    model = metadata.text(PREFIX + "model")
    if model == "llama":
        return _read_spm(metadata, profile)
    if model in ("gpt2", "gemma4"):
        return _read_bpe(metadata, pre_tokenizer_name(metadata) or "default", profile)
    if model == "bert" and word_pieces:
        return _read_word_pieces(metadata, profile)
    raise InvalidHeader(
        "the tokenizer model is not supported",
        rule="GG-4",
        field=PREFIX + "model",
        expected="llama, gpt2 or gemma4" + (" or bert" if word_pieces else ""),
        found=printable(model),
    )


def pre_tokenizer_name(metadata: GgufMetadata) -> str:
    """Return the name of the pre-tokenizer of a byte-pair vocabulary; empty where llama.cpp takes its default one."""
    is_gemma = metadata.text(PREFIX + "model") == "gemma4"
    return "gemma4" if is_gemma else metadata.text(PREFIX + "pre", "")


def _read_spm(metadata: GgufMetadata, profile: Profile) -> SpmTokenizer:
    vocabulary = read_vocabulary(metadata, profile)
    size = len(vocabulary.texts)
    roles = _read_roles(metadata, vocabulary, profile, bos_id=1, eos_id=2, add_bos=True)
    return SpmTokenizer(
        vocabulary,
        read_scores(metadata, size),
        add_space_prefix=metadata.boolean(PREFIX + "add_space_prefix", True),
        **roles,
    )


def _read_word_pieces(metadata: GgufMetadata, profile: Profile) -> WordPieceTokenizer:
    """Read a vocabulary of word pieces; the ids that a file does not name are those of the published BERT."""
    vocabulary = read_vocabulary(metadata, profile)
    named = {"first": ("bos_token_id", 101), "last": ("seperator_token_id", 102), "unknown": ("unknown_token_id", 100)}
    found = {role: token_id(metadata, key, len(vocabulary.texts), usual) for role, (key, usual) in named.items()}
    marks = {}
    for role, (key, _) in named.items():
        token = found[role]
        if token is None:
            raise InvalidHeader(
                "a token of every text is missing",
                rule="GG-5",
                field=PREFIX + key,
                expected=f"an id below {len(vocabulary.texts)}",
            )
        marks[role] = token
    lowercase = metadata.boolean(PREFIX + "normalizer.lowercase", True)
    strips = metadata.boolean(PREFIX + "normalizer.strip_accents", lowercase)
    return WordPieceTokenizer(vocabulary, **marks, lowercase=lowercase, strip_accents=strips)


def _read_bpe(metadata: GgufMetadata, name: str, profile: Profile) -> BpeTokenizer:
    pre_tokenizer = PRE_TOKENIZERS.get(name)
    if pre_tokenizer is None:
        raise InvalidHeader(
            "the pre-tokenizer is unknown",
            rule="GG-5",
            field=PREFIX + "pre",
            expected=f"a name that llama.cpp knows; the nearest is {nearest_name(name)}",
            found=printable(name),
        )
    vocabulary = read_vocabulary(metadata, profile)
    default = None if metadata.text(PREFIX + "model") == "gemma4" else 11  # llama.cpp's ids for byte-pair encoding
    roles = _read_roles(
        metadata,
        vocabulary,
        profile,
        bos_id=default if pre_tokenizer.has_bos else None,
        eos_id=default,
        add_bos=pre_tokenizer.add_bos,
        always_bos=pre_tokenizer.always_bos,
    )
    has_merges = name != "kimi-k2" or PREFIX + "merges" in metadata
    merges = metadata.string_table(PREFIX + "merges") if has_merges else ()
    return BpeTokenizer(vocabulary, merges, pre_tokenizer, **roles)


class _Roles(TypedDict):
    """Which tokens stand around a text and end a generation."""

    bos_id: int | None
    eos_id: int | None
    stop_ids: frozenset[int]
    add_bos: bool
    add_eos: bool


def _read_roles(
    metadata: GgufMetadata,
    vocabulary: Vocabulary,
    profile: Profile,
    *,
    bos_id: int | None,
    eos_id: int | None,
    add_bos: bool,
    always_bos: bool = False,
) -> _Roles:
    """Read the special ids; the arguments are the defaults. InvalidHeader if a token is to be added that is not there.

    With `always_bos` BOS is added whatever the metadata says.
    """
    size = len(vocabulary.texts)
    bos_id = token_id(metadata, "bos_token_id", size, default=bos_id)
    eos_id = token_id(metadata, "eos_token_id", size, default=eos_id)
    add_bos = metadata.boolean(PREFIX + "add_bos_token", add_bos) or always_bos
    add_eos = metadata.boolean(PREFIX + "add_eos_token", False)
    for adds, token, name in ((add_bos, bos_id, "bos"), (add_eos, eos_id, "eos")):
        if adds and token is None:
            raise InvalidHeader(
                f"a {name.upper()} token is to be added but there is none",
                rule="GG-4",
                field=f"{PREFIX}{name}_token_id",
                expected=f"an id below {size}",
            )
    stop_ids = read_stop_ids(metadata, vocabulary, eos_id, profile)
    return _Roles(bos_id=bos_id, eos_id=eos_id, stop_ids=stop_ids, add_bos=add_bos, add_eos=add_eos)


def read_stop_ids(
    metadata: GgufMetadata, vocabulary: Vocabulary, eos_id: int | None, profile: Profile
) -> frozenset[int]:
    """Return the tokens that end a generation: those that the metadata name, and those known by their text (GG-6)."""
    size = len(vocabulary.texts)
    named = [eos_id, *(token_id(metadata, f"{name}_token_id", size) for name in ("eot", "eom"))]
    stops = {token for token in named if token is not None}
    if profile.gguf_stop_tokens == "metadata ids only":
        return frozenset(stops)
    ids = vocabulary.ids
    roles = _named_roles(metadata, size)
    stops |= {ids[text] for text in end_texts().ends if text in ids}
    stops |= {token for role, token in (marks_by_text(ids, roles) | roles).items() if role in FILL_IN_THE_MIDDLE_ENDS}
    return frozenset(stops - end_texts().no_ends(ids))


def _named_roles(metadata: GgufMetadata, size: int) -> dict[str, int]:
    """Return role in fill-in-the-middle prompts -> token, as the metadata say; of two keys the later one counts."""
    return {
        role: token
        for role, keys in _ROLE_KEYS.items()
        for key in keys
        if (token := token_id(metadata, key, size)) is not None
    }


def read_vocabulary(metadata: GgufMetadata, profile: Profile) -> Vocabulary:
    """Read token texts and types; absent types are all normal (section 13)."""
    tokens = metadata.string_table(PREFIX + "tokens")
    types: NDArray[np.int64] | None = None
    if PREFIX + "token_type" in metadata:
        numbers = metadata.numbers(PREFIX + "token_type", ValueType.INT32)
        check_count(PREFIX + "token_type", len(numbers), len(tokens))
        types = numbers.astype(np.int64)
    return Vocabulary.build(
        tokens,
        types,
        model_name=metadata.text("general.name", ""),
        pre_tokenizer=metadata.text(PREFIX + "pre", ""),
        named_roles=_named_roles(metadata, len(tokens)),
        ends_by_text=profile.gguf_stop_tokens == "as llama.cpp",
    )


def read_scores(metadata: GgufMetadata, size: int) -> NDArray[np.float32]:
    """Read one merge score for each token; InvalidHeader where one is NaN, which no order of merges can follow."""
    scores = metadata.numbers(PREFIX + "scores", ValueType.FLOAT32, ValueType.INT32)
    check_count(PREFIX + "scores", len(scores), size)
    scores = scores.astype(np.float32)
    if np.isnan(scores).any():
        raise InvalidHeader(
            "a token score is NaN",
            rule="GG-4",
            field=PREFIX + "scores",
            expected="a number",
            found=f"NaN for id {int(np.isnan(scores).argmax())}",
        )
    return scores


def check_count(key: str, found: int, expected: int) -> None:
    """Refuse an array that is not as long as the vocabulary: InvalidHeader (GG-13)."""
    if found != expected:
        raise InvalidHeader(
            "there is not one value for each token", rule="GG-13", field=key, expected=expected, found=found
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
