"""Recipes of random models with LayerNorm."""

from __future__ import annotations

from tests.second_opinion.random_model import CONTEXT, EPSILON, HEAD_DIM, HEADS, HIDDEN, KV_HEADS, Recipe


def gpt2(seed: int, tied: bool = True) -> Recipe:
    model = Recipe("gpt2", seed, layers=3)
    model.attention_keys(layer_norm_epsilon=EPSILON)
    model.embeddings(tied)
    model.tensor("position_embd.weight", CONTEXT, HIDDEN, size=0.5)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm", bias=True)
        model.fused_attention(block, bias=True)
        model.norm(f"{block}.ffn_norm", bias=True)
        model.plain(block)
    model.output_norm(bias=True)
    return model


def gptneox(seed: int, parallel: bool = True) -> Recipe:
    model = Recipe("gptneox", seed, layers=3)
    model.attention_keys(layer_norm_epsilon=EPSILON)
    model.rope_keys(dimension_count=4)
    model.keys(use_parallel_residual=parallel)
    model.embeddings(tied=False)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm", bias=True)
        model.fused_attention(block, bias=True)
        model.norm(f"{block}.ffn_norm", bias=True)
        model.plain(block)
    model.output_norm(bias=True)
    return model


def phi2(seed: int) -> Recipe:
    model = Recipe("phi2", seed, layers=3)
    model.attention_keys(head_count_kv=HEADS, layer_norm_epsilon=EPSILON)
    model.rope_keys(dimension_count=4)
    model.embeddings(tied=False)
    model.tensor("output.bias", len(model.tensors["output.weight"]), size=0.5)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm", bias=True)
        model.attention(block, kv_heads=HEADS, bias=True, output_bias=True)
        model.plain(block)
    model.output_norm(bias=True)
    return model


def starcoder2(seed: int, tied: bool = True) -> Recipe:
    model = Recipe("starcoder2", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_epsilon=EPSILON)
    model.rope_keys(freq_base=100000.0)
    model.embeddings(tied)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm", bias=True)
        model.attention(block, bias=True, output_bias=True)
        model.norm(f"{block}.ffn_norm", bias=True)
        model.plain(block)
    model.output_norm(bias=True)
    return model


def nemotron(seed: int, bias: bool = False) -> Recipe:
    model = Recipe("nemotron", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_epsilon=EPSILON, layer_norm_rms_epsilon=EPSILON)
    model.attention_keys(key_length=HEAD_DIM, value_length=HEAD_DIM)
    model.rope_keys(freq_base=10000.0, dimension_count=4, scaling__type="none")
    model.embeddings(tied=False)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm", bias=True)
        model.attention(block, bias=bias, output_bias=bias)
        model.norm(f"{block}.ffn_norm", bias=True)
        model.plain(block, bias)
    model.output_norm(bias=True)
    return model


def stablelm(seed: int, parallel: bool = False, head_norms: bool = False) -> Recipe:
    """StableLM; the 12B model has branches side by side, and norms the heads of q and k.

    The converter writes that the branches are side by side where it finds nothing: for every published model.
    """
    model = Recipe("stablelm", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_epsilon=EPSILON)
    model.rope_keys(dimension_count=4)
    model.keys(use_parallel_residual=True)
    model.embeddings(tied=False)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm", bias=True)
        model.attention(block, bias=not parallel)
        if head_norms:
            model.norm(f"{block}.attn_q_norm", HEADS, HEAD_DIM, gain=1.6)
            model.norm(f"{block}.attn_k_norm", KV_HEADS, HEAD_DIM, gain=1.6)
        if not parallel:
            model.norm(f"{block}.ffn_norm", bias=True)
        model.gated(block)
    model.output_norm(bias=True)
    return model


def command_r(seed: int) -> Recipe:
    model = Recipe("command-r", seed, layers=3)
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_epsilon=EPSILON)
    model.rope_keys(freq_base=10000.0, scaling__type="none")
    model.keys(logit_scale=0.25)
    model.embeddings(tied=True, logits=10.0)
    for block in model.blocks:
        model.norm(f"{block}.attn_norm")
        model.attention(block)
        model.gated(block)
    model.output_norm()
    return model
