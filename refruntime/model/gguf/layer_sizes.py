"""Read what differs between the layers of a GGUF model, and its experts (GG-4, GG-14)."""

from __future__ import annotations

from typing import Any

import numpy as np

from refruntime.containers.gguf import GgufMetadata, ValueType
from refruntime.contract.profile import Profile
from refruntime.model.architectures import Architecture
from refruntime.model.architectures.phi3 import PHI3
from refruntime.model.gguf.values import DRAFTING, invalid, positive, size, size_of_all_layers, values_per_layer
from refruntime.model.hyperparameters import ExpertParameters, WindowParameters


def read_layers(metadata: GgufMetadata, architecture: Architecture) -> tuple[int, int]:
    """Return the number of layers, and of those behind them that draft tokens."""
    prefix = architecture.name + "."
    stored = size(metadata, prefix + "block_count")
    drafting = metadata.u32(prefix + DRAFTING, 0) if DRAFTING in architecture.keys else 0
    if drafting >= stored:
        raise invalid("no layer is left that does not draft", prefix + DRAFTING, f"below {stored}", drafting)
    return stored - drafting, drafting


def sizes_of_layers(
    metadata: GgufMetadata, architecture: Architecture, key: str, layer_count: int
) -> tuple[int, ...] | None:
    """Return a size for each layer, where the architecture lets layers differ and the file lists them."""
    name = f"{architecture.name}.{key}"
    sizes = values_per_layer(metadata, name, layer_count) if architecture.layers_differ else None
    if sizes is None:
        return None
    if (sizes <= 0).any():
        raise invalid("a dimension is zero", name, "at least 1 in each layer", sizes.tolist()[:8])
    return tuple(int(each) for each in sizes)


def read_ffn_size(metadata: GgufMetadata, architecture: Architecture, layer_count: int) -> int:
    """Return the size of a feed-forward block; where all layers have experts, a file may give that of these alone."""
    prefix, default = architecture.name + ".", None
    sized = "expert_feed_forward_length" in architecture.keys
    if sized and architecture.feed_forward == "experts" and "leading_dense_block_count" not in architecture.keys:
        default = metadata.u32(prefix + "expert_feed_forward_length", 0) or None
    return size_of_all_layers(metadata, prefix + "feed_forward_length", layer_count, default)


def read_sharing_layers(
    metadata: GgufMetadata, architecture: Architecture, layer_count: int, windows: WindowParameters | None
) -> int:
    """Read how many of the last layers use keys and values of earlier ones."""
    if not architecture.layers_differ:
        return 0
    key = architecture.name + ".attention.shared_kv_layers"
    sharing = metadata.u32(key, 0)
    own, windowed = layer_count - sharing, frozenset(windows.layers or ()) if windows else frozenset()
    borrowing = sum(layer >= own for layer in windowed)  # windowed layers that share; the others have no window
    lent = (not borrowing or own - 2 in windowed) and (borrowing == sharing or own - 1 not in windowed)
    if sharing and (own < 2 or not lent):
        raise invalid("layers cannot use keys of others", key, "a layer of each kind right before them", sharing)
    return sharing


def _head_dim_of_windows(metadata: GgufMetadata, architecture: Architecture) -> int | None:
    """Read the size of the heads of windowed layers, where it may differ from that of the others."""
    if not architecture.layers_differ:
        return None
    prefix = architecture.name + "."
    head_dim = size(metadata, prefix + "attention.key_length_swa")
    for key in ("attention.value_length_swa", "rope.dimension_count_swa"):
        found = metadata.u32(prefix + key, head_dim if key.startswith("rope") else None)
        if found != head_dim:
            raise invalid("a head of a windowed layer has one size", prefix + key, head_dim, found)
    if head_dim % 2:
        key = prefix + "attention.key_length_swa"
        raise invalid("a head of odd size cannot be rotated in pairs", key, "an even number", head_dim)
    return head_dim


def read_kv_heads(
    metadata: GgufMetadata, architecture: Architecture, layer_count: int, head_count: int
) -> tuple[int, dict[str, Any]]:
    """Return the key/value heads and, where some layers have none, what tells which layers attend."""
    key = architecture.name + ".attention.head_count_kv"
    attending: dict[str, Any] = {}
    by_heads = architecture.other_mixer != "none" and not architecture.attention_interval
    counts = values_per_layer(metadata, key, layer_count) if by_heads else None
    if architecture.attention_interval:
        attending = _attending_layers(metadata, architecture, layer_count)
    differing = sizes_of_layers(metadata, architecture, "attention.head_count_kv", layer_count)
    if differing is not None:
        kv_head_count = max(differing)
        if any(head_count % each for each in differing):
            kv_head_count = next(each for each in differing if head_count % each)
    elif counts is None:
        kv_head_count = size_of_all_layers(metadata, key, layer_count, head_count)
    else:
        layers = tuple(int(layer) for layer in counts.nonzero()[0])
        attending = {"attention_layers": layers}
        distinct = {int(counts[layer]) for layer in layers}
        if len(distinct) != 1 or min(distinct) < 0:
            raise invalid("layers that attend differ in heads", key, "0 or one equal number", counts.tolist()[:8])
        (kv_head_count,) = distinct
    if head_count % kv_head_count:
        raise invalid(
            "query heads do not divide among the key/value heads", key, f"a divisor of {head_count}", kv_head_count
        )
    return kv_head_count, attending


