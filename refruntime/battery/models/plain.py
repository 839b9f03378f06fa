"""Plain GGUF files: the smallest well-formed file of an architecture, a storage type, a tokenizer, a rotary scaling.

They are made to be loaded, not to speak: norms are 1, matrices small random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from refruntime.battery.models.gguf import (
    BOOL,
    BYTE,
    CONTROL,
    F32,
    I32,
    NORMAL,
    SPACE,
    STRING,
    U32,
    UNKNOWN,
    GgufParts,
    Tensor,
    array,
    value,
)
from refruntime.battery.models.slm1 import Numbers
from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.model.architectures import ARCHITECTURES, Architecture
from refruntime.model.gguf.hyperparameters import read_hyperparameters
from refruntime.model.layout.architecture import model_layout
from refruntime.model.layout.tree import expected_tensors
from refruntime.quants.ggml import GGML_TYPES
from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS
from refruntime.tokenizers.spelling import to_alphabet

HIDDEN: Final = 8
FFN: Final = 16
_STATES: Final = {
    "ssm.conv_kernel": value(U32, 3),
    "ssm.state_size": value(U32, 4),
    "ssm.group_count": value(U32, 1),
    "ssm.time_step_rank": value(U32, 2),
    "ssm.inner_size": value(U32, 8),
}
NUMBERS: Final[Mapping[str, Mapping[str, bytes]]] = {
    "gemma2": {"attention.sliding_window": value(U32, 8)},
    "gemma3": {"attention.sliding_window": value(U32, 8)},
    "gemma4": {
        "attention.sliding_window": value(U32, 8),
        "attention.sliding_window_pattern": array(BOOL, [1, 0]),
        **{f"attention.{name}": value(U32, HIDDEN // 2) for name in ("key_length", "value_length")},
        **{f"attention.{name}_swa": value(U32, 2) for name in ("key_length", "value_length")},
        "rope.dimension_count_swa": value(U32, 2),
        "embedding_length_per_layer_input": value(U32, 4),
    },
    "granite": {
        name: value(F32, number)
        for name, number in {
            "attention.scale": 0.25,
            "embedding_scale": 2.0,
            "residual_scale": 0.5,
            "logit_scale": 2.0,
        }.items()
    },
    "granitehybrid": {
        **{name: value(F32, 2.0) for name in ("embedding_scale", "residual_scale", "logit_scale")},
        **{name: value(U32, 2) for name in ("expert_count", "expert_used_count")},
        **_STATES,
        "attention.scale": value(F32, 0.25),
        "expert_shared_feed_forward_length": value(U32, FFN),
        "attention.head_count_kv": array(I32, [0, 2]),
        "rope.scaling.finetuned": value(BOOL, False),
    },
    "qwen35": {**_STATES, "full_attention_interval": value(U32, 2)},
    "qwen35moe": {
        **_STATES,
        **{name: value(U32, 2) for name in ("full_attention_interval", "expert_count", "expert_used_count")},
        **{f"expert_{name}feed_forward_length": value(U32, FFN) for name in ("", "shared_")},
    },
    "command-r": {"logit_scale": value(F32, 0.5)},
    "cohere2": {"logit_scale": value(F32, 0.5), "attention.sliding_window": value(U32, 8)},
    "gptneox": {"use_parallel_residual": value(BOOL, True)},
    "qwen3moe": {name: value(U32, 2) for name in ("expert_count", "expert_used_count")}
    | {"expert_feed_forward_length": value(U32, FFN)},
    "olmoe": {name: value(U32, 2) for name in ("expert_count", "expert_used_count")},
    "gpt-oss": {name: value(U32, 2) for name in ("expert_count", "expert_used_count")}
    | {"expert_feed_forward_length": value(U32, FFN), "attention.sliding_window": value(U32, 8)},
    "minicpm": {name: value(F32, 2.0) for name in ("embedding_scale", "residual_scale", "logit_scale")},
    "lfm2moe": {
        **{name: value(U32, 2) for name in ("expert_count", "expert_used_count", "expert_gating_func")},
        "expert_feed_forward_length": value(U32, FFN),
        "leading_dense_block_count": value(U32, 1),
        "shortconv.l_cache": value(U32, 3),
        "attention.head_count_kv": array(I32, [0, 2]),
    },
    "lfm2": {"shortconv.l_cache": value(U32, 3), "attention.head_count_kv": array(I32, [0, 2])},
}
"""Hyper-parameters that an architecture's own converter always writes, without its name in front."""


