"""Recipes of random models with layers that carry a state from position to position."""

from __future__ import annotations

import math

import numpy as np

from tests.second_opinion.random_model import EPSILON, HIDDEN, KV_HEADS, Recipe

STATE_HEADS, STATE_SIZE, GROUPS, KERNEL = 4, 10, 2, 4


def granitehybrid(seed: int, experts: bool = True) -> Recipe:
    """Granite 4: with experts beside a shared one and no rotation, or dense and rotated."""
    kv_heads = [0, KV_HEADS, 0]
    model = Recipe("granitehybrid", seed, layers=len(kv_heads))
    model.attention_keys(head_count_kv=kv_heads, layer_norm_rms_epsilon=EPSILON, scale=0.22)
    model.rope_keys(freq_base=10000.0, scaling__finetuned=not experts)
    model.keys(embedding_scale=1.75, residual_scale=0.4, logit_scale=3.0)
    model.keys(expert_count=5 if experts else 0, expert_used_count=2 if experts else 0)
    model.keys(expert_shared_feed_forward_length=40 if experts else 72)
    groups = GROUPS if experts else 1
    inner = STATE_HEADS * 8
    _sizes(model, groups, inner)
    model.embeddings(tied=True, logits=7.5)
    for block, count in zip(model.blocks, kv_heads, strict=True):
        model.norm(f"{block}.attn_norm")
        if count:
            model.attention(block, gain=2.0)
        else:
            channels = inner + 2 * groups * STATE_SIZE
            model.linear(f"{block}.ssm_in", inner + channels + STATE_HEADS, gain=1.5)
            model.linear(f"{block}.ssm_conv1d", channels, KERNEL, gain=1.5, bias=True)
            model.tensor(f"{block}.ssm_dt.bias", STATE_HEADS, size=1.0)
            _decay(model, f"{block}.ssm_a", STATE_HEADS, 1)
            model.tensor(f"{block}.ssm_d", STATE_HEADS, 1, size=0.5, around=1.0)
            model.norm(f"{block}.ssm_norm", groups, inner // groups)
            model.linear(f"{block}.ssm_out", HIDDEN, inner, gain=1.5)
        model.norm(f"{block}.ffn_norm")
        if experts:
            model.experts(block, 5, 72)
            _shared_expert(model, block, 40)
        else:
            model.gated(block)
    model.output_norm()
    return model


def qwen35(seed: int, listed: bool = False, experts: bool = False) -> Recipe:
    """Qwen 3.5: layers that attend come in an interval, or the file lists those that do not; dense, or with experts."""
    attends = [True, False, True] if listed else [False, True, False]
    model = Recipe("qwen35moe" if experts else "qwen35", seed, layers=len(attends))
    if experts:
        model.keys(expert_count=5, expert_used_count=2)
        model.keys(expert_feed_forward_length=40, expert_shared_feed_forward_length=32)
        del model.metadata["qwen35moe.feed_forward_length"]  # llama.cpp's converter writes none
        model.rope_keys(dimension_sections=[1, 1, 1, 0])  # llama.cpp asks for it
    model.attention_keys(head_count_kv=KV_HEADS, layer_norm_rms_epsilon=EPSILON, key_length=12, value_length=12)
    model.rope_keys(freq_base=50000.0, dimension_count=6)
    if listed:
        model.attention_keys(recurrent_layers=[not each for each in attends])
    else:
        model.keys(full_attention_interval=2)
    inner = STATE_HEADS * STATE_SIZE
    _sizes(model, GROUPS, inner)
    model.embeddings(tied=listed)
    for block, here in zip(model.blocks, attends, strict=True):
        model.norm(f"{block}.attn_norm")
        if here:
            model.attention(block, head_dim=12)
            model.linear(f"{block}.attn_q", 2 * 6 * 12, gain=1.6)  # each head: its query, then its gate
            model.head_norms(block, head_dim=12)
        else:
            channels = inner + 2 * GROUPS * STATE_SIZE
            model.linear(f"{block}.attn_qkv", channels, gain=1.5)
            model.linear(f"{block}.attn_gate", inner, gain=1.5)
            model.linear(f"{block}.ssm_alpha", STATE_HEADS)
            model.linear(f"{block}.ssm_beta", STATE_HEADS)
            model.linear(f"{block}.ssm_conv1d", channels, KERNEL, gain=1.5)
            model.tensor(f"{block}.ssm_dt.bias", STATE_HEADS, size=1.0)
            _decay(model, f"{block}.ssm_a", STATE_HEADS)
            model.norm(f"{block}.ssm_norm", STATE_SIZE)
            model.linear(f"{block}.ssm_out", HIDDEN, inner, gain=1.5)
        model.norm(f"{block}.post_attention_norm")
        if experts:
            model.experts(block, 5, 40)
            model.tensor(f"{block}.ffn_gate_inp_shexp.weight", HIDDEN, size=2 / math.sqrt(HIDDEN))
            _shared_expert(model, block, 32)
        else:
            model.gated(block)
    model.output_norm()
    return model


def with_published_epsilon(model: Recipe) -> Recipe:
    """Give the model 1e-6, which transformers has in the norm of keys and queries whatever the file says."""
    model.attention_keys(layer_norm_rms_epsilon=1e-6)
    return model


def add_drafting(model: Recipe) -> None:
    """Put one layer behind the others that drafts tokens, as published files have it."""
    name, block = model.architecture, f"blk.{model.layers}"
    model.keys(block_count=model.layers + 1, nextn_predict_layers=1)
    listed = f"{name}.attention.recurrent_layers"
    if listed in model.metadata:
        model.metadata[listed] = [*model.metadata[listed], False]
    model.norm(f"{block}.attn_norm")
    model.attention(block, head_dim=12)
    model.linear(f"{block}.attn_q", 2 * 6 * 12)
    model.head_norms(block, head_dim=12)
    model.norm(f"{block}.post_attention_norm")
    if name == "qwen35moe":
        model.experts(block, 5, 40)
        model.tensor(f"{block}.ffn_gate_inp_shexp.weight", HIDDEN, size=1.0)
        _shared_expert(model, block, 32)
    else:
        model.gated(block)
    model.linear(f"{block}.nextn.eh_proj", HIDDEN, 2 * HIDDEN)
    for norm in ("enorm", "hnorm", "shared_head_norm"):
        model.norm(f"{block}.nextn.{norm}")


def fuse_gates(model: Recipe) -> None:
    """Put gate and up of the experts of every layer into one stack, gates first."""
    for block in model.blocks:
        parts = [model.tensors.pop(f"{block}.ffn_{part}_exps.weight") for part in ("gate", "up")]
        model.tensors[f"{block}.ffn_gate_up_exps.weight"] = np.concatenate(parts, axis=1)


def _shared_expert(model: Recipe, block: str, size: int) -> None:
    model.linear(f"{block}.ffn_gate_shexp", size, gain=1.5)
    model.linear(f"{block}.ffn_up_shexp", size, gain=1.5)
    model.linear(f"{block}.ffn_down_shexp", HIDDEN, size)


def _sizes(model: Recipe, groups: int, inner: int) -> None:
    model.keys(ssm__conv_kernel=KERNEL, ssm__state_size=STATE_SIZE, ssm__group_count=groups)
    model.keys(ssm__time_step_rank=STATE_HEADS, ssm__inner_size=inner)


def _decay(model: Recipe, name: str, *shape: int) -> None:
    """Make negative numbers of which one is near 0, so that a state lasts."""
    model.tensor(name, *shape, size=1.0, around=-1.0)
    values = [-math.exp(value) for value in model.tensors[name].ravel().tolist()]  # not np.exp, which goes by the CPU
    model.tensors[name] = np.array(values, np.float32).reshape(shape)
