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
    read_experts,
    read_ffn_size,
    read_kv_heads,
    read_layers,
    read_sharing_layers,
    read_windows,
    sizes_of_layers,
)
from refruntime.model.gguf.rotary import read_original_context, read_rope
from refruntime.model.gguf.values import factor, invalid, positive, size, size_of_all_layers
from refruntime.model.hyperparameters import EncoderParameters, Hyperparameters, RecurrentParameters, ScaleParameters

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

_SCALES: Final = {
    "embedding_scale": "embedding",
    "residual_scale": "residual",
    "logit_scale": "logit",
    "attention.scale": "attention",
    "attention.clamp_kqv": "qkv_clamp",
    "attn_logit_softcapping": "attention_softcap",
    "final_logit_softcapping": "logit_softcap",
    "attention.temperature_scale": "query_growth",
}
"""Key of a factor or cap -> its name here; 0 in a file means that there is none."""

_UNSCALED: Final = ScaleParameters()

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
    chosen = _chosen(name, profile)
    return replace(architecture, **chosen) if chosen else architecture


def _chosen(name: str, profile: Profile) -> dict[str, Any]:
    """Return what the profile says of an architecture that other software disagrees about (GG-12, GG-15)."""
    match name:
        case "gptneox" | "bert":
            return {"activation": f"gelu {profile.gguf_gptneox_gelu}"}
        case "gpt-oss":
            return {"yarn_range": profile.gguf_gpt_oss_yarn_range}
        case "lfm2moe":
            return {"share_sum": profile.gguf_lfm2moe_share_sum}
    return {}


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
    windows = read_windows(metadata, architecture, profile, layer_count)
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
        rope=read_rope(metadata, architecture, head_dim),
        rms_norm_epsilon=positive(metadata, prefix + _EPSILON_KEYS[architecture.norm]),
        scales=_scales(metadata, architecture, hidden_size, layer_count, head_count),
        windows=windows,
        experts=read_experts(metadata, architecture, ffn_size),
        recurrent=_recurrent(metadata, architecture, attending),
        encoder=_encoder(metadata, architecture),
        learned_positions=context_length if architecture.positions == "learned" else 0,
        parallel=_parallel(metadata, architecture, tensors),
        kv_heads_of_layers=sizes_of_layers(metadata, architecture, "attention.head_count_kv", layer_count),
        ffn_sizes=ffn_sizes,
        sharing_layers=read_sharing_layers(metadata, architecture, layer_count, windows),
        layer_input_size=(
            metadata.u32(prefix + "embedding_length_per_layer_input") if architecture.layer_inputs else 0
        ),
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


def _recurrent(
    metadata: GgufMetadata, architecture: Architecture, attending: dict[str, Any]
) -> RecurrentParameters | None:
    """Read the sizes of layers that do not attend; `attending` tells which these are."""
    if architecture.other_mixer == "none":
        return None
    if architecture.other_mixer == "convolution":
        key = architecture.name + ".shortconv.l_cache"
        length = metadata.u32(key)
        if length < 2:
            raise invalid("a convolution has to reach back", key, "at least 2", length)
        return RecurrentParameters(length, **attending)
    prefix = architecture.name + ".ssm."
    keys = ("conv_kernel", "state_size", "time_step_rank", "group_count", "inner_size")
    length, state_size, heads, groups, inner = (size(metadata, prefix + key) for key in keys)
    if heads % groups:
        raise invalid(
            "state heads do not divide among the groups", prefix + "group_count", f"a divisor of {heads}", groups
        )
    if inner % heads or inner % groups:
        raise invalid(
            "state heads do not divide the inner size", prefix + "inner_size", f"a multiple of {heads}", inner
        )
    if architecture.other_mixer == "delta net" and inner != heads * state_size:
        expected = f"{heads} heads of {state_size}"
        raise invalid("value heads are as long as key heads", prefix + "inner_size", expected, inner)
    return RecurrentParameters(length, **attending, state_size=state_size, heads=heads, groups=groups, inner_size=inner)


def _encoder(metadata: GgufMetadata, architecture: Architecture) -> EncoderParameters | None:
    """Read how an encoder pools its rows and how many kinds of text it tells apart; it has to see all positions."""
    if architecture.name not in ENCODERS:
        return None
    causal, pooling = (f"{architecture.name}.{key}" for key in ("attention.causal", "pooling_type"))
    if metadata.boolean(causal, True):
        raise invalid("an encoder that sees earlier positions alone is not implemented", causal, False, True)
    number = metadata.u32(pooling, 0)
    if number not in POOLINGS:
        expected = ", ".join(f"{code} ({name})" for code, name in POOLINGS.items())
        raise invalid("the pooling is not implemented", pooling, expected, number)
    return EncoderParameters(size(metadata, "tokenizer.ggml.token_type_count"), POOLINGS[number])


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


def _scales(
    metadata: GgufMetadata, architecture: Architecture, hidden_size: int, layer_count: int, head_count: int
) -> ScaleParameters:
    """Read the factors and caps that this architecture understands; the rest keeps its neutral default."""
    prefix, keys, defaults = architecture.name + ".", architecture.keys, dict(architecture.defaults)
    if architecture.scales_by_size:
        defaults |= _scales_by_size(hidden_size, layer_count)
    values: dict[str, Any] = {
        name: factor(metadata, prefix + key, getattr(_UNSCALED, name), defaults.get(key, 0.0))
        for key, name in _SCALES.items()
        if key in keys
    }
    if values.get("query_growth"):
        values["query_growth_length"] = read_original_context(metadata, architecture)
    if architecture.logit_scale == "divide":  # llama.cpp requires this one
        values["logit"] = positive(metadata, prefix + "logit_scale", defaults.get("logit_scale"))
    if architecture.layers_differ:
        values["attention"] = 1.0
    if layer_count == architecture.layers_scaled_by_hidden_size:
        values["attention_dim"] = hidden_size // head_count
    return ScaleParameters(**values)


def _equal(metadata: GgufMetadata, key: str, expected: int) -> None:
    value = metadata.u32(key)
    if value != expected:
        raise invalid("hyper-parameters contradict each other", key, expected, value)
