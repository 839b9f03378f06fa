"""SLM1 models whose greedy answer is a table: after token a comes token b.

Token number k of the table has the k-th unit vector as its embedding, the layers add nothing, and the output row of b
is the unit vector of a. So the logit of b after a is sqrt(H) (RMSNorm makes the unit vector that long), all others are
0; after a token outside the table every logit is 0 and id 0 is the greatest (SA-1).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping

from tests.support.slm1_by_hand import BTOK, F32, Tensor, build

HIDDEN = 16
BOS, EOS = 256, 257


def lookup_model(following: Mapping[int, int], max_context: int = 32) -> bytes:
    """Lay out the model of a table of at most 16 tokens; untied, BTOK, one layer."""
    place = {token: index for index, token in enumerate(following)}

    def rows(ones: list[tuple[int, int]]) -> bytes:
        values = [0.0] * (260 * HIDDEN)
        for row, column in ones:
            values[row * HIDDEN + column] = 1.0
        return struct.pack(f"<{len(values)}f", *values)

    def zeros(*dims: int) -> tuple[tuple[int, ...], bytes]:
        count = 1
        for size in dims:
            count *= size
        return dims, bytes(4 * count)

    ones = struct.pack(f"<{HIDDEN}f", *[1.0] * HIDDEN)
    tensors = [
        Tensor("tok_embeddings.weight", F32, (260, HIDDEN), rows(list(place.items()))),
        Tensor(
            "output.weight", F32, (260, HIDDEN), rows([(after, place[token]) for token, after in following.items()])
        ),
        *(Tensor(name, F32, (HIDDEN,), ones) for name in ("norm.weight", "layers.0.attn_norm.weight")),
        Tensor("layers.0.ffn_norm.weight", F32, (HIDDEN,), ones),
        *(Tensor(f"layers.0.{name}.weight", F32, *zeros(HIDDEN, HIDDEN)) for name in ("wq", "wk", "wv", "wo")),
        *(Tensor(f"layers.0.{name}.weight", F32, *zeros(2, HIDDEN)) for name in ("w1", "w3")),
        Tensor("layers.0.w2.weight", F32, *zeros(HIDDEN, 2)),
    ]
    return bytes(
        build(tensors, BTOK, hidden_size=HIDDEN, head_count=2, kv_head_count=2, head_dim=8, max_context=max_context)
    )


def spelling(text: bytes, end: bool = True) -> dict[int, int]:
    """Return the table that spells distinct bytes one after the other, then EOS."""
    table = dict(itertools.pairwise(text))
    if end:
        table[text[-1]] = EOS
    return table
