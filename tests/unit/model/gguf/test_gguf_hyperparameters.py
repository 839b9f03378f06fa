"""What the metadata of a GGUF model must say, may say and may not say: GG-4, section 13 "GGUF"."""

from __future__ import annotations

import struct

import pytest

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.errors import InvalidHeader
from refruntime.model.gguf.model import validate_gguf
from refruntime.model.validated import ValidatedModel
from tests.support.gguf_by_hand import (
    ARRAY,
    BOOL,
    F32,
    F64,
    FFN,
    HIDDEN,
    I32,
    LAYERS,
    SCORES,
    STRING,
    TYPES,
    U16,
    U32,
    U64,
    VOCABULARY,
    array,
    llama_file,
    llama_keys,
    scalar,
)

Keys = dict[str, bytes | None]


def load(data: bytes, profile: Profile | None = None) -> ValidatedModel:
    return validate_gguf(read_gguf(data), profile or Profile())


def u32(value: int) -> bytes:
    return scalar(U32, value)


def f32(value: float) -> bytes:
    return scalar(F32, value)


INVALID_KEYS: dict[str, tuple[Keys, str]] = {
    "no architecture": ({"general.architecture": None}, "general.architecture"),
    "architecture as number": ({"general.architecture": u32(1)}, "general.architecture"),
    "unknown architecture": ({"general.architecture": scalar(STRING, "llama9")}, "general.architecture"),
    "empty architecture": ({"general.architecture": scalar(STRING, "")}, "general.architecture"),
    "no context": ({"llama.context_length": None}, "llama.context_length"),
    "no hidden size": ({"llama.embedding_length": None}, "llama.embedding_length"),
    "no layer count": ({"llama.block_count": None}, "llama.block_count"),
    "no ffn size": ({"llama.feed_forward_length": None}, "llama.feed_forward_length"),
    "no head count": ({"llama.attention.head_count": None}, "llama.attention.head_count"),
    "no epsilon": (
        {"llama.attention.layer_norm_rms_epsilon": None},
        "llama.attention.layer_norm_rms_epsilon",
    ),
    "context 0": ({"llama.context_length": u32(0)}, "llama.context_length"),
    "hidden size 0": ({"llama.embedding_length": u32(0)}, "llama.embedding_length"),
    "no layers": ({"llama.block_count": u32(0)}, "llama.block_count"),
    "ffn size 0": ({"llama.feed_forward_length": u32(0)}, "llama.feed_forward_length"),
    "no heads": ({"llama.attention.head_count": u32(0)}, "llama.attention.head_count"),
    "no key/value heads": ({"llama.attention.head_count_kv": u32(0)}, "llama.attention.head_count_kv"),
    "context as u64": ({"llama.context_length": scalar(U64, 96)}, "llama.context_length"),
    "hidden size as i32": ({"llama.embedding_length": scalar(I32, 8)}, "llama.embedding_length"),
    "epsilon as f64": (
        {"llama.attention.layer_norm_rms_epsilon": scalar(F64, 1e-5)},
        "llama.attention.layer_norm_rms_epsilon",
    ),
    "epsilon 0": ({"llama.attention.layer_norm_rms_epsilon": f32(0)}, "llama.attention.layer_norm_rms_epsilon"),
    "epsilon NaN": (
        {"llama.attention.layer_norm_rms_epsilon": f32(float("nan"))},
        "llama.attention.layer_norm_rms_epsilon",
    ),
    "theta 0": ({"llama.rope.freq_base": f32(0)}, "llama.rope.freq_base"),
    "theta negative": ({"llama.rope.freq_base": f32(-1)}, "llama.rope.freq_base"),
    "theta infinite": ({"llama.rope.freq_base": f32(float("inf"))}, "llama.rope.freq_base"),
    "heads do not divide the hidden size": ({"llama.attention.head_count": u32(6)}, "llama.attention.head_count"),
    "kv heads do not divide the heads": ({"llama.attention.head_count_kv": u32(3)}, "llama.attention.head_count_kv"),
    "more kv heads than heads": ({"llama.attention.head_count_kv": u32(8)}, "llama.attention.head_count_kv"),
    "heads of odd size": ({"llama.attention.head_count": u32(8)}, "llama.attention.key_length"),
    "key and value lengths differ": ({"llama.attention.value_length": u32(4)}, "llama.attention.value_length"),
    "key length alone": ({"llama.attention.key_length": u32(4)}, "llama.attention.value_length"),
    "partial rope": ({"llama.rope.dimension_count": u32(1)}, "llama.rope.dimension_count"),
    "vocab_size contradicts the tokens": ({"llama.vocab_size": u32(9)}, "llama.vocab_size"),
    "too few values for the layers": (
        {"llama.feed_forward_length": array(U32, [FFN])},
        "llama.feed_forward_length",
    ),
    "layers of different sizes": (
        {"llama.feed_forward_length": array(U32, [FFN, FFN + 1])},
        "llama.feed_forward_length",
    ),
    "layers without ffn": ({"llama.feed_forward_length": array(I32, [0, 0])}, "llama.feed_forward_length"),
    "layers of negative size": ({"llama.attention.head_count": array(I32, [-4, -4])}, "llama.attention.head_count"),
    "sizes as floats": ({"llama.feed_forward_length": array(F32, [FFN] * LAYERS)}, "llama.feed_forward_length"),
    "negative scaling": ({"llama.rope.scaling.factor": f32(-4)}, "llama.rope.scaling.factor"),
    "infinite scaling, old key": ({"llama.rope.scale_linear": f32(float("inf"))}, "llama.rope.scale_linear"),
    "yarn without trained context": (
        {"llama.rope.scaling.type": scalar(STRING, "yarn"), "llama.rope.scaling.original_context_length": u32(0)},
        "llama.rope.scaling.original_context_length",
    ),
    "yarn with base 1": (
        {"llama.rope.scaling.type": scalar(STRING, "yarn"), "llama.rope.freq_base": f32(1)},
        "llama.rope.freq_base",
    ),
    "yarn beta": (
        {"llama.rope.scaling.type": scalar(STRING, "yarn"), "llama.rope.scaling.yarn_beta_fast": f32(0)},
        "llama.rope.scaling.yarn_beta_fast",
    ),
    "longrope": ({"llama.rope.scaling.type": scalar(STRING, "longrope")}, "llama.rope.scaling.type"),
    "unknown scaling": ({"llama.rope.scaling.type": scalar(STRING, "su")}, "llama.rope.scaling.type"),
    "attention factor": ({"llama.rope.scaling.attn_factor": f32(0.5)}, "llama.rope.scaling.attn_factor"),
    "experts": ({"llama.expert_count": u32(8)}, "llama.expert_count"),
    "sliding window": ({"llama.attention.sliding_window": u32(4096)}, "llama.attention.sliding_window"),
    "window for each layer": (
        {"llama.attention.sliding_window": array(U32, [0, 0])},
        "llama.attention.sliding_window",
    ),
    "attention scale": ({"llama.attention.scale": f32(0.5)}, "llama.attention.scale"),
    "logit scale": ({"llama.logit_scale": f32(0.5)}, "llama.logit_scale"),
    "clamp": ({"llama.attention.clamp_kqv": f32(8)}, "llama.attention.clamp_kqv"),
    "alibi": ({"llama.attention.max_alibi_bias": f32(8)}, "llama.attention.max_alibi_bias"),
    "soft cap": ({"llama.attn_logit_softcapping": f32(50)}, "llama.attn_logit_softcapping"),
    "soft cap of the logits": ({"llama.final_logit_softcapping": f32(30)}, "llama.final_logit_softcapping"),
    "embedding scale": ({"llama.embedding_scale": f32(12)}, "llama.embedding_scale"),
    "residual scale": ({"llama.residual_scale": f32(0.5)}, "llama.residual_scale"),
    "not causal": ({"llama.attention.causal": scalar(BOOL, 0)}, "llama.attention.causal"),
    "parallel residual": ({"llama.use_parallel_residual": scalar(BOOL, 1)}, "llama.use_parallel_residual"),
    "unknown hyper-parameter": ({"llama.new_trick": u32(1)}, "llama.new_trick"),
    "one of several files": ({"split.count": scalar(U16, 2)}, "split.count"),
    "no tokenizer model": ({"tokenizer.ggml.model": None}, "tokenizer.ggml.model"),
    "unknown tokenizer model": ({"tokenizer.ggml.model": scalar(STRING, "bert")}, "tokenizer.ggml.model"),
    "no tokens": ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens"),
    "empty vocabulary": (
        {"tokenizer.ggml.tokens": array(STRING, []), "tokenizer.ggml.token_type": None},
        "tokenizer.ggml.tokens",
    ),
    "tokens as numbers": ({"tokenizer.ggml.tokens": array(U32, [1] * 8)}, "tokenizer.ggml.tokens"),
    "equal tokens": ({"tokenizer.ggml.tokens": array(STRING, [*VOCABULARY[:7], b"h"])}, "tokenizer.ggml.tokens"),
    "more types than tokens": ({"tokenizer.ggml.token_type": array(I32, [*TYPES, 1])}, "tokenizer.ggml.token_type"),
    "more scores than tokens": ({"tokenizer.ggml.scores": array(F32, [*SCORES, 0.0])}, "tokenizer.ggml.scores"),
    "misspelt byte token": (
        {"tokenizer.ggml.token_type": array(I32, [*TYPES[:7], 6])},
        "tokenizer.ggml.tokens",
    ),
    "no scores": ({"tokenizer.ggml.scores": None}, "tokenizer.ggml.scores"),
    "too few scores": ({"tokenizer.ggml.scores": array(F32, SCORES[:7])}, "tokenizer.ggml.scores"),
    "scores as doubles": ({"tokenizer.ggml.scores": array(F64, SCORES)}, "tokenizer.ggml.scores"),
    "a score is NaN": ({"tokenizer.ggml.scores": array(F32, [*SCORES[:7], float("nan")])}, "tokenizer.ggml.scores"),
    "too few types": ({"tokenizer.ggml.token_type": array(I32, TYPES[:7])}, "tokenizer.ggml.token_type"),
    "types as u32": ({"tokenizer.ggml.token_type": array(U32, TYPES)}, "tokenizer.ggml.token_type"),
    "bos outside": ({"tokenizer.ggml.bos_token_id": u32(8)}, "tokenizer.ggml.bos_token_id"),
    "eos outside": ({"tokenizer.ggml.eos_token_id": u32((1 << 32) - 1)}, "tokenizer.ggml.eos_token_id"),
    "eot outside": ({"tokenizer.ggml.eot_token_id": u32(8)}, "tokenizer.ggml.eot_token_id"),
    "eom outside": ({"tokenizer.ggml.eom_token_id": u32(8)}, "tokenizer.ggml.eom_token_id"),
    "bos as i32": ({"tokenizer.ggml.bos_token_id": scalar(I32, 1)}, "tokenizer.ggml.bos_token_id"),
    "add_bos as u32": ({"tokenizer.ggml.add_bos_token": u32(1)}, "tokenizer.ggml.add_bos_token"),
    "phi-3 without its end of text": ({"general.name": scalar(STRING, "Phi-3 mini")}, "tokenizer.ggml.tokens"),
}


