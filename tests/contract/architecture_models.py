"""Tiny GGUF models, written by hand, whose one greedy token tells a choice that concerns a single architecture.

The vocabulary is that of `gguf_by_hand`; the answers are `h` (id 4) and `i` (id 5).
"""

from __future__ import annotations

import numpy as np

from tests.support.gguf_by_hand import (
    BOOL,
    F32,
    I32,
    STRING,
    U32,
    VOCABULARY,
    array,
    gguf_file,
    key,
    llama_keys,
    scalar,
    tensor,
)

HIDDEN = 4
BOS, H, I = 1, 4, 5

Tensors = dict[str, np.ndarray]


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def with_entries(array: np.ndarray, entries: dict[tuple[int, ...], float]) -> np.ndarray:
    for place, value in entries.items():
        array[place] = value
    return array


def model_file(
    architecture: str, keys: dict[str, bytes], tensors: Tensors, tokenizer: dict[str, bytes] | None = None
) -> bytes:
    """Return a file of one layer with one head of 4 numbers; arrays are row-major; `tokenizer` keys replace others."""
    numbers = {
        "context_length": 32,
        "embedding_length": HIDDEN,
        "block_count": 1,
        "feed_forward_length": HIDDEN,
        "attention.head_count": 1,
    }
    own = {name: scalar(U32, value) for name, value in numbers.items()} | keys
    shared = {name: value for name, value in llama_keys().items() if name.startswith("tokenizer.")}
    all_keys = {"general.architecture": scalar(STRING, architecture)} | shared | (tokenizer or {})
    all_keys |= {f"{architecture}.{name}": value for name, value in own.items()}
    entries, data = [], b""
    for name, values in tensors.items():
        entries.append(tensor(name, values.shape[::-1], 0, len(data)))
        data += values.astype("<f4").tobytes()
        data += bytes(-len(data) % 32)
    return gguf_file([key(name, value) for name, value in all_keys.items()], entries, data)


def phi3_with_window() -> bytes:
    """A phi3 whose file says window 1: seeing BOS makes it answer `h`, seeing only itself `i`.

    Queries and keys are 0, so the values of all visible positions are averaged. BOS is e0, every other token e1, and
    RMSNorm makes them 2 e0 and 2 e1; the values are 8 e2 and 2 e3; `h` reads e2, `i` reads e3.
    """
    vocabulary = len(VOCABULARY)
    embedding = np.tile(np.eye(HIDDEN, dtype=np.float32)[1], (vocabulary, 1))
    embedding[BOS] = np.eye(HIDDEN)[0]
    qkv = with_entries(zeros(3 * HIDDEN, HIDDEN), {(2 * HIDDEN + 2, 0): 4.0, (2 * HIDDEN + 3, 1): 1.0})
    return model_file(
        "phi3",
        {"attention.layer_norm_rms_epsilon": scalar(F32, 1e-9), "attention.sliding_window": scalar(U32, 1)},
        {
            "token_embd.weight": embedding,
            "output_norm.weight": np.ones(HIDDEN, np.float32),
            "output.weight": with_entries(zeros(vocabulary, HIDDEN), {(H, 2): 1.0, (I, 3): 1.0}),
            "blk.0.attn_norm.weight": np.ones(HIDDEN, np.float32),
            "blk.0.attn_qkv.weight": qkv,
            "blk.0.attn_output.weight": np.eye(HIDDEN, dtype=np.float32),
            "blk.0.ffn_norm.weight": np.ones(HIDDEN, np.float32),
            "blk.0.ffn_up.weight": zeros(2 * HIDDEN, HIDDEN),
            "blk.0.ffn_down.weight": zeros(HIDDEN, HIDDEN),
        },
    )


