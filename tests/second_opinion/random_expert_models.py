"""Recipes of random models whose experts have biases, or are chosen by biased scores."""

from __future__ import annotations

from tests.second_opinion.random_model import EPSILON, HEAD_DIM, HEADS, HIDDEN, KV_HEADS, Recipe

EXPERTS, EXPERT_FEED_FORWARD = 5, 40


def gpt_oss(seed: int, yarn: bool = False) -> Recipe:
    """gpt-oss, with gates that reach the clamp of its activation."""
    model = Recipe("gpt-oss", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.attention_keys(sliding_window=7)
    model.rope_keys(freq_base=150000.0)
    if yarn:
        model.yarn(factor=8.0, trained_context=100)
        model.rope_keys(scaling__yarn_beta_fast=16.0, scaling__yarn_beta_slow=0.25)
    model.keys(expert_count=EXPERTS, expert_used_count=2, expert_feed_forward_length=EXPERT_FEED_FORWARD)
    model.embeddings(tied=False)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=12, bias=True, output_bias=True)
        model.tensor(f"{block}.attn_sinks.weight", HEADS, size=1.0, around=1.0)
        model.norm(f"{block}.post_attention_norm")
        model.experts(block, EXPERTS, EXPERT_FEED_FORWARD)
        model.tensor(f"{block}.ffn_gate_inp.bias", EXPERTS, size=0.5)
        for part, rows in (("gate", EXPERT_FEED_FORWARD), ("up", EXPERT_FEED_FORWARD), ("down", HIDDEN)):
            model.tensor(f"{block}.ffn_{part}_exps.bias", EXPERTS, rows, size=0.5)
            if part != "down":
                model.tensors[f"{block}.ffn_{part}_exps.weight"] *= 3
            else:
                model.tensors[f"{block}.ffn_{part}_exps.weight"] *= 0.1
    model.output_norm()
    return model


def lfm2moe(seed: int, gating: int = 2) -> Recipe:
    """LFM2 with experts on all layers but the first; their shares are sigmoids (2), or a softmax (1)."""
    kv_heads = [0, KV_HEADS, 0, KV_HEADS, 0]
    model = Recipe("lfm2moe", seed, layers=len(kv_heads))
    model.attention_keys(head_count_kv=kv_heads, layer_norm_rms_epsilon=EPSILON)
    model.rope_keys(freq_base=100000.0)
    model.keys(shortconv__l_cache=3, leading_dense_block_count=1, expert_gating_func=gating)
    model.keys(expert_count=EXPERTS, expert_used_count=2, expert_feed_forward_length=EXPERT_FEED_FORWARD)
    model.embeddings(tied=True)
    for layer, (block, count) in enumerate(zip(model.blocks, kv_heads, strict=True)):
        model.norm(f"{block}.attn_norm")
        if count == 0:
            model.linear(f"{block}.shortconv.in_proj", 3 * HIDDEN)
            model.linear(f"{block}.shortconv.conv", HIDDEN, 3, gain=1.5)
            model.linear(f"{block}.shortconv.out_proj", HIDDEN)
        else:
            model.attention(block)
            model.head_norms(block, HEAD_DIM)
        model.norm(f"{block}.ffn_norm")
        if layer == 0:
            model.gated(block)
        else:
            model.experts(block, EXPERTS, EXPERT_FEED_FORWARD)
            model.tensor(f"{block}.exp_probs_b.bias", EXPERTS, size=0.5)
    model.output_norm("token_embd_norm")
    return model