def value_offset(data: bytes, key: str) -> int | None:
    """Search where the value of a key starts, behind its type; an array's first element. None if the key is absent."""
    written = struct.pack("<Q", len(key)) + key.encode()
    if written not in data:
        return None
    behind = data.index(written) + len(written)
    return behind + (16 if struct.unpack_from("<I", data, behind) == (ARRAY,) else 4)


@pytest.mark.parametrize("name", INVALID_KEYS)
def test_bad_metadata_gives_6_and_names_the_key(name: str) -> None:
    """GG-4, section 13 GGUF: missing, inconsistent or unimplemented metadata gives 6, never a silent default."""
    keys, field = INVALID_KEYS[name]
    data = llama_file(keys)
    with pytest.raises(InvalidHeader) as caught:
        load(data)
    assert caught.value.field == field
    assert caught.value.offset == value_offset(data, field)


def test_a_vocabulary_too_small_for_the_default_bos_is_refused() -> None:
    """Section 13 GGUF: BOS is to be added by default, so there must be one."""
    keys: Keys = {
        "tokenizer.ggml.tokens": array(STRING, ["a"]),
        "tokenizer.ggml.scores": array(F32, [0.0]),
        "tokenizer.ggml.token_type": None,
    }
    with pytest.raises(InvalidHeader, match="BOS") as caught:
        load(llama_file(keys))
    assert caught.value.field == "tokenizer.ggml.bos_token_id"
    shapes: dict[str, tuple[int, ...] | None] = {"token_embd.weight": (HIDDEN, 1)}
    model = load(llama_file({**keys, "tokenizer.ggml.add_bos_token": scalar(BOOL, 0)}, shapes))
    assert (model.tokenizer.eos_id, model.tokenizer.stop_ids) == (None, frozenset())


