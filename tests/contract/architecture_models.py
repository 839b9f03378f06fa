"""Tiny GGUF models, written by hand, whose one greedy token tells a choice that concerns a single architecture.

The vocabulary is that of `gguf_by_hand`; the answers are `h` (id 4) and `i` (id 5).
"""

from __future__ import annotations

import numpy as np

from tests.support.gguf_by_hand import (
    BOOL,
    F32,
    STRING,
    U32,
    VOCABULARY,
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
    for name, array in tensors.items():
        entries.append(tensor(name, array.shape[::-1], 0, len(data)))
        data += array.astype("<f4").tobytes()
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
