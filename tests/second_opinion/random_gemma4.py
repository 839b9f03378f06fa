"""Recipes of random gemma4 models: layers of different sizes with inputs of their own, or experts beside."""

from __future__ import annotations

import numpy as np

from tests.second_opinion.random_model import EPSILON, FEED_FORWARD, HEADS, HIDDEN, KV_HEADS, VOCABULARY, Recipe

INPUT, EXPERTS, EXPERT_FEED_FORWARD = 10, 5, 40
WINDOW_HEAD_DIM, HEAD_DIM = 8, 12


def gemma4(seed: int, experts: bool = False) -> Recipe:
    """gemma4: the last two of five layers use keys of others; with experts the last layer's keys are its values."""
    windowed = [True, True, False] if experts else [True, True, False, True, False]
    layers = len(windowed)
    kv_heads = [KV_HEADS, KV_HEADS, 1] if experts else [KV_HEADS] * layers
    sizes = [FEED_FORWARD] * layers if experts else [FEED_FORWARD] * 3 + [96, 96]
    model = Recipe("gemma4", seed, layers=layers)
    model.attention_keys(layer_norm_rms_epsilon=EPSILON, key_length=HEAD_DIM, value_length=HEAD_DIM, sliding_window=7)
    model.attention_keys(key_length_swa=WINDOW_HEAD_DIM, value_length_swa=WINDOW_HEAD_DIM)
    model.attention_keys(sliding_window_pattern=windowed, shared_kv_layers=0 if experts else 2)
    model.attention_keys(head_count_kv=kv_heads if experts else KV_HEADS)
    model.rope_keys(freq_base=300000.0, freq_base_swa=10000.0, dimension_count=HEAD_DIM)
    model.rope_keys(dimension_count_swa=WINDOW_HEAD_DIM)
    model.keys(final_logit_softcapping=6.0, embedding_length_per_layer_input=0 if experts else INPUT)
    model.keys(feed_forward_length=sizes)
    model.tensors["rope_freqs.weight"] = np.array([1, 1, 1.5, 3, 1e30, 1e30], np.float32)
    model.embeddings(tied=not experts, logits=4.0)
    if experts:
        model.keys(expert_count=EXPERTS, expert_used_count=2, expert_feed_forward_length=EXPERT_FEED_FORWARD)
    else:
        model.tensor("per_layer_token_embd.weight", VOCABULARY, layers * INPUT, size=0.3)
        model.linear("per_layer_model_proj", layers * INPUT, gain=7.0)
        model.norm("per_layer_proj_norm", INPUT)
    for layer, block in enumerate(model.blocks):
        size = WINDOW_HEAD_DIM if windowed[layer] else HEAD_DIM
        own = experts or layer < 3
        model.norm(f"{block}.attn_norm")
        model.linear(f"{block}.attn_q", HEADS * size)
        model.norm(f"{block}.attn_q_norm", size, gain=0.8)
        if own:
            model.linear(f"{block}.attn_k", kv_heads[layer] * size)
            model.norm(f"{block}.attn_k_norm", size, gain=0.8)
        if own and not (experts and layer == 2):
            model.linear(f"{block}.attn_v", kv_heads[layer] * size)
        model.linear(f"{block}.attn_output", HIDDEN, HEADS * size)
        model.norm(f"{block}.post_attention_norm")
        model.norm(f"{block}.ffn_norm")
        model.linear(f"{block}.ffn_gate", sizes[layer], gain=1.5)
        model.linear(f"{block}.ffn_up", sizes[layer], gain=1.5)
        model.linear(f"{block}.ffn_down", HIDDEN, sizes[layer])
        model.norm(f"{block}.post_ffw_norm")
        model.tensor(f"{block}.layer_output_scale.weight", 1, size=0.2, around=0.9)
        if experts:
            _experts(model, block)
        else:
            model.linear(f"{block}.inp_gate", INPUT, gain=1.5)
            model.linear(f"{block}.proj", HIDDEN, INPUT)
            model.norm(f"{block}.post_norm")
    model.output_norm()
    return model


def _experts(model: Recipe, block: str) -> None:
    for name in ("post_ffw_norm_1", "pre_ffw_norm_2", "post_ffw_norm_2"):
        model.norm(f"{block}.{name}")
    model.linear(f"{block}.ffn_gate_inp", EXPERTS, gain=8.0)
    model.tensor(f"{block}.ffn_gate_inp.scale", HIDDEN, size=0.5, around=2.0)
    both = (EXPERTS, 2 * EXPERT_FEED_FORWARD, HIDDEN)
    model.tensor(f"{block}.ffn_gate_up_exps.weight", *both, size=1.5 / np.sqrt(HIDDEN))
    down = (EXPERTS, HIDDEN, EXPERT_FEED_FORWARD)
    model.tensor(f"{block}.ffn_down_exps.weight", *down, size=2 / np.sqrt(EXPERT_FEED_FORWARD))
    model.tensor(f"{block}.ffn_down_exps.scale", EXPERTS, size=0.3, around=1.0)


def split_gates(made: Recipe) -> None:
    """Put gates and ups of the experts in stacks of their own, as other files have them."""
    for block in made.blocks:
        both = made.tensors.pop(f"{block}.ffn_gate_up_exps.weight")
        gate, up = np.split(both, 2, axis=1)
        made.tensors |= {f"{block}.ffn_gate_exps.weight": gate, f"{block}.ffn_up_exps.weight": up}