HARMLESS: dict[str, Keys] = {
    "written defaults": {
        "llama.rope.freq_base": f32(10000),
        "llama.rope.dimension_count": u32(2),
        "llama.attention.key_length": u32(2),
        "llama.attention.value_length": u32(2),
        "llama.vocab_size": u32(8),
        "tokenizer.ggml.add_bos_token": scalar(BOOL, 1),
        "tokenizer.ggml.add_eos_token": scalar(BOOL, 0),
        "tokenizer.ggml.add_space_prefix": scalar(BOOL, 1),
        "tokenizer.ggml.bos_token_id": u32(1),
        "tokenizer.ggml.eos_token_id": u32(2),
        "general.alignment": u32(32),
        "split.count": scalar(U16, 1),
    },
    "neutral values": {
        "llama.rope.scaling.type": scalar(STRING, "linear"),
        "llama.rope.scaling.factor": f32(1),
        "llama.rope.scaling.original_context_length": u32(4096),
        "llama.rope.scaling.finetuned": scalar(BOOL, 0),
        "llama.expert_count": u32(0),
        "llama.attention.sliding_window": u32(0),
        "llama.attention.causal": scalar(BOOL, 1),
        "llama.logit_scale": f32(1),
    },
    "no scaling, whatever the factor": {
        "llama.rope.scaling.type": scalar(STRING, "none"),
        "llama.rope.scaling.factor": f32(4),
    },
    "a factor of 0 means none": {"llama.rope.scaling.factor": f32(0)},
    "the new key beats the old": {"llama.rope.scaling.factor": f32(1), "llama.rope.scale_linear": f32(4)},
    "equal sizes for each layer": {
        "llama.feed_forward_length": array(U32, [FFN] * LAYERS),
        "llama.attention.head_count": array(I32, [4] * LAYERS),
        "llama.attention.head_count_kv": array(U32, [2] * LAYERS),
    },
    "how the file was made": {"llama.tensor_data_layout": scalar(STRING, "Meta AI original pth")},
    "other software's keys": {"general.name": scalar(STRING, "Tiny"), "mine.setting": array(F64, [1.0])},
    "whole scores": {"tokenizer.ggml.scores": array(I32, [0, 0, 0, -9, -9, -9, -1, -2])},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_keys_that_change_nothing_change_nothing(name: str) -> None:
    """Section 13 GGUF: writing a default, or a neutral value, gives the same model as leaving it away."""
    plain, model = load(llama_file()), load(llama_file(HARMLESS[name]))
    assert model.hyperparameters == plain.hyperparameters
    assert model.tokenizer.encode(b"hi i") == plain.tokenizer.encode(b"hi i")
    assert model.tokenizer.stop_ids == plain.tokenizer.stop_ids == frozenset({2})


def test_the_keys_of_the_fixture_are_the_minimum() -> None:
    """GG-4: without any one key but the two with defaults, the tiny model is refused."""
    optional = {"llama.attention.head_count_kv", "tokenizer.ggml.token_type"}
    for name in llama_keys():
        if name not in optional:
            with pytest.raises(InvalidHeader):
                load(llama_file({name: None}))
    assert load(llama_file({"tokenizer.ggml.token_type": None})).tokenizer.decode([1]) == b"<s>"
