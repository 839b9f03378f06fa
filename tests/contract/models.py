"""Build small SLM1 models whose logits are dictated: a table says which logits follow which token.

An embedding row is a one-hot vector of length H = 4^k, the class of the token. All matrices of the single layer are
zero, so the vector reaches the final norm unchanged. There the mean of squares is 4^-k (epsilon is too small to change
it), its inverse root is 2^k, and `norm.weight` is gain x 2^-k: what comes out is exactly gain times the one-hot vector.
So column c of `output.weight` times the gain is what a token of class c is followed by, without any rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise

import numpy as np

from refruntime.containers.slm1_format import DType, Slm1Parameters
from refruntime.containers.slm1_writer import EncodedTensor, write_slm1
from refruntime.contract.profile import Profile
from refruntime.model.slm1.encode import encode_quantized, encode_tensor
from tests.support.slm1_by_hand import BTOK, bpe1

BOS, EOS, PAD, UNK = 256, 257, 258, 259

Logits = Mapping[int, float]
Table = Mapping[int, Logits]

END: Logits = {EOS: 1.0}
"""Logits that make a greedy sampler choose EOS."""


def follow(*tokens: int) -> Table:
    """Return the table that makes each token the greedy successor of the one before it; none may repeat."""
    return {token: {successor: 1.0} for token, successor in pairwise(tokens)}


def table_model(
    table: Table,
    *,
    otherwise: Logits = END,
    background: float = -1000.0,
    vocab_size: int = 260,
    capacity: int = 16,
    tokenizer: bytes = BTOK,
    gain: float = 1.0,
    profile: Profile | None = None,
) -> bytes:
    """Return an SLM1 file; after a token of `table` come its logits, after any other token those of `otherwise`.

    Ids that a row does not name get `background`. A `gain` other than 1 multiplies every logit, in float32.
    """
    hidden = 4
    while hidden < len(table) + 1:
        hidden *= 4
    classes = {token: place for place, token in enumerate(table, start=1)}
    embedding = np.zeros((vocab_size, hidden), np.float32)
    embedding[np.arange(vocab_size), [classes.get(token, 0) for token in range(vocab_size)]] = 1
    output = np.full((vocab_size, hidden), background, np.float32)
    for place, row in enumerate([otherwise, *table.values()]):
        for token, logit in row.items():
            output[token, place] = logit
    norm = np.full(hidden, gain / np.sqrt(hidden), np.float32)
    return _file(embedding, norm, encode_tensor("output.weight", output), capacity, tokenizer, profile or Profile())


def quantized_model(values: Logits, scales: Logits, input_values: tuple[float, float, float, float]) -> bytes:
    """Return a file whose final product is q8_0: row `token` holds `values[token]` in each column, times one scale.

    Every token has the same embedding; the final norm makes `input_values` of it (each a power of two or a fraction
    that float32 holds), so the logits are the matrix times that vector.
    """
    vocab_size, hidden = 260, 4
    rows = np.zeros((vocab_size, hidden), np.int8)
    factors = np.ones((vocab_size, 1), np.float32)
    for token, value in values.items():
        rows[token] = int(value)
        factors[token] = scales[token]
    embedding = np.ones((vocab_size, hidden), np.float32)  # mean of squares 1, so the norm multiplies by its weight
    output = encode_quantized("output.weight", (vocab_size, hidden), DType.Q8_0, rows, factors)
    return _file(embedding, np.array(input_values, np.float32), output, 16, BTOK, Profile())


def _file(
    embedding: np.ndarray,
    norm: np.ndarray,
    output: EncodedTensor,
    capacity: int,
    tokenizer: bytes,
    profile: Profile,
) -> bytes:
    vocab_size, hidden = embedding.shape
    ffn = 2
    parameters = Slm1Parameters(
        vocab_size=vocab_size,
        hidden_size=hidden,
        layer_count=1,
        head_count=1,
        kv_head_count=1,
        head_dim=hidden,
        ffn_size=ffn,
        max_context=capacity,
        rope_theta=10000.0,
        rms_norm_epsilon=float(np.float32(1e-30)),
    )
    shapes = {
        "attn_norm": (hidden,),
        "ffn_norm": (hidden,),
        **dict.fromkeys(("wq", "wk", "wv", "wo"), (hidden, hidden)),
        "w1": (ffn, hidden),
        "w2": (hidden, ffn),
        "w3": (ffn, hidden),
    }
    tensors = [encode_tensor("tok_embeddings.weight", embedding)]
    tensors += [encode_tensor(f"layers.0.{name}.weight", np.zeros(shape, np.float32)) for name, shape in shapes.items()]
    tensors += [encode_tensor("norm.weight", norm), output]
    return write_slm1(parameters, tokenizer, tensors, profile)


@cache
def story_model() -> bytes:
    """Return the model of most tests: capacity 8; `a` is followed by `b`, `c`, `d`, then EOS.

    `x` is followed by the byte 0xFF, which is not UTF-8. `e` is followed by `e` for ever. All else ends at once.
    """
    return table_model({**follow(*b"abcd", EOS), **follow(ord("x"), 0xFF), ord("e"): {ord("e"): 1.0}}, capacity=8)


def long_token_model(text: bytes, *, capacity: int = 128) -> bytes:
    """Return a BPE1 model in which every token is followed by id 260, whose bytes are `text`."""
    section = bpe1([(260, text)], [], vocab_size=261)
    return table_model({}, otherwise={260: 1.0}, vocab_size=261, capacity=capacity, tokenizer=section)
