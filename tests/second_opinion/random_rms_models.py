"""Recipes of random models with RMSNorm (and olmo, whose norm has no weights)."""

from __future__ import annotations

import math

import numpy as np

from tests.second_opinion.random_model import CONTEXT, EPSILON, FEED_FORWARD, HEAD_DIM, HEADS, HIDDEN, KV_HEADS, Recipe


def llama(seed: int, tied: bool = False, scaling: str = "none", bias: bool = False) -> Recipe:
    """Llama with a head size of its own, the ways to scale the rotary embedding, and the biases of some files."""
    head_dim = 12
    model = Recipe("llama", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.rope_keys(freq_base=5000.0, dimension_count=head_dim)
    model.embeddings(tied)
    if scaling == "factors":
        model.tensors["rope_freqs.weight"] = np.array([1, 1, 1.5, 3, 6, 8], np.float32)
    elif scaling == "linear":
        model.rope_keys(scaling__type="linear", scaling__factor=2.5)
    elif scaling == "yarn":
        model.yarn(factor=2.5, trained_context=25)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=head_dim, bias=bias, output_bias=bias)
        model.norm(f"{block}.ffn_norm")
        model.gated(block, bias)
    model.output_norm()
    return model


def qwen2(seed: int, tied: bool = False, yarn: bool = False) -> Recipe:
    model = Recipe("qwen2", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON)
    model.rope_keys(freq_base=20000.0)
    if yarn:
        model.yarn(factor=4.0, trained_context=30)
    model.embeddings(tied)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, bias=True)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm()
    return model


def qwen3(seed: int, tied: bool = False, experts: bool = False) -> Recipe:
    head_dim = 16
    model = Recipe("qwen3moe" if experts else "qwen3", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=16, value_length=16)
    model.rope_keys(freq_base=20000.0)
    model.embeddings(tied)
    if experts:
        model.keys(expert_count=5, expert_used_count=2, expert_feed_forward_length=40)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=head_dim)
        model.head_norms(block, head_dim)
        model.norm(f"{block}.ffn_norm")
        if experts:
            model.experts(block, 5, feed_forward=40)
        else:
            model.gated(block)
    model.output_norm()
    return model


def phi3(
    seed: int, trained_context: int = CONTEXT, factors: bool = False, window: int = 0, rotated: int = HEAD_DIM
) -> Recipe:
    """Phi 3; with LongRoPE the long factors serve where the context is longer than the trained one.

    Phi 4 mini rotates a part of each head only.
    """
    model = Recipe("phi3", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, sliding_window=window)
    model.rope_keys(freq_base=10000.0, dimension_count=rotated, scaling__original_context_length=trained_context)
    if factors:
        model.tensors["rope_factors_long.weight"] = np.array([1.1, 1.7, 3.5, 9.25][: rotated // 2], np.float32)
        model.tensors["rope_factors_short.weight"] = np.array([1.0, 1.25, 1.4, 2.0][: rotated // 2], np.float32)
        stretch = max(CONTEXT / trained_context, 1.0)
        model.rope_keys(scaling__attn_factor=math.sqrt(1 + math.log(stretch) / math.log(trained_context)))
    model.embeddings(tied=False)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.fused_attention(block, kv_heads=KV_HEADS)
        model.norm(f"{block}.ffn_norm")
        model.linear(f"{block}.ffn_up", 2 * FEED_FORWARD, gain=1.5)
        model.linear(f"{block}.ffn_down", HIDDEN, FEED_FORWARD)
    model.output_norm()
    return model


def smollm3(seed: int) -> Recipe:
    model = Recipe("smollm3", seed, layers=5)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON)
    model.rope_keys(freq_base=50000.0, dimension_count=HEAD_DIM)
    model.embeddings(tied=True)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm()
    return model


def granite(seed: int, tied: bool = False) -> Recipe:
    model = Recipe("granite", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, scale=0.22)
    model.rope_keys(freq_base=10000.0, dimension_count=HEAD_DIM)
    model.keys(embedding_scale=1.75, residual_scale=0.4, logit_scale=3.0)
    model.embeddings(tied, logits=7.5)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, gain=2.0)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm()
    return model


def olmo(seed: int, clip: float | None = 1.25) -> Recipe:
    model = Recipe("olmo", seed, layers=3)
    model.attention_keys(head_count_kv=HEADS, layer_norm_epsilon=1e-5)
    model.rope_keys(freq_base=10000.0)
    if clip is not None:
        model.attention_keys(clamp_kqv=clip)
    model.embeddings(tied=False)
    for block in model.blocks:
        model.attention(block, kv_heads=HEADS)
        model.gated(block)
    return model


def olmo2(seed: int, window: int | None = None) -> Recipe:
    """OLMo 2; OLMo 3, under the same name, has a window on the layers that the file lists and YaRN on the others."""
    model = Recipe("olmo2", seed, layers=3 if window is None else 5)
    if window is not None:
        model.attention_keys(sliding_window=window, sliding_window_pattern=[True, False, True, True, False])
        model.yarn(factor=4.0, trained_context=30)
        model.rope_keys(scaling__yarn_attn_factor=1 + 0.1 * math.log(4.0))
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON)
    model.rope_keys(freq_base=50000.0)
    model.embeddings(tied=False)
    for block in model.blocks:
        model.attention(block)
        model.norm(f"{block}.attn_q_norm", HEADS * HEAD_DIM, gain=1.6)
        model.norm(f"{block}.attn_k_norm", KV_HEADS * HEAD_DIM, gain=1.6)
        model.norm(f"{block}.post_attention_norm")
        model.gated(block)
        model.norm(f"{block}.post_ffw_norm")
    model.output_norm()
    return model


def olmoe(seed: int) -> Recipe:
    model = Recipe("olmoe", seed, layers=3)
    model.attention_keys(head_count_kv=HEADS, layer_norm_rms_epsilon=EPSILON)
    model.rope_keys(freq_base=10000.0)
    model.keys(expert_count=5, expert_used_count=3)
    model.embeddings(tied=False)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, kv_heads=HEADS)
        model.norm(f"{block}.attn_q_norm", HEADS * HEAD_DIM, gain=1.6)
        model.norm(f"{block}.attn_k_norm", HEADS * HEAD_DIM, gain=1.6)
        model.norm(f"{block}.ffn_norm")
        model.experts(block, 5, FEED_FORWARD)
    model.output_norm()
    return model
