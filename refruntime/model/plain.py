"""Recognise a model of nothing but the plainest of layers, whose positions a numeric profile may compute in one go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields

from refruntime.model.architectures import Architecture
from refruntime.model.architectures.llama import LLAMA
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.model.layout.tree import AttentionLayout, FeedForward
from refruntime.model.weights import Norm, Projection, Weights
from refruntime.numerics.whole_step import PlainLayer, PlainModel


def plain_model(architecture: Architecture, dimensions: Hyperparameters, weights: Weights) -> PlainModel | None:
    """Return a model as plain layers, None where anything is there that these lack."""
    model, layers = weights.model, tuple(_layers(weights))
    tables = (model.positions, model.layer_inputs)
    if architecture != LLAMA or not _neutral(dimensions) or any(table is not None for table in tables):
        return None
    if len(layers) < len(model.layers) or not _is_plain(model.output) or model.output_norm.weight is None:
        return None
    d = dimensions
    return PlainModel(
        layers,
        model.output_norm.weight,
        model.output.matrices,
        weights.rotary,
        d.rms_norm_epsilon,
        d.head_count,
        d.kv_head_count,
        d.head_dim,
        d.ffn_size,
        d.vocab_size,
    )


def _neutral(dimensions: Hyperparameters) -> bool:
    """Say whether nothing but sizes, epsilon and rotation is set, and all of a head is rotated."""
    sizes = {each.name: getattr(dimensions, each.name) for each in fields(dimensions) if each.default is MISSING}
    whole = dimensions.rope.applied and dimensions.rotated == dimensions.head_dim
    return whole and dimensions == Hyperparameters(**sizes)


def _layers(weights: Weights) -> Iterator[PlainLayer]:
    """Yield the layers that are plain."""
    for layer in weights.model.layers:
        mixer, block, norms = layer.mixer, layer.feed_forward, (layer.attn_norm, layer.ffn_norm)
        behind = (layer.post_attention_norm, layer.post_ffw_norm, layer.input, layer.scale)
        if not isinstance(mixer, AttentionLayout) or not isinstance(block, FeedForward):
            continue
        inner = (mixer.query_norm, mixer.key_norm, mixer.sinks)
        projections = (mixer.qkv, mixer.output, block.up, block.down)
        if any(each is not None for each in (*behind, *inner)) or not all(map(_is_plain, projections)):
            continue
        first, second = (norm.weight if isinstance(norm, Norm) and norm.bias is None else None for norm in norms)
        if first is not None and second is not None:
            qkv, output, up, down = (projection.matrices for projection in projections)
            yield PlainLayer(first, qkv, output, second, up, down)


def _is_plain(projection: Projection) -> bool:
    return all(bias is None for bias in projection.biases)