def plain_gguf(architecture: str = "llama", /, **keys: bytes) -> GgufParts:
    """Return a file of an architecture in F32 with an SPM tokenizer; `keys` are further metadata as in `with_keys`."""
    described = ARCHITECTURES[architecture]
    layers = 2 if described.other_mixer != "none" or described.window_period else 1  # so that there is one of each kind
    epsilon = "rms_" if described.norm == "rms" else ""
    numbers = {
        "context_length": value(U32, 16),
        "embedding_length": value(U32, HIDDEN),
        "block_count": value(U32, layers),
        "feed_forward_length": value(U32, FFN),
        "attention.head_count": value(U32, 2),
        "attention.head_count_kv": value(U32, 2),
        f"attention.layer_norm_{epsilon}epsilon": value(F32, 1e-5),
        **({"rope.dimension_count": value(U32, HIDDEN // 2)} if described.positions == "rotary" else {}),
        **NUMBERS.get(architecture, {}),
    }
    metadata = {
        "general.architecture": value(STRING, architecture.encode()),
        **{f"{architecture}.{name}": number for name, number in numbers.items()},
        **_spm(),
    }
    return with_tensors(GgufParts(metadata, ()).with_keys(**keys), described)


def with_tensors(file: GgufParts, architecture: Architecture) -> GgufParts:
    """Return a file of nothing but metadata with the tensors that they ask for."""
    dimensions = read_hyperparameters(
        read_gguf(file.data).metadata, architecture, Profile(), ("blk.0.ffn_norm.weight",)
    )
    numbers = Numbers(architecture.name.encode()[0])
    tensors = []
    for name, shape, required in expected_tensors(model_layout(architecture, dimensions, ())):
        if required or name == "output.weight":
            ones = len(shape) == 1 and name.endswith("weight")
            values = np.ones(shape, np.float32) if ones else numbers.uniform(*shape, scale=0.25)
            tensors.append(Tensor(name.encode(), shape[::-1], 0, values.astype("<f4").tobytes()))
    return GgufParts(file.keys, tuple(tensors))


def stored_gguf(type_name: str) -> GgufParts:
    """Return a plain llama with one matrix in a storage type; its blocks are zeros, which are numbers in every type."""
    stored = next(item for item in GGML_TYPES.values() if item.name == type_name)
    ffn = max(FFN, stored.block_size)  # a row of this matrix is as long; the rest is as small as heads of 2 allow
    file = plain_gguf(
        llama__embedding_length=value(U32, 4),
        llama__rope__dimension_count=value(U32, 2),
        llama__feed_forward_length=value(U32, ffn),
    )
    bytes_of_matrix = 4 * ffn // stored.block_size * stored.type_size
    return file.with_tensor("blk.0.ffn_down.weight", type=stored.number, payload=bytes(bytes_of_matrix))


def with_factors(file: GgufParts, *names: str) -> GgufParts:
    """Return a file with tensors of rotary factors, all 2."""
    factors = np.full(HIDDEN // 4, 2, "<f4")
    more = (Tensor(name.encode(), (factors.size,), 0, factors.tobytes()) for name in names)
    return GgufParts(file.keys, (*file.tensors, *more))


# Vocabularies --------------------------------------------------------------------------------------------------------


def _spm() -> dict[str, bytes]:
    """Return an SPM vocabulary: specials, bytes, a space and three letters."""
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256)), SPACE, b"a", b"b", b"ab"]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * 4]
    scores = [*[0.0] * 259, -1.0, -2.0, -3.0, -4.0]
    return {
        "tokenizer.ggml.model": value(STRING, b"llama"),
        "tokenizer.ggml.tokens": array(STRING, tokens),
        "tokenizer.ggml.scores": array(F32, scores),
        "tokenizer.ggml.token_type": array(I32, types),
        "tokenizer.ggml.bos_token_id": value(U32, 1),
        "tokenizer.ggml.eos_token_id": value(U32, 2),
    }


def byte_pair_gguf(name: str) -> GgufParts:
    """Return a plain llama with a byte-pair vocabulary that is cut into words as `name` says (GG-5)."""
    if PRE_TOKENIZERS[name].raw_bytes:
        tokens = [*(b"<0x%02X>" % byte for byte in range(256)), SPACE, b"a", b"b", b"ab", b"<s>", b"</s>"]
        types = [*[BYTE] * 256, *[NORMAL] * 4, CONTROL, CONTROL]
    else:
        tokens = [*(to_alphabet(bytes([byte])) for byte in range(256)), b"ab", b"<s>", b"</s>"]
        types = [*[NORMAL] * 257, CONTROL, CONTROL]
    keys = {
        "tokenizer.ggml.model": value(STRING, b"gemma4" if name == "gemma4" else b"gpt2"),
        "tokenizer.ggml.pre": value(STRING, name.encode()),
        "tokenizer.ggml.tokens": array(STRING, tokens),
        "tokenizer.ggml.token_type": array(I32, types),
        "tokenizer.ggml.merges": array(STRING, [b"a b"]),
        "tokenizer.ggml.bos_token_id": value(U32, len(tokens) - 2),
        "tokenizer.ggml.eos_token_id": value(U32, len(tokens) - 1),
    }
    plain = plain_gguf()
    others = {key: item for key, item in plain.keys.items() if not key.startswith("tokenizer.")}
    return with_tensors(GgufParts(others | keys, ()), ARCHITECTURES["llama"])