def gptneox_at_two() -> bytes:
    """A gptneox that answers `h` if GELU(2) is more than 1.95455, else `i`.

    The tanh form gives 1.954598, the one with erf 1.954500. All weights of the layer are 0; the biases put GELU(2) into
    e0, which `h` reads, and the threshold into e1, which `i` reads.
    """
    vocabulary, block = len(VOCABULARY), "blk.0."
    ones, nothing = np.ones(HIDDEN, np.float32), zeros(HIDDEN)
    return model_file(
        "gptneox",
        {"attention.layer_norm_epsilon": scalar(F32, 1e-9), "use_parallel_residual": scalar(BOOL, 1)},
        {
            "token_embd.weight": zeros(vocabulary, HIDDEN),
            "output_norm.weight": ones,
            "output_norm.bias": nothing,
            "output.weight": with_entries(zeros(vocabulary, HIDDEN), {(H, 0): 1.0, (I, 1): 1.0}),
            **{f"{block}{norm}.{part}": nothing for norm in ("attn_norm", "ffn_norm") for part in ("weight", "bias")},
            block + "attn_qkv.weight": zeros(3 * HIDDEN, HIDDEN),
            block + "attn_qkv.bias": zeros(3 * HIDDEN),
            block + "attn_output.weight": zeros(HIDDEN, HIDDEN),
            block + "attn_output.bias": nothing,
            block + "ffn_up.weight": zeros(HIDDEN, HIDDEN),
            block + "ffn_up.bias": with_entries(zeros(HIDDEN), {(0,): 2.0}),
            block + "ffn_down.weight": with_entries(zeros(HIDDEN, HIDDEN), {(0, 0): 1.0}),
            block + "ffn_down.bias": with_entries(zeros(HIDDEN), {(1,): 1.95455}),
        },
    )


def gpt_oss_within_yarn() -> bytes:
    """A gpt-oss that answers `h` if its position attends to BOS with a share above 1/5, else `i`.

    Base 4 and heads of 4 numbers: the pairs turn by 1 and 1/2 a position. YaRN blends from pair 2 ln(23 / 4 pi) / ln 4
    = 0.872 to 1.872. Whole pairs are 0 to 2, so pair 1 keeps (2 - 1) / 2 = 1/2 of its angle and has 1/8 of the rest:
    0.28125 a position; exactly it keeps 0.872, and turns by 0.444. Cosines and sines come 1 + 0.1 ln 8 = 1.208 times.
    Queries are 28 e1 and keys e1, biases both, so the score of BOS lies 28 * 1.208^2 / 2 * (1 - cos) below the own one:
    0.80 or 1.98, a share of 0.31 or 0.12. The values are 4 e2 of BOS and e3 of the other token: 4 p against 1 - p.
    """
    vocabulary, block = len(VOCABULARY), "blk.0."
    embedding = np.tile(np.eye(HIDDEN, dtype=np.float32)[1], (vocabulary, 1))
    embedding[BOS] = np.eye(HIDDEN)[0]
    ones, nothing = np.ones(HIDDEN, np.float32), zeros(HIDDEN)
    experts = {"gate": (1, HIDDEN, HIDDEN), "up": (1, HIDDEN, HIDDEN), "down": (1, HIDDEN, HIDDEN)}
    return model_file(
        "gpt-oss",
        {
            "attention.layer_norm_rms_epsilon": scalar(F32, 1e-9),
            "attention.sliding_window": scalar(U32, 8),
            "expert_count": scalar(U32, 1),
            "expert_used_count": scalar(U32, 1),
            "rope.freq_base": scalar(F32, 4.0),
            "rope.scaling.type": scalar(STRING, "yarn"),
            "rope.scaling.factor": scalar(F32, 8.0),
            "rope.scaling.original_context_length": scalar(U32, 23),
            "rope.scaling.yarn_beta_fast": scalar(F32, 2.0),
            "rope.scaling.yarn_beta_slow": scalar(F32, 1.0),
        },
        {
            "token_embd.weight": embedding,
            "output_norm.weight": ones,
            "output.weight": with_entries(zeros(vocabulary, HIDDEN), {(H, 2): 1.0, (I, 3): 1.0}),
            block + "attn_norm.weight": ones,
            block + "post_attention_norm.weight": ones,
            block + "attn_q.weight": zeros(HIDDEN, HIDDEN),
            block + "attn_q.bias": with_entries(zeros(HIDDEN), {(1,): 28.0}),
            block + "attn_k.weight": zeros(HIDDEN, HIDDEN),
            block + "attn_k.bias": with_entries(zeros(HIDDEN), {(1,): 1.0}),
            block + "attn_v.weight": with_entries(zeros(HIDDEN, HIDDEN), {(2, 0): 2.0, (3, 1): 0.5}),
            block + "attn_v.bias": nothing,
            block + "attn_sinks.weight": np.full(1, -1e4, np.float32),
            block + "attn_output.weight": np.eye(HIDDEN, dtype=np.float32),
            block + "attn_output.bias": nothing,
            block + "ffn_gate_inp.weight": zeros(1, HIDDEN),
            block + "ffn_gate_inp.bias": zeros(1),
            **{f"{block}ffn_{name}_exps.weight": zeros(*shape) for name, shape in experts.items()},
            **{f"{block}ffn_{name}_exps.bias": zeros(*shape[:2]) for name, shape in experts.items()},
        },
    )


