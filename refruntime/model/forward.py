"""Run the transformer: tokens at known positions in, logits out (contract section 11).

Dimension letters: n positions in this pass, H hidden, F ffn, D head_dim, V vocab, A heads, K key/value heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.model.kv_cache import KVCache
from refruntime.model.validated import ValidatedModel
from refruntime.model.weights import Layer, bind_weights
from refruntime.numerics import Numerics
from refruntime.trace import TensorEvent, Tracer

Array = NDArray[Any]

POSITIONS_PER_PASS = 128


class Transformer:
    """A model whose weights are in memory in the form of one numeric profile.

    Any number of known tokens may go through in one pass: the arithmetic of a position does not depend on how many are
    computed together, so every split gives the same bits (GEN-4).
    """

    def __init__(self, model: ValidatedModel, profile: Profile, numerics: Numerics) -> None:
        self.hyperparameters = model.hyperparameters
        self.numerics = numerics
        with np.errstate(all="ignore"):  # an extreme rope base may overflow
            self.weights = bind_weights(model, profile, numerics)

    def new_cache(self) -> KVCache:
        """Return an empty KV cache of this model's capacity (FW-9)."""
        return KVCache(self.hyperparameters, self.numerics.dtype)

    def forward(
        self,
        tokens: Sequence[int],
        cache: KVCache,
        *,
        first_logit: int = -1,
        tracer: Tracer | None = None,
    ) -> Array:
        """Forward `tokens` at the positions after `cache.length`; the visible length grows by their number (FW-9).

        Returns the logits of tokens[first_logit:], so by default those of the last one: [1, V]. The caller keeps
        `cache.length` + n within the capacity and n >= 1.
        """
        wanted = range(len(tokens))[first_logit:]
        logits = []
        with np.errstate(all="ignore"):  # non-finite numbers are results here, not accidents (GEN-11)
            for begin in range(0, len(tokens), POSITIONS_PER_PASS):
                part = tokens[begin : begin + POSITIONS_PER_PASS]
                x = self._layers(part, cache, tracer)  # [n, H]
                skipped = max(0, wanted.start - begin)
                if skipped < len(part):
                    logits.append(self._logits(x[skipped:], cache.length + skipped, tracer))
                cache.length += len(part)
        return np.concatenate(logits)

    def _layers(self, tokens: Sequence[int], cache: KVCache, tracer: Tracer | None) -> Array:
        """Embed and run all layers: n tokens -> residual stream [n, H] (FW-1, FW-2)."""
        numerics, weights, start = self.numerics, self.weights, cache.length
        x = numerics.matrix_rows(weights.embedding, tokens)  # [n, H]
        _emit(tracer, "token_embd", start, x)
        angles = numerics.rope_angles(start, len(tokens), weights.rotary)
        for index, layer in enumerate(weights.layers):
            update = self._attention(index, layer, x, angles, cache, tracer)
            x = self._add(f"blk.{index}.attn_residual", x, update, start, tracer)
            update = self._feed_forward(index, layer, x, start, tracer)
            x = self._add(f"blk.{index}.residual", x, update, start, tracer)
        return x

    def _attention(
        self, index: int, layer: Layer, x: Array, angles: tuple[Array, Array], cache: KVCache, tracer: Tracer | None
    ) -> Array:
        """Return Wo(attention(norm(x))): [n, H] -> [n, H] (FW-2, FW-5, FW-6)."""
        numerics, dimensions, block, start = self.numerics, self.hyperparameters, f"blk.{index}.", cache.length
        n, head_dim = x.shape[0], dimensions.head_dim
        h = self._normalise(block + "attn_norm", x, layer.attn_norm, start, tracer)  # [n, H]
        q, k, v = layer.qkv.apply(numerics, h)  # [n, A * D], [n, K * D], [n, K * D]
        for name, values in (("q", q), ("k", k), ("v", v)):
            _emit(tracer, f"{block}attn_{name}", start, values)
        q, k = q.reshape(n, dimensions.head_count, head_dim), k.reshape(n, dimensions.kv_head_count, head_dim)
        q, k = numerics.rotate(q, k, *angles)  # [n, A, D], [n, K, D]
        _emit(tracer, block + "attn_q.rope", start, q)
        _emit(tracer, block + "attn_k.rope", start, k)
        cache.store(index, start, k, v.reshape(n, dimensions.kv_head_count, head_dim))
        attention = numerics.attention(q, *cache.visible(index, start + n), start)
        _emit(tracer, block + "attn.scores", start, attention.scores)
        _emit(tracer, block + "attn.weights", start, attention.weights)
        _emit(tracer, block + "attn.mixed", start, attention.mixed)
        (output,) = layer.attn_output.apply(numerics, attention.mixed.reshape(n, -1))  # [n, H]
        _emit(tracer, block + "attn_output", start, output)
        return output

    def _feed_forward(self, index: int, layer: Layer, x: Array, start: int, tracer: Tracer | None) -> Array:
        """Return W2(silu(W1 h) * (W3 h)) of h = norm(x): [n, H] -> [n, H] (FW-2, FW-7)."""
        numerics, block = self.numerics, f"blk.{index}."
        h = self._normalise(block + "ffn_norm", x, layer.ffn_norm, start, tracer)  # [n, H]
        gate, up = layer.gate_up.apply(numerics, h)  # [n, F], [n, F]
        _emit(tracer, block + "ffn_gate", start, gate)
        _emit(tracer, block + "ffn_up", start, up)
        hidden = numerics.silu(gate) * up  # [n, F]
        _emit(tracer, block + "ffn_hidden", start, hidden)
        (output,) = layer.ffn_down.apply(numerics, hidden)  # [n, H]
        _emit(tracer, block + "ffn_down", start, output)
        return output

    def _logits(self, x: Array, start: int, tracer: Tracer | None) -> Array:
        """Normalise and project: [n, H] -> [n, V] (FW-2)."""
        h = self._normalise("output_norm", x, self.weights.output_norm, start, tracer)  # [n, H]
        (logits,) = self.weights.output.apply(self.numerics, h)  # [n, V]
        _emit(tracer, "logits", start, logits)
        return logits

    def _normalise(self, name: str, x: Array, weight: Array, start: int, tracer: Tracer | None) -> Array:
        """Normalise rows: [n, H] -> [n, H] (FW-3)."""
        h = self.numerics.rms_norm(x, weight, self.hyperparameters.rms_norm_epsilon)
        _emit(tracer, name, start, h)
        return h

    def _add(self, name: str, x: Array, update: Array, start: int, tracer: Tracer | None) -> Array:
        """Add to the residual stream: [n, H] -> [n, H] (FW-2)."""
        x = x + update
        _emit(tracer, name, start, x)
        return x


def _emit(tracer: Tracer | None, name: str, position: int, values: Array) -> None:
    if tracer is not None:
        tracer.event(TensorEvent(name, position, values.shape, values.copy))
