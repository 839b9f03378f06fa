"""Recipes of random models without experts or recurrent states that came after the first ones."""

from __future__ import annotations

import numpy as np

from tests.second_opinion.random_model import EPSILON, HEAD_DIM, KV_HEADS, Recipe


def cohere2(seed: int) -> Recipe:
    model = Recipe("cohere2", seed, layers=5)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_epsilon=EPSILON, key_length=12, value_length=12)
    model.attention_keys(sliding_window=7)
    model.rope_keys(freq_base=50000.0, dimension_count=12, scaling__type="none")
    model.keys(logit_scale=0.25)
    model.embeddings(tied=True, logits=10.0)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=12)
        model.gated(block)
    model.output_norm()
    return model


def ernie4_5(seed: int, bias: bool = False) -> Recipe:
    model = Recipe("ernie4_5", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.rope_keys(freq_base=500000.0)
    model.embeddings(tied=not bias)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=12, bias=bias, output_bias=bias)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm()
    return model


def exaone4(seed: int, layers: int = 3) -> Recipe:
    """EXAONE 4; its keys of windows count with 64 layers alone, and then what is added has to stay small."""
    model = Recipe("exaone4", seed, layers=layers)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, sliding_window=7)
    model.rope_keys(freq_base=20000.0)
    model.tensors["rope_freqs.weight"] = np.array([1, 1.5, 3, 8], np.float32)
    model.embeddings(tied=False)
    for block in model.blocks:
        model.attention(block)
        model.head_norms(block, HEAD_DIM)
        model.norm(f"{block}.post_attention_norm", gain=1.0 if layers < 64 else 0.2)
        model.gated(block)
        model.norm(f"{block}.post_ffw_norm", gain=1.0 if layers < 64 else 0.2)
    model.output_norm()
    return model


def hunyuan_dense(seed: int) -> Recipe:
    model = Recipe("hunyuan-dense", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.rope_keys(freq_base=70000.0, scaling__type="none", scaling__factor=1.0)
    model.embeddings(tied=True)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=12)
        model.head_norms(block, head_dim=12)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm()
    return model


def minicpm(seed: int, factors: bool = True) -> Recipe:
    """MiniCPM; old files leave its factors out."""
    model = Recipe("minicpm", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON)
    model.rope_keys(freq_base=10000.0)
    if factors:
        model.keys(embedding_scale=1.75, residual_scale=0.4, logit_scale=3.0)
    model.embeddings(tied=True, logits=7.5 if factors else 13.3)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm()
    return model


def mistral3(seed: int, stretched: bool = True) -> Recipe:
    """Ministral 3; `stretched` is what the published ones have: YaRN with a multiplier, and growing queries."""
    model = Recipe("mistral3", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.rope_keys(freq_base=20000.0, dimension_count=12)
    if stretched:
        model.yarn(factor=8.0, trained_context=12)
        model.rope_keys(scaling__yarn_log_multiplier=0.75)
        model.attention_keys(temperature_scale=0.3)
    model.embeddings(tied=False)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block, head_dim=12)
        model.norm(f"{block}.ffn_norm")
        model.gated(block)
    model.output_norm()
    return model