def _attending_layers(metadata: GgufMetadata, architecture: Architecture, layer_count: int) -> dict[str, Any]:
    """Tell the layers that attend, by a list of the others or by the interval in which they come."""
    prefix = architecture.name + "."
    recurrent = values_per_layer(metadata, prefix + "attention.recurrent_layers", layer_count, ValueType.BOOL)
    if recurrent is not None:
        return {"attention_layers": tuple(int(layer) for layer in np.flatnonzero(recurrent == 0))}
    interval = size(metadata, prefix + "full_attention_interval", architecture.attention_interval)
    return {"attention_interval": interval}


def read_windows(
    metadata: GgufMetadata, architecture: Architecture, profile: Profile, layer_count: int
) -> WindowParameters | None:
    """Read how far layers with a window see, which these are, their rotary base and heads; None where all see all."""
    prefix = architecture.name + "."
    key = prefix + "attention.sliding_window"
    if architecture is PHI3:
        window = metadata.u32(key, 0)
        return WindowParameters(window) if window and profile.gguf_phi3_window == "applied" else None
    if not architecture.window_period or architecture.windows_with_layers not in (0, layer_count):
        return None
    head_dim = _head_dim_of_windows(metadata, architecture)
    default = None if architecture.layers_differ else int(architecture.defaults.get("attention.sliding_window", 0))
    window = metadata.u32(key, default)
    if not window:
        return None
    theta = positive(metadata, prefix + "rope.freq_base", 10000.0)
    if "rope.freq_base_swa" in architecture.keys:
        own = architecture.defaults.get("rope.freq_base_swa", theta)
        theta = positive(metadata, prefix + "rope.freq_base_swa", own)
    pattern = prefix + "attention.sliding_window_pattern"
    windowed = values_per_layer(metadata, pattern, layer_count, ValueType.BOOL)
    if windowed is None and architecture.layers_differ:
        raise invalid("each layer says whether it has a window", pattern, "an array of booleans", "none")
    if windowed is None:
        period = metadata.u32(pattern, architecture.window_period)
        return WindowParameters(window, period=period, rope_theta=theta, head_dim=head_dim)
    layers = tuple(int(layer) for layer in windowed.nonzero()[0])
    return WindowParameters(window, layers, rope_theta=theta, head_dim=head_dim)


def read_experts(metadata: GgufMetadata, architecture: Architecture, ffn_size: int) -> ExpertParameters | None:
    """Read how many experts there are, their sizes, how they are chosen; None where there are none."""
    if architecture.feed_forward != "experts" and not architecture.experts_beside:
        return None
    prefix = architecture.name + "."
    possible = architecture.experts_beside or architecture.shared_expert == "plain"
    if possible and not metadata.u32(prefix + "expert_count", 0):
        return None
    count, used = size(metadata, prefix + "expert_count"), size(metadata, prefix + "expert_used_count")
    if used > count:
        raise invalid("more experts are used than there are", prefix + "expert_used_count", f"at most {count}", used)
    expert_ffn = ffn_size
    if "expert_feed_forward_length" in architecture.keys:  # without the key llama.cpp divides the dense size
        expert_ffn = metadata.u32(prefix + "expert_feed_forward_length", 0) or ffn_size // used
    leading = "leading_dense_block_count"
    return ExpertParameters(
        count,
        used,
        expert_ffn,
        _expert_gating(metadata, architecture),
        _shared_ffn_size(metadata, architecture, ffn_size),
        metadata.u32(prefix + leading, 0) if leading in architecture.keys else 0,
    )


def _shared_ffn_size(metadata: GgufMetadata, architecture: Architecture, ffn_size: int) -> int:
    """Return the size of the expert that every position takes; llama.cpp gives a gated one the dense size."""
    if architecture.shared_expert == "none":
        return 0
    own = metadata.u32(architecture.name + ".expert_shared_feed_forward_length", 0)
    return own or (ffn_size if architecture.shared_expert == "gated" else 0)


def _expert_gating(metadata: GgufMetadata, architecture: Architecture) -> str:
    if architecture.expert_gating != "key":
        return architecture.expert_gating
    key = architecture.name + ".expert_gating_func"
    names = {1: "softmax", 2: "sigmoid", 3: "softmax of the chosen"}
    number = metadata.u32(key)
    if number not in names:
        expected = ", ".join(f"{code} ({name})" for code, name in names.items())
        raise invalid("the shares of experts are not implemented", key, expected, number)
    return names[number]