def lfm2moe_with_a_tiny_share() -> bytes:
    """A lfm2moe that answers `h` if its only expert counts for less than 1/10, else `i`.

    Every token is e0, which RMSNorm makes 2 e0; attention gives nothing. The router's score is -14, its sigmoid 8.3e-7.
    Divided by 2^-14 that is a share of 0.014, divided by itself plus 1e-6 one of 0.45. The expert gives silu(10) * 1 =
    10 in e2, which `i` reads; `h` reads e0, which is 1.
    """
    vocabulary, block = len(VOCABULARY), "blk.0."
    ones = np.ones(HIDDEN, np.float32)
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output")
    return model_file(
        "lfm2moe",
        {
            "attention.layer_norm_rms_epsilon": scalar(F32, 1e-9),
            "attention.head_count_kv": array(I32, [1]),
            "expert_count": scalar(U32, 1),
            "expert_used_count": scalar(U32, 1),
            "expert_gating_func": scalar(U32, 2),
            "shortconv.l_cache": scalar(U32, 3),
        },
        {
            "token_embd.weight": np.tile(np.eye(HIDDEN, dtype=np.float32)[0], (vocabulary, 1)),
            "token_embd_norm.weight": ones,
            "output.weight": with_entries(zeros(vocabulary, HIDDEN), {(H, 0): 1.0, (I, 2): 1.0}),
            **{f"{block}{name}.weight": ones for name in ("attn_norm", "attn_q_norm", "attn_k_norm", "ffn_norm")},
            **{f"{block}{name}.weight": zeros(HIDDEN, HIDDEN) for name in matrices},
            block + "ffn_gate_inp.weight": with_entries(zeros(1, HIDDEN), {(0, 0): -7.0}),
            block + "exp_probs_b.bias": zeros(1),
            block + "ffn_gate_exps.weight": with_entries(zeros(1, HIDDEN, HIDDEN), {(0, 0, 0): 5.0}),
            block + "ffn_up_exps.weight": with_entries(zeros(1, HIDDEN, HIDDEN), {(0, 0, 0): 0.5}),
            block + "ffn_down_exps.weight": with_entries(zeros(1, HIDDEN, HIDDEN), {(0, 2, 0): 1.0}),
        },
    )


def llama_that_says_end_for_ever() -> bytes:
    """A llama that answers every token with `</s>` (id 2), while its metadata call `hi` (id 6) the end."""
    vocabulary, block = len(VOCABULARY), "blk.0."
    ones = np.ones(HIDDEN, np.float32)
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    return model_file(
        "llama",
        {"attention.layer_norm_rms_epsilon": scalar(F32, 1e-9)},
        {
            "token_embd.weight": np.ones((vocabulary, HIDDEN), np.float32),
            "output_norm.weight": ones,
            "output.weight": with_entries(zeros(vocabulary, HIDDEN), {(2, 0): 1.0}),
            block + "attn_norm.weight": ones,
            block + "ffn_norm.weight": ones,
            **{f"{block}{name}.weight": zeros(HIDDEN, HIDDEN) for name in square},
        },
        {"tokenizer.ggml.eos_token_id": scalar(U32, 6)},
    )
