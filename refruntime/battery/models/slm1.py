"""Small SLM1 models for the battery: random weights, and models whose logits a table dictates.

The numbers come from an integer generator written here, so that they are the same with every version of every library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.slm1_format import FLAG_TIED_OUTPUT, DType, Slm1Parameters
from refruntime.containers.slm1_writer import EncodedTensor, write_slm1
from refruntime.contract.profile import Profile
from refruntime.model.slm1.encode import encode_quantized, encode_tensor
from refruntime.model.slm1.model import required_tensors
from refruntime.tokenizers.btok import BtokTokenizer
from refruntime.tokenizers.byte_ids import BOS, EOS

Float32 = NDArray[np.float32]
Logits = Mapping[int, float]
Table = Mapping[int, Logits]

BTOK_VOCAB: Final = 260
BTOK: Final = BtokTokenizer(BTOK_VOCAB).section_bytes()
"""The byte tokenizer of the smallest vocabulary."""
END: Final[Logits] = {EOS: 1.0}
"""Logits that make a greedy sampler choose EOS."""


def btok_section(vocab: int) -> bytes:
    """Return the section of a byte tokenizer with `vocab` ids; those from 260 on decode to `?` (SL-8)."""
    return BtokTokenizer(vocab).section_bytes()


class Numbers:
    """SplitMix64: the same numbers for the same seed, everywhere and always."""

    def __init__(self, seed: int) -> None:
        self._position = np.uint64(seed) * np.uint64(1 << 32)

    def integers(self, count: int) -> NDArray[np.uint64]:
        """Return the next `count` 64-bit integers."""
        with np.errstate(over="ignore"):
            z = self._position + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            self._position = z[-1]
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def uniform(self, *shape: int, scale: float = 1.0) -> Float32:
        """Return float32 numbers between -scale and scale, each a 24-bit integer times one float32."""
        whole = (self.integers(int(np.prod(shape))) >> np.uint64(40)).astype(np.int64) - (1 << 23)
        return (whole.astype(np.float32) * np.float32(scale / (1 << 23))).reshape(shape)


@dataclass(frozen=True)
class Shape:
    """Dimensions of a small model; `heads` divides `hidden` into heads of an even size."""

    vocab: int = BTOK_VOCAB
    hidden: int = 32
    layers: int = 2
    heads: int = 4
    ffn: int = 64
    capacity: int = 64
    theta: float = 10000.0
    epsilon: float = 1e-5
    tied: bool = False

    @property
    def parameters(self) -> Slm1Parameters:
        """Return the header fields."""
        return Slm1Parameters(
            flags=FLAG_TIED_OUTPUT if self.tied else 0,
            vocab_size=self.vocab,
            hidden_size=self.hidden,
            layer_count=self.layers,
            head_count=self.heads,
            kv_head_count=self.heads,
            head_dim=self.hidden // self.heads,
            ffn_size=self.ffn,
            max_context=self.capacity,
            rope_theta=float(np.float32(self.theta)),
            rms_norm_epsilon=float(np.float32(self.epsilon)),
        )


TINYLM_16M: Final = Shape(hidden=512, layers=4, heads=8, ffn=2048, capacity=512)
"""The dimensions of a model of 16 million weights, for measurements."""


def random_weights(seed: int, shape: Shape) -> dict[str, Float32]:
    """Return weights by SLM1 name that keep activations near 1 and spread the logits.

    Component 0 of the residual stream tells ASCII from other ids: the embeddings set it, no layer changes it, and the
    output follows it. So almost every sampled token is ASCII; a byte that is not UTF-8 would end the session (GEN-9).
    """
    numbers = Numbers(seed)
    ascii_ids = np.isin(np.arange(shape.vocab), [*range(128), BOS])  # [V]
    weights: dict[str, Float32] = {}
    for name, _, dimensions in required_tensors(shape.parameters):
        if len(dimensions) == 1:
            weights[name] = np.float32(1) + numbers.uniform(*dimensions, scale=0.25)
            continue
        spread = {"tok_embeddings.weight": 1.7 * np.sqrt(shape.hidden), "output.weight": 4.0}.get(name, 2.5)
        weights[name] = numbers.uniform(*dimensions, scale=float(spread / np.sqrt(dimensions[1])))
        if name in ("tok_embeddings.weight", "output.weight"):
            weights[name][:, 0] = np.where(ascii_ids, 3.0, -3.0)
        elif name.endswith(("wo.weight", "w2.weight")):
            weights[name][0] = 0
    weights["norm.weight"] *= np.float32(0.3 if shape.tied else 1)
    weights["norm.weight"][0] = 3
    return weights


def random_model(
    seed: int,
    shape: Shape | None = None,
    dtype: DType = DType.F32,
    *,
    dtypes: Mapping[str, DType] | None = None,
    block_size: int = 32,
    tokenizer: bytes = BTOK,
    profile: Profile,
) -> bytes:
    """Return an SLM1 file with random weights in `dtype`, single tensors in that of `dtypes`; SL-5 by the profile."""
    shape = shape or Shape()
    chosen = dtypes or {}
    weights = random_weights(seed, shape)
    tensors = [encode_tensor(name, values, chosen.get(name, dtype), block_size) for name, values in weights.items()]
    return write_slm1(shape.parameters, tokenizer, tensors, profile)


def model_of(weights: Mapping[str, Float32], shape: Shape, profile: Profile) -> bytes:
    """Return an SLM1 file with given weights in F32 and the byte tokenizer."""
    tensors = [encode_tensor(name, values) for name, values in weights.items()]
    return write_slm1(shape.parameters, BTOK, tensors, profile)


# Dictated logits -----------------------------------------------------------------------------------------------------


def follow(*tokens: int) -> Table:
    """Return the table that makes each token the greedy successor of the one before it; none may repeat."""
    return {token: {successor: 1.0} for token, successor in pairwise(tokens)}


def table_model(
    table: Table,
    *,
    otherwise: Logits = END,
    background: float = -1000.0,
    vocab: int = BTOK_VOCAB,
    capacity: int = 16,
    tokenizer: bytes = BTOK,
    gain: float = 1.0,
    profile: Profile,
) -> bytes:
    """Return an SLM1 file; after a token of `table` come its logits, after any other token those of `otherwise`.

    Ids that a row does not name get `background`. `gain` multiplies every logit in float32, so that it may overflow.
    The embedding of a token is the one-hot vector of its row in the table, of length H = 4^k; all matrices of the
    single layer are 0, so it reaches the last norm unchanged. There the mean of squares is 4^-k, and the norm's weight
    gain x 2^-k takes the inverse root 2^k back: column c of `output.weight` times the gain follows a token of row c.
    """
    hidden = 4
    while hidden < len(table) + 1:
        hidden *= 4
    rows = {token: place for place, token in enumerate(table, start=1)}
    embedding = np.zeros((vocab, hidden), np.float32)
    embedding[np.arange(vocab), [rows.get(token, 0) for token in range(vocab)]] = 1
    output = np.full((vocab, hidden), background, np.float32)
    for place, row in enumerate([otherwise, *table.values()]):
        for token, logit in row.items():
            output[token, place] = logit
    norm = np.full(hidden, gain / np.sqrt(hidden), np.float32)
    return _single_layer(embedding, norm, encode_tensor("output.weight", output), capacity, tokenizer, profile)


def product_model(values: Logits, scales: Logits, inputs: tuple[float, float, float, float], profile: Profile) -> bytes:
    """Return a file whose last product is q8_0: row `token` holds `values[token]` in each column, times one scale.

    Every token has the same embedding, and the last norm makes `inputs` of it. So the logits show where the scale is
    applied (options of FW-4).
    """
    rows = np.zeros((BTOK_VOCAB, 4), np.int8)
    factors = np.ones((BTOK_VOCAB, 1), np.float32)
    for token, value in values.items():
        rows[token] = int(value)
        factors[token] = scales[token]
    embedding = np.ones((BTOK_VOCAB, 4), np.float32)  # the mean of squares is 1, so the norm multiplies by its weight
    output = encode_quantized("output.weight", (BTOK_VOCAB, 4), DType.Q8_0, rows, factors)
    return _single_layer(embedding, np.array(inputs, np.float32), output, 16, BTOK, profile)


def _single_layer(
    embedding: Float32, norm: Float32, output: EncodedTensor, capacity: int, tokenizer: bytes, profile: Profile
) -> bytes:
    vocab, hidden = embedding.shape
    shape = Shape(vocab, hidden, layers=1, heads=1, ffn=2, capacity=capacity, epsilon=1e-30)
    given = {"tok_embeddings.weight": embedding, "norm.weight": norm}
    tensors = [
        encode_tensor(name, given.get(name, np.zeros(dimensions, np.float32)))
        for name, _, dimensions in required_tensors(replace(shape.parameters, flags=FLAG_TIED_OUTPUT))
    ]
    return write_slm1(shape.parameters, tokenizer, [*tensors, output], profile)


def story_model(profile: Profile, capacity: int = 8) -> bytes:
    """Return the model of the state cases: `a` is followed by `b`, `c`, `d`, then EOS; `e` by `e` for ever.

    `x` is followed by the byte 0xFF, which is not UTF-8. All else ends at once.
    """
    table = {**follow(*b"abcd", EOS), **follow(ord("x"), 0xFF), ord("e"): {ord("e"): 1.0}}
    return table_model(table, capacity=capacity, profile=profile)
