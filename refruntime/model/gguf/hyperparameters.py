"""Read the hyper-parameters of a GGUF model; refuse by name what would change the arithmetic (GG-4, section 13)."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from refruntime.containers.gguf import GgufMetadata, ValueType
from refruntime.containers.gguf_metadata import printable
from refruntime.contract.profile import Profile
from refruntime.model.architectures import ARCHITECTURES, Architecture
from refruntime.model.architectures.encoders import ENCODERS
from refruntime.model.gguf.layer_sizes import (
    differing_layers,
    read_experts,
    read_ffn_size,
    read_kv_heads,
    read_layers,
    read_window,
    sizes_of_layers,
)
from refruntime.model.gguf.rotary import read_original_context, read_rope_scaling, read_rotated_dim
from refruntime.model.gguf.values import factor, invalid, positive, size, size_of_all_layers
from refruntime.model.validated import Hyperparameters

_USED: Final = frozenset(
    {
        "context_length",
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "vocab_size",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
        "rope.scaling.yarn_attn_factor",
        "rope.scale_linear",
    }
)
"""Keys that every architecture understands."""

_WINDOW_KEYS: Final = frozenset({"attention.sliding_window", "attention.sliding_window_pattern"})
"""Keys that an architecture with windowed layers understands."""

_EPSILON_KEYS: Final = {"rms": "attention.layer_norm_rms_epsilon", "layer": "attention.layer_norm_epsilon"}

POOLINGS: Final = {0: "none", 1: "mean", 2: "cls", 3: "last"}
"""Number in the key pooling_type -> what an encoder makes of its rows; 4 ranks, by another head."""

_NEUTRAL: Final[dict[str, tuple[ValueType, object]]] = {
    "expert_count": (ValueType.UINT32, 0),
    "expert_used_count": (ValueType.UINT32, 0),
    "attention.sliding_window": (ValueType.UINT32, 0),
    "attention.causal": (ValueType.BOOL, True),
    "attention.scale": (ValueType.FLOAT32, 0.0),
    "attention.clamp_kqv": (ValueType.FLOAT32, 0.0),
    "attention.max_alibi_bias": (ValueType.FLOAT32, 0.0),
    "attn_logit_softcapping": (ValueType.FLOAT32, 0.0),
    "final_logit_softcapping": (ValueType.FLOAT32, 0.0),
    "embedding_scale": (ValueType.FLOAT32, 1.0),
    "residual_scale": (ValueType.FLOAT32, 1.0),
    "logit_scale": (ValueType.FLOAT32, 1.0),
    "rope.scaling.attn_factor": (ValueType.FLOAT32, 1.0),
    "rope.scaling.finetuned": (ValueType.BOOL, True),
    "use_parallel_residual": (ValueType.BOOL, False),
}
"""Accepted with the value that changes nothing, where the architecture does not understand the key."""


def read_architecture(
    metadata: GgufMetadata, profile: Profile, known: Mapping[str, Architecture] = ARCHITECTURES
) -> Architecture:
    """Return the description of the architecture, with the options of the profile; InvalidHeader for an unknown one."""
    name = metadata.text("general.architecture")
    architecture = known.get(name)
    if architecture is None:
        problem = "the architecture is not supported"
        if name in ENCODERS:
            problem = "an encoder gives embeddings and generates nothing; `refruntime embed` reads it"
        elif name in ARCHITECTURES:
            problem = "this is no encoder; `refruntime run` and `refruntime logits` read it"
        raise invalid(problem, "general.architecture", f"one of {', '.join(sorted(known))}", printable(name))
    return replace(architecture, **chosen[name]) if name in (chosen := _chosen(profile)) else architecture


def _chosen(profile: Profile) -> dict[str, dict[str, Any]]:
    """Return what the profile says of architectures that other software disagrees about (GG-12, GG-15)."""
    return {
        **{name: {"activation": f"gelu {profile.gguf_gptneox_gelu}"} for name in ("gptneox", "bert")},
        "gpt-oss": {"yarn_range": profile.gguf_gpt_oss_yarn_range},
        "lfm2moe": {"share_sum": profile.gguf_lfm2moe_share_sum},
    }


def read_hyperparameters(
    metadata: GgufMetadata, architecture: Architecture, profile: Profile, tensors: Container[str]
) -> Hyperparameters:
    """Read the hyper-parameters of an architecture; `tensors` are the names of those in the file.

    `vocab_size` is the number of tokens (0 when there is no token list, which the tokenizer refuses). InvalidHeader for
    what is missing, inconsistent or not implemented.
    """
    prefix = architecture.name + "."
    _refuse_unknown(metadata, architecture)
    layer_count, drafting_layers = read_layers(metadata, architecture)
    hidden_size = size(metadata, prefix + "embedding_length")
    head_count = size_of_all_layers(metadata, prefix + "attention.head_count", layer_count)
    kv_head_count, attending = read_kv_heads(metadata, architecture, layer_count, head_count)
    tokens = metadata.fields.get("tokenizer.ggml.tokens")
    vocab_size = 0 if tokens is None else tokens.count
    if prefix + "vocab_size" in metadata and tokens is not None:
        _equal(metadata, prefix + "vocab_size", vocab_size)
    context_length = size(metadata, prefix + "context_length")
    head_dim = _head_dim(metadata, architecture, hidden_size, head_count)
    ffn_sizes = sizes_of_layers(metadata, architecture, "feed_forward_length", layer_count)
    ffn_size = max(ffn_sizes) if ffn_sizes else read_ffn_size(metadata, architecture, layer_count)
    windows = read_window(metadata, architecture, profile, layer_count)
    return Hyperparameters(
        architecture=architecture.name,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        layer_count=layer_count,
        drafting_layers=drafting_layers,
        head_count=head_count,
        kv_head_count=kv_head_count,
        head_dim=head_dim,
        ffn_size=ffn_size,
        max_context=min(context_length, profile.gguf_context_limit),
        rope_theta=positive(metadata, prefix + "rope.freq_base", 10000.0),
        rms_norm_epsilon=positive(metadata, prefix + _EPSILON_KEYS[architecture.norm]),
        rope_scaling=read_rope_scaling(metadata, architecture),
        rotated_dim=read_rotated_dim(metadata, architecture, head_dim),
        learned_positions=context_length if architecture.positions == "learned" else 0,
        attention_scale_dim=(
            hidden_size // head_count if layer_count == architecture.layers_scaled_by_hidden_size else 0
        ),
        parallel=_parallel(metadata, architecture, tensors),
        **attending,
        **_factors(metadata, architecture, hidden_size, layer_count),
        **windows,
        **differing_layers(metadata, architecture, layer_count, windows.get("windowed_layers", ())),
        ffn_sizes=ffn_sizes,
        **read_experts(metadata, architecture, ffn_size, layer_count),
        **_state_space(metadata, architecture),
        **_encoder(metadata, architecture),
    )


def _refuse_unknown(metadata: GgufMetadata, architecture: Architecture) -> None:
    prefix, understood = architecture.name + ".", understood_keys(architecture)
    for key in metadata:
        suffix = key.removeprefix(prefix)
        if suffix == key or suffix in understood or suffix in architecture.ignored_keys:
            continue
        if suffix not in _NEUTRAL:
            raise invalid(
                "an unknown hyper-parameter might change the arithmetic", printable(key), "no such key", "it is set"
            )
        value_type, neutral = _NEUTRAL[suffix]
        if metadata.fields[key].type is not value_type or metadata[key] != neutral:
            field = metadata.fields[key]
            found = field.type_name if field.type in (ValueType.ARRAY, ValueType.STRING) else field.value
            raise invalid("a hyper-parameter asks for arithmetic that is not implemented", key, neutral, found)


def understood_keys(architecture: Architecture) -> frozenset[str]:
    """Return the keys whose value counts, without the name of the architecture in front."""
    windows = _WINDOW_KEYS if architecture.window_period else frozenset()
    parallel = {"use_parallel_residual"} if architecture.parallel == "key" else frozenset()
    return _USED | architecture.keys | windows | parallel | {_EPSILON_KEYS[architecture.norm]}


def _state_space(metadata: GgufMetadata, architecture: Architecture) -> dict[str, Any]:
    if architecture.other_mixer not in {"state space", "delta net"}:
        return {}
    prefix = architecture.name + ".ssm."
    names = {
        "convolution_length": "conv_kernel",
        "state_size": "state_size",
        "state_heads": "time_step_rank",
        "state_groups": "group_count",
        "state_inner_size": "inner_size",
    }
    sizes = {name: size(metadata, prefix + key) for name, key in names.items()}
    heads, groups, inner = sizes["state_heads"], sizes["state_groups"], sizes["state_inner_size"]
    if heads % groups:
        raise invalid(
            "state heads do not divide among the groups", prefix + "group_count", f"a divisor of {heads}", groups
        )
    if inner % heads or inner % groups:
        raise invalid(
            "state heads do not divide the inner size", prefix + "inner_size", f"a multiple of {heads}", inner
        )
    if architecture.other_mixer == "delta net" and inner != heads * sizes["state_size"]:
        expected = f"{heads} heads of {sizes['state_size']}"
        raise invalid("value heads are as long as key heads", prefix + "inner_size", expected, inner)
    return sizes


def _encoder(metadata: GgufMetadata, architecture: Architecture) -> dict[str, Any]:
    """Read how an encoder pools its rows and how many kinds of text it tells apart; it has to see all positions."""
    if architecture.name not in ENCODERS:
        return {}
    causal, pooling = (f"{architecture.name}.{key}" for key in ("attention.causal", "pooling_type"))
    if metadata.boolean(causal, True):
        raise invalid("an encoder that sees earlier positions alone is not implemented", causal, False, True)
    number = metadata.u32(pooling, 0)
    if number not in POOLINGS:
        expected = ", ".join(f"{code} ({name})" for code, name in POOLINGS.items())
        raise invalid("the pooling is not implemented", pooling, expected, number)
    return {"pooling": POOLINGS[number], "text_kinds": size(metadata, "tokenizer.ggml.token_type_count")}


def _head_dim(metadata: GgufMetadata, architecture: Architecture, hidden_size: int, head_count: int) -> int:
    """Return the size of a head; keys are as long as values."""
    attention = architecture.name + ".attention."
    key = attention + "key_length"
    if key in metadata:
        head_dim = size(metadata, key)
    elif hidden_size % head_count:
        raise invalid("heads do not divide the hidden size", attention + "head_count", "a divisor", head_count)
    else:
        head_dim = hidden_size // head_count
    # without a value length llama.cpp takes hidden size / heads for it, whatever the key length is
    value_length = metadata.u32(attention + "value_length", hidden_size // head_count)
    if value_length != head_dim:
        raise invalid("keys and values differ in length", attention + "value_length", head_dim, value_length)
    return head_dim


def _parallel(metadata: GgufMetadata, architecture: Architecture, tensors: Container[str]) -> bool:
    if architecture.parallel == "key":
        return metadata.boolean(architecture.name + ".use_parallel_residual")
    if architecture.parallel == "without ffn_norm":
        return "blk.0.ffn_norm.weight" not in tensors
    return architecture.parallel == "always"


def _scales_by_size(hidden_size: int, layer_count: int) -> dict[str, float]:
    """Return the factors that follow from the sizes of a model, evaluated in float32 as llama.cpp does."""
    residual = np.float32(1.4) / np.sqrt(np.float32(layer_count))
    return {"residual_scale": float(residual), "logit_scale": float(np.float32(256) / np.float32(hidden_size))}


def _factors(metadata: GgufMetadata, architecture: Architecture, hidden_size: int, layer_count: int) -> dict[str, Any]:
    """Read the factors, caps and lengths that this architecture understands; the rest keeps its neutral default."""
    prefix, keys, defaults = architecture.name + ".", architecture.keys, dict(architecture.defaults)
    if architecture.scales_by_size:
        defaults |= _scales_by_size(hidden_size, layer_count)
    names = {
        "embedding_scale": ("embedding_scale", 1.0),
        "residual_scale": ("residual_scale", 1.0),
        "logit_scale": ("logit_scale", 1.0),
        "attention.scale": ("attention_scale", 0.0),
        "attention.clamp_kqv": ("qkv_clamp", 0.0),
        "attn_logit_softcapping": ("attention_softcap", 0.0),
        "final_logit_softcapping": ("logit_softcap", 0.0),
        "rope.scaling.attn_factor": ("rope_magnitude", 1.0),
        "attention.temperature_scale": ("query_growth", 0.0),
    }
    values: dict[str, Any] = {
        name: factor(metadata, prefix + key, neutral, defaults.get(key, 0.0))
        for key, (name, neutral) in names.items()
        if key in keys
    }
    if values.get("query_growth"):
        values["query_growth_length"] = read_original_context(metadata, architecture)
    if architecture.logit_scale == "divide":  # llama.cpp requires this one
        values["logit_scale"] = positive(metadata, prefix + "logit_scale", defaults.get("logit_scale"))
    if architecture.rope_factors == "long and short":
        values["original_context"] = read_original_context(metadata, architecture)
    if architecture.rope_switched:
        values["rotates"] = metadata.boolean(prefix + "rope.scaling.finetuned", True)
    if architecture.other_mixer == "convolution":
        values["convolution_length"] = length = metadata.u32(prefix + "shortconv.l_cache")
        if length < 2:
            raise invalid("a convolution has to reach back", prefix + "shortconv.l_cache", "at least 2", length)
    return values


def _equal(metadata: GgufMetadata, key: str, expected: int) -> None:
    value = metadata.u32(key)
    if value != expected:
        raise invalid("hyper-parameters contradict each other", key, expected, value)
