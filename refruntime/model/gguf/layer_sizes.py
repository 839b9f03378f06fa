"""Read what differs between the layers of a GGUF model, and its experts (GG-4, GG-14)."""

from __future__ import annotations

from typing import Any

from refruntime.containers.gguf import GgufMetadata
from refruntime.model.architectures import Architecture
from refruntime.model.gguf.values import invalid, size, values_per_layer


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


def differing_layers(
    metadata: GgufMetadata, architecture: Architecture, layer_count: int, windowed: tuple[int, ...]
) -> dict[str, Any]:
    """Read what differs between the layers of gemma4: heads of windowed ones, and whose keys the last ones use."""
    if not architecture.layers_differ:
        return {}
    prefix = architecture.name + "."
    head_dim = size(metadata, prefix + "attention.key_length_swa")
    for key in ("attention.value_length_swa", "rope.dimension_count_swa"):
        found = metadata.u32(prefix + key, head_dim if key.startswith("rope") else None)
        if found != head_dim:
            raise invalid("a head of a windowed layer has one size", prefix + key, head_dim, found)
    if head_dim % 2:
        key = prefix + "attention.key_length_swa"
        raise invalid("a head of odd size cannot be rotated in pairs", key, "an even number", head_dim)
    key = prefix + "attention.shared_kv_layers"
    sharing = metadata.u32(key, 0)
    own = layer_count - sharing
    lenders = {own - (2 if layer in windowed else 1): layer in windowed for layer in range(max(own, 0), layer_count)}
    if sharing and (own < 2 or any((lender in windowed) != window for lender, window in lenders.items())):
        raise invalid("layers cannot use keys of others", key, "a layer of each kind right before them", sharing)
    return {
        "window_head_dim": head_dim,
        "kv_heads_of_layers": sizes_of_layers(metadata, architecture, "attention.head_count_kv", layer_count),
        "sharing_layers": sharing,
        "attention_scale": 1.0,
        "layer_input_size": metadata.u32(prefix + "embedding_length_per_layer_input"),
    }


def read_experts(metadata: GgufMetadata, architecture: Architecture, ffn_size: int, layer_count: int) -> dict[str, Any]:
    """Read how many experts there are, their sizes, how they are chosen; nothing where there are none."""
    if architecture.feed_forward != "experts" and not architecture.experts_beside:
        return {}
    prefix = architecture.name + "."
    if architecture.experts_beside and not metadata.u32(prefix + "expert_count", 0):
        return {}
    if architecture.shared_expert and not metadata.u32(prefix + "expert_count", 0):
        return {"dense_layers": layer_count}  # the shared expert is the plain feed-forward
    count, used = size(metadata, prefix + "expert_count"), size(metadata, prefix + "expert_used_count")
    if used > count:
        raise invalid("more experts are used than there are", prefix + "expert_used_count", f"at most {count}", used)
    expert_ffn = ffn_size
    if "expert_feed_forward_length" in architecture.keys:  # without the key llama.cpp divides the dense size
        expert_ffn = metadata.u32(prefix + "expert_feed_forward_length", 0) or ffn_size // used
    leading = "leading_dense_block_count"
    return {
        "expert_count": count,
        "expert_used_count": used,
        "expert_ffn_size": expert_ffn,
        "expert_gating": _expert_gating(metadata, architecture),
        "shared_ffn_size": (
            metadata.u32(prefix + "expert_shared_feed_forward_length", 0) if architecture.shared_expert else 0
        ),
        "dense_layers": metadata.u32(prefix + leading, 0) if leading in architecture.keys else 0,
    }


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
