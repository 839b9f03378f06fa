"""Run an encoder: tokens of a text in, a row of numbers for each out, and what pooling makes of these (GG-15).

Dimension letters: n tokens of a text, H hidden, D head_dim, A heads, K key/value heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.model.blocks import Computation, normalise, rotate
from refruntime.model.feed_forward import feed_forward
from refruntime.model.layout.tree import AttentionLayout, FeedForward, Layer
from refruntime.model.validated import ValidatedModel
from refruntime.model.weights import EncoderWeights, Norm, Projection, bind_encoder, inventory
from refruntime.numerics import Numerics
from refruntime.trace import Tracer

Array = NDArray[Any]

PRODUCTS: Final = 2**24
"""How many products of attention are computed at once, at most."""


class TextEncoder:
    """An encoder whose weights are in memory in the form of one numeric profile, with `later` when they are used."""

    def __init__(self, model: ValidatedModel, profile: Profile, numerics: Numerics, *, later: bool = False) -> None:
        self.hyperparameters, self.architecture = model.hyperparameters, model.architecture
        self.numerics = numerics.settled(inventory(model))
        with np.errstate(all="ignore"):  # an extreme rope base may overflow
            self._bind = bind_encoder(model, profile, self.numerics, later=later)

    @cached_property
    def weights(self) -> EncoderWeights:
        """Return the weights; GenerationFailed if the machine has no memory left for them."""
        with np.errstate(all="ignore"):
            return self._bind()

    def forward(self, tokens: Sequence[int], tracer: Tracer | None = None) -> Array:
        """Return the row of each token: [n, H]. The caller keeps n within 1 .. `max_context`."""
        run = Computation(self.numerics, self.architecture, self.hyperparameters, 0, tracer)
        # Non-finite numbers are results here, not accidents (GEN-11).
        with np.errstate(all="ignore"), self.numerics.working():
            x = self._embed(run, tokens)  # [n, H]
            for index, layer in enumerate(self.weights.model.layers):
                x = self._layer(run, index, layer, x)
        return x

    def _embed(self, run: Computation, tokens: Sequence[int]) -> Array:
        """Return norm((token + kind of text 0) + position): [n, H]."""
        numerics, weights = self.numerics, self.weights.model
        x = numerics.matrix_rows(weights.embedding, tokens)  # [n, H]
        run.emit("token_embd", x)
        if weights.types is not None:
            x = x + numerics.matrix_rows(weights.types, [0])  # [1, H]
        if weights.positions is not None:
            x = x + numerics.matrix_rows(weights.positions, range(len(tokens)))
        x = normalise(numerics, self.architecture, x, weights.norm, run.dimensions.rms_norm_epsilon)
        run.emit("token_embd_norm", x)
        return x

    def _layer(self, run: Computation, index: int, layer: Layer[Projection, Norm, Array], x: Array) -> Array:
        """Return norm(feed_forward(y) + y) of y = norm(attention(x) + x): [n, H] -> [n, H]."""
        block, epsilon = f"blk.{index}.", run.dimensions.rms_norm_epsilon
        mixer, between, behind, own = (
            *(layer.mixer, layer.post_attention_norm),
            *(layer.post_ffw_norm, layer.feed_forward),
        )
        if (
            not isinstance(mixer, AttentionLayout)
            or not isinstance(own, FeedForward)
            or between is None
            or behind is None
        ):
            raise TypeError("a layer of an encoder attends, then works on each position alone, with a norm behind each")
        x = self._attention(run, index, mixer, x) + x
        x = normalise(self.numerics, self.architecture, x, between, epsilon)
        run.emit(block + "attn_output_norm", x)
        x = feed_forward(run, index, own, x) + x
        x = normalise(self.numerics, self.architecture, x, behind, epsilon)
        run.emit(block + "residual", x)
        return x

    def _attention(
        self, run: Computation, index: int, weights: AttentionLayout[Projection, Norm, Array], x: Array
    ) -> Array:
        """Return Wo(attention(x)) where every position sees all: [n, H] -> [n, H]."""
        numerics, dimensions, block, n = self.numerics, self.hyperparameters, f"blk.{index}.", len(x)
        q, k, v = (part.reshape(n, -1, dimensions.head_dim) for part in weights.qkv.apply(numerics, x))
        if self.weights.rotary is not None:
            q, k = rotate(run, q, k, numerics.rope_angles(0, n, self.weights.rotary))
        for name, values in (("q", q), ("k", k), ("v", v)):
            run.emit(f"{block}attn_{name}", values.reshape(n, -1))
        keys = np.ascontiguousarray(numerics.kept(k).transpose(2, 1, 0))  # [D, K, n]
        values = numerics.kept(v)  # [n, K, D]
        mixed = np.empty_like(q)  # [n, A, D]
        rows = max(1, PRODUCTS // (n * q[0].size))
        for first in range(0, n, rows):
            part = q[first : first + rows]  # [r, A, D]
            # queries of r positions as heads of the last position, which sees all
            heads = part.transpose(1, 0, 2).reshape(1, -1, dimensions.head_dim)  # [1, A * r, D]
            result = numerics.attention(heads, keys, values, n - 1).mixed
            mixed[first : first + rows] = result.reshape(part.shape[1], len(part), -1).transpose(1, 0, 2)
        run.emit(block + "attn.mixed", mixed)
        (output,) = weights.output.apply(numerics, mixed.reshape(n, -1))  # [n, H]
        run.emit(block + "attn_output", output)
        return output


def pooled(numerics: Numerics, rows: Array, pooling: str) -> Array:
    """Make one row of the rows of a text, none: keep them: [n, H] -> [H] or [n, H]."""
    if pooling == "mean":
        mean: Array = numerics.sum_rows(rows) / numerics.dtype(len(rows))
        return mean
    chosen: Array = {"none": rows, "cls": rows[0], "last": rows[-1]}[pooling]
    return chosen


def normalised(numerics: Numerics, x: Array) -> Array:
    """Divide each row by its length, sqrt(sum(x_i * x_i)); a row of zeros stays: [..., H] -> [..., H]."""
    rows = x.reshape(-1, x.shape[-1])
    lengths = np.sqrt(numerics.sum_rows((rows * rows).T))  # [n]
    scaled: Array = rows / np.where(lengths == 0, numerics.dtype(1), lengths)[:, None]
    return scaled.reshape(x.shape)
