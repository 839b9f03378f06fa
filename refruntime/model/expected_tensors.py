"""Say which tensors a model of an architecture consists of (GG-4).

Letters of the shapes: V vocab, H hidden, F ffn, D head_dim, A heads, K key/value heads, E experts, L positions that a
short convolution reads.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import NamedTuple

from refruntime.model.architectures.base import ABSENT, REQUIRED, Architecture, Presence
from refruntime.model.validated import Hyperparameters


class ExpectedTensor(NamedTuple):
    """A tensor by its name in GGUF, with its row-major shape."""

    name: str
    shape: tuple[int, ...]
    required: bool = True


def expected_tensors(
    architecture: Architecture, dimensions: Hyperparameters, present: Container[str]
) -> Iterator[ExpectedTensor]:
    """Yield every tensor that the architecture uses; `present` decides between forms of which a file holds one."""
    hidden, vocab = dimensions.hidden_size, dimensions.vocab_size
    rotated = dimensions.rotated_dim or dimensions.head_dim
    yield ExpectedTensor("token_embd.weight", (vocab, hidden))
    if architecture.positions == "learned":
        yield ExpectedTensor("position_embd.weight", (dimensions.learned_positions, hidden))
    yield from _norm(architecture, architecture.output_norm, hidden)
    yield from _matrix("output", (vocab, hidden), architecture.output, architecture.output_bias)
    if architecture.rope_factors == "one set":
        yield ExpectedTensor("rope_freqs.weight", (rotated // 2,), False)
    elif architecture.rope_factors == "long and short":
        names = ("rope_factors_long.weight", "rope_factors_short.weight")
        either = any(name in present for name in names)
        yield from (ExpectedTensor(name, (rotated // 2,), either) for name in names)
    for layer in range(dimensions.layer_count):
        yield from _layer(architecture, dimensions, f"blk.{layer}.", dimensions.attends(layer), present)


def _layer(
    architecture: Architecture, dimensions: Hyperparameters, block: str, attends: bool, present: Container[str]
) -> Iterator[ExpectedTensor]:
    hidden = dimensions.hidden_size
    if architecture.norm_before:
        yield from _norm(architecture, block + "attn_norm", hidden)
    if attends:
        yield from _attention(architecture, dimensions, block, present)
    else:
        yield ExpectedTensor(block + "shortconv.in_proj.weight", (3 * hidden, hidden))
        yield ExpectedTensor(block + "shortconv.conv.weight", (hidden, dimensions.convolution_length))
        yield ExpectedTensor(block + "shortconv.out_proj.weight", (hidden, hidden))
    if architecture.norm_behind:
        yield from _norm(architecture, block + "post_attention_norm", hidden)
    if architecture.norm_before and not (dimensions.parallel and architecture.parallel_norm == "shared"):
        yield from _norm(architecture, block + "ffn_norm", hidden)
    yield from _feed_forward(architecture, dimensions, block)
    if architecture.norm_behind:
        yield from _norm(architecture, block + "post_ffw_norm", hidden)


def _attention(
    architecture: Architecture, dimensions: Hyperparameters, block: str, present: Container[str]
) -> Iterator[ExpectedTensor]:
    hidden, head_dim = dimensions.hidden_size, dimensions.head_dim
    queries, keys = dimensions.head_count * head_dim, dimensions.kv_head_count * head_dim
    if is_qkv_fused(architecture, block, present):
        yield from _matrix(block + "attn_qkv", (queries + 2 * keys, hidden), REQUIRED, architecture.qkv_bias)
    else:
        yield from _matrix(block + "attn_q", (queries, hidden), REQUIRED, architecture.qkv_bias)
        yield from _matrix(block + "attn_k", (keys, hidden), REQUIRED, architecture.qkv_bias)
        yield from _matrix(block + "attn_v", (keys, hidden), REQUIRED, architecture.qkv_bias)
    if architecture.norm_of_queries_and_keys != "none":
        per_head = architecture.norm_of_queries_and_keys == "head"
        yield from _norm(architecture, block + "attn_q_norm", head_dim if per_head else queries)
        yield from _norm(architecture, block + "attn_k_norm", head_dim if per_head else keys)
    yield from _matrix(block + "attn_output", (hidden, queries), REQUIRED, architecture.attention_output_bias)


def is_qkv_fused(architecture: Architecture, block: str, present: Container[str]) -> bool:
    """Say whether queries, keys and values of a layer come from one matrix; llama.cpp looks for that one first."""
    return architecture.qkv_fused == "always" or block + "attn_qkv.weight" in present


def _feed_forward(architecture: Architecture, dimensions: Hyperparameters, block: str) -> Iterator[ExpectedTensor]:
    hidden, ffn, bias = dimensions.hidden_size, dimensions.ffn_size, architecture.feed_forward_bias
    if architecture.feed_forward == "experts":
        experts, ffn = dimensions.expert_count, dimensions.expert_ffn_size
        yield ExpectedTensor(block + "ffn_gate_inp.weight", (experts, hidden))
        yield ExpectedTensor(block + "ffn_gate_exps.weight", (experts, ffn, hidden))
        yield ExpectedTensor(block + "ffn_up_exps.weight", (experts, ffn, hidden))
        yield ExpectedTensor(block + "ffn_down_exps.weight", (experts, hidden, ffn))
        return
    if architecture.feed_forward == "gated":
        yield from _matrix(block + "ffn_gate", (ffn, hidden), REQUIRED, bias)
    rows = 2 * ffn if architecture.feed_forward == "gate and up fused" else ffn
    yield from _matrix(block + "ffn_up", (rows, hidden), REQUIRED, bias)
    yield from _matrix(block + "ffn_down", (hidden, ffn), REQUIRED, bias)


def _norm(architecture: Architecture, name: str, size: int) -> Iterator[ExpectedTensor]:
    if architecture.norm_weight:
        yield ExpectedTensor(name + ".weight", (size,))
    if architecture.norm_bias:
        yield ExpectedTensor(name + ".bias", (size,))


def _matrix(name: str, shape: tuple[int, int], weight: Presence, bias: Presence) -> Iterator[ExpectedTensor]:
    if weight != ABSENT:
        yield ExpectedTensor(name + ".weight", shape, weight == REQUIRED)
    if bias != ABSENT:
        yield ExpectedTensor(name + ".bias", shape[:1], bias == REQUIRED)
