"""Recipes of random models of the Gemma family and of LFM2."""

from __future__ import annotations

from tests.second_opinion.random_model import EPSILON, HEAD_DIM, HIDDEN, KV_HEADS, Recipe


def gemma(seed: int) -> Recipe:
    model = Recipe("gemma", seed, layers=3)
    model.attention_keys(head_count_kv=1, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.embeddings(tied=True)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, kv_heads=1, head_dim=12)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm()
    return model


def gemma2(seed: int) -> Recipe:
    model = Recipe("gemma2", seed, layers=4)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.attention_keys(sliding_window=7)
    model.keys(attn_logit_softcapping=4.0, final_logit_softcapping=6.0)
    model.embeddings(tied=True, logits=4.0)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=12, gain=2.0)
        model.norm(f"{block}.post_attention_norm")
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
        model.norm(f"{block}.post_ffw_norm")
    model.output_norm()
    return model


def gemma3(seed: int, scaled: bool = False, capped: bool = False) -> Recipe:
    """Gemma 3; the bigger ones scale the rotary embedding of the layers without a window."""
    model = Recipe("gemma3", seed, layers=7)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.attention_keys(sliding_window=7)
    model.rope_keys(freq_base=300000.0, freq_base_swa=10000.0)
    if scaled:
        model.rope_keys(scaling__type="linear", scaling__factor=8.0)
    if capped:
        model.keys(final_logit_softcapping=4.0)
    model.embeddings(tied=True)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=12)
        model.head_norms(block, head_dim=12)
        model.norm(f"{block}.post_attention_norm")
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
        model.norm(f"{block}.post_ffw_norm")
    model.output_norm()
    return model


def lfm2(seed: int) -> Recipe:
    kv_heads = [0, KV_HEADS, 0, KV_HEADS]
    model = Recipe("lfm2", seed, layers=len(kv_heads))
    model.attention_keys(head_count_kv=kv_heads, layer_norm_rms_epsilon=EPSILON)
    model.rope_keys(freq_base=100000.0)
    model.keys(shortconv__l_cache=4)
    model.embeddings(tied=True)
    for block, count in zip(model.blocks, kv_heads, strict=True):
        model.norm(f"{block}.attn_norm")
        if count == 0:
            model.linear(f"{block}.shortconv.in_proj", 3 * HIDDEN)
            model.linear(f"{block}.shortconv.conv", HIDDEN, 4, gain=1.5)
            model.linear(f"{block}.shortconv.out_proj", HIDDEN)
        else:
            model.attention(block)
            model.head_norms(block, HEAD_DIM)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm("token_embd_norm")
    return model
