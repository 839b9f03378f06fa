"""Run the transformer: tokens at known positions in, logits out (contract section 11, GG-11).

Dimension letters: n positions in this pass, H hidden, V vocab.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.model import blocks, feed_forward, recurrence
from refruntime.model.blocks import Pass, emit
from refruntime.model.kv_cache import KVCache
from refruntime.model.layout.tree import Convolution, DeltaNet, Experts, ExpertsBeside, Layer, StateSpace
from refruntime.model.plain import plain_model
from refruntime.model.validated import ValidatedModel
from refruntime.model.weights import Norm, Projection, Store, Weights, bind_weights, inventory
from refruntime.numerics import Numerics, Rotary
from refruntime.numerics.whole_step import PlainModel, Step
from refruntime.trace import Tracer

Array = NDArray[Any]

POSITIONS_PER_PASS = 128
ANGLES_REMEMBERED = 256


class Transformer:
    """A model whose weights are in memory in the form of one numeric profile, with `later` when they are first used.

    Any number of known tokens may go through in one pass: the arithmetic of a position does not depend on how many are
    computed together, so every split gives the same bits (GEN-4). A variation may override `new_cache`, `normalise` and
    `add`.
    """

    def __init__(
        self,
        model: ValidatedModel,
        profile: Profile,
        numerics: Numerics,
        store: Store | None = None,
        *,
        later: bool = False,
    ) -> None:
        self.hyperparameters = model.hyperparameters
        self.architecture = model.architecture
        self.numerics = numerics if store is not None else numerics.settled(inventory(model))
        with np.errstate(all="ignore"):  # an extreme rope base may overflow
            self._bind = bind_weights(model, profile, self.numerics, store, later=later)
        self._step: Step | None = None
        self._angles: dict[tuple[int, ...], tuple[Rotary, Numerics, tuple[Array, Array]]] = {}  # keeps whose they are

    @cached_property
    def weights(self) -> Weights:
        """Return the weights; GenerationFailed if the machine has no memory left for them."""
        with np.errstate(all="ignore"):
            return self._bind()

    @cached_property
    def _plain(self) -> PlainModel | None:
        """Return the model as plain layers where it has no others; a variation has layers of its own."""
        return plain_model(self.architecture, self.hyperparameters, self.weights) if type(self) is Transformer else None

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
        if len(tokens) == 1 and tracer is None and self._plain is not None:
            self._step = self._step or self.numerics.whole_step(self._plain)
            if self._step is not None:
                return self._at_once(tokens, cache, self._step)
        wanted = range(len(tokens))[first_logit:]
        logits = []
        # Non-finite numbers are results here, not accidents (GEN-11).
        with np.errstate(all="ignore"), self.numerics.working():
            for begin in range(0, len(tokens), POSITIONS_PER_PASS):
                part = tokens[begin : begin + POSITIONS_PER_PASS]
                x = self._layers(part, cache, tracer)  # [n, H]
                skipped = max(0, wanted.start - begin)
                if skipped < len(part):
                    logits.append(self._logits(x[skipped:], cache.length + skipped, tracer))
                cache.length += len(part)
        return np.concatenate(logits)

    def _at_once(self, tokens: Sequence[int], cache: KVCache, step: Step) -> Array:
        """Forward one token in one go, with the same bits: logits [1, V]."""
        position = cache.length
        cache.reserve(position + 1)
        with np.errstate(all="ignore"), self.numerics.working():
            x = self._embed(tokens, position, None)  # [1, H]
            logits = step(x[0], cache.keys, cache.values, position)  # [1, V]
        cache.length += 1
        return logits

    def _layers(self, tokens: Sequence[int], cache: KVCache, tracer: Tracer | None) -> Array:
        """Embed and run all layers: n tokens -> residual stream [n, H] (FW-1, FW-2)."""
        numerics, weights, start = self.numerics, self.weights, cache.length
        x = self._embed(tokens, start, tracer)  # [n, H]
        angles = window_angles = self._rope_angles(start, len(tokens), weights.rotary)
        if weights.window_rotary is not weights.rotary:
            window_angles = self._rope_angles(start, len(tokens), weights.window_rotary)
        dimensions, architecture = self.hyperparameters, self.architecture
        run = Pass(numerics, architecture, dimensions, start, tracer, cache, angles, window_angles)
        given = self._layer_inputs(tokens, x, start, tracer)  # [n, layers, E]
        for index, layer in enumerate(weights.model.layers):
            x = self._layer(run, index, layer, x, given[:, index] if given is not None else None)
        return x

    def _rope_angles(self, start: int, count: int, rotary: Rotary) -> tuple[Array, Array]:
        """Return cosines and sines, each [n, D / 2], of which the last ones are remembered: generations repeat them."""
        numerics = self.numerics  # a copy of this object may have others
        place = start, count, id(rotary), id(numerics)
        known = self._angles.get(place)
        if known is None:
            if len(self._angles) >= ANGLES_REMEMBERED:
                self._angles.clear()
            known = self._angles[place] = rotary, numerics, numerics.rope_angles(start, count, rotary)
        return known[2]

    def _layer_inputs(self, tokens: Sequence[int], x: Array, start: int, tracer: Tracer | None) -> Array | None:
        """Return what enters each layer: (norm(W x / sqrt(H)) + row * sqrt(E)) / sqrt(2): [n, layers, E] (GG-14)."""
        numerics, weights = self.numerics, self.weights.model.layer_inputs
        if weights is None:
            return None
        n, size, one = len(tokens), self.hyperparameters.layer_input_size, numerics.dtype(1)
        rows = numerics.matrix_rows(weights.table, tokens) * np.sqrt(numerics.dtype(size))  # [n, layers * E]
        (projected,) = weights.projection.apply(numerics, x)  # [n, layers * E]
        projected = projected * (one / np.sqrt(numerics.dtype(x.shape[1])))
        epsilon = self.hyperparameters.rms_norm_epsilon
        normal = blocks.normalise(numerics, self.architecture, projected.reshape(-1, size), weights.norm, epsilon)
        inputs: Array = (normal.reshape(rows.shape) + rows) * (one / np.sqrt(numerics.dtype(2)))
        emit(tracer, "layer_inputs", start, inputs)
        return inputs.reshape(n, -1, size)

    def _embed(self, tokens: Sequence[int], start: int, tracer: Tracer | None) -> Array:
        """Return the rows of the embedding, with the factor and the positions of the architecture: [n, H] (FW-1)."""
        numerics, dimensions = self.numerics, self.hyperparameters
        x = numerics.matrix_rows(self.weights.model.embedding, tokens)  # [n, H]
        emit(tracer, "token_embd", start, x)
        if self.architecture.embedding_times_root:
            x = x * np.sqrt(numerics.dtype(dimensions.hidden_size))
            emit(tracer, "token_embd.scaled", start, x)
        elif dimensions.scales.embedding != 1.0:
            x = x * numerics.dtype(dimensions.scales.embedding)
            emit(tracer, "token_embd.scaled", start, x)
        if self.architecture.positions == "learned":
            x = x + numerics.matrix_rows(self.weights.model.positions, range(start, start + len(tokens)))
            emit(tracer, "token_embd.positioned", start, x)
        return x

    def _layer(
        self, run: Pass, index: int, layer: Layer[Projection, Norm, Array], x: Array, given: Array | None
    ) -> Array:
        """Add what a layer mixes between positions, then what it makes of each: [n, H] -> [n, H] (FW-2).

        In a parallel layer the second block reads the input of the layer; the order of the additions stays.
        """
        block, start, tracer = f"blk.{index}.", run.start, run.tracer
        h = self.normalise(block + "attn_norm", x, layer.attn_norm, start, tracer)  # [n, H]
        if isinstance(layer.mixer, Convolution):
            update = blocks.convolution(run, index, layer.mixer, h)
        elif isinstance(layer.mixer, StateSpace):
            update = recurrence.state_space(run, index, layer.mixer, h)
        elif isinstance(layer.mixer, DeltaNet):
            update = recurrence.delta_net(run, index, layer.mixer, h)
        else:
            update = blocks.attention(run, index, layer.mixer, h)
        update = self.normalise(block + "post_attention_norm", update, layer.post_attention_norm, start, tracer)
        attended = self._scaled(update)
        mixed = self.add(block + "attn_residual", x, attended, start, tracer)
        if not self.hyperparameters.parallel:
            h = mixed
        elif self.architecture.parallel_norm == "own":
            h = x
        h = self.normalise(block + "ffn_norm", h, layer.ffn_norm, start, tracer)  # [n, H]
        if isinstance(layer.feed_forward, Experts):
            update = feed_forward.experts(run, index, layer.feed_forward, h)
        elif isinstance(layer.feed_forward, ExpertsBeside):
            update = feed_forward.experts_beside(run, index, layer.feed_forward, h, mixed)
        else:
            update = feed_forward.feed_forward(run, index, layer.feed_forward, h)
        update = self.normalise(block + "post_ffw_norm", update, layer.post_ffw_norm, start, tracer)
        if self.hyperparameters.parallel:
            order = self.architecture.parallel_sum
            total = self.numerics.parallel_sum(x, attended, self._scaled(update), order)
            emit(tracer, block + "residual", start, total)
            return total
        if layer.input is None and layer.scale is None:
            return self.add(block + "residual", mixed, self._scaled(update), start, tracer)
        x = self.add(block + "ffn_residual", mixed, self._scaled(update), start, tracer)
        if layer.input is not None:
            if given is None:
                raise ValueError("a layer that adds an input of its own is given one")
            update = feed_forward.layer_input(run, index, layer.input, x, given)
            x = self.add(block + "input_residual", x, update, start, tracer)
        if layer.scale is not None:
            x = x * layer.scale
        emit(tracer, block + "residual", start, x)
        return x

    def _logits(self, x: Array, start: int, tracer: Tracer | None) -> Array:
        """Normalise and project: [n, H] -> [n, V] (FW-2)."""
        dimensions = self.hyperparameters
        name = self.architecture.output_norm
        h = self.normalise(name, x, self.weights.model.output_norm, start, tracer)  # [n, H]
        (logits,) = self.weights.model.output.apply(self.numerics, h)  # [n, V]
        scale = self.numerics.dtype(dimensions.scales.logit)
        if self.architecture.logit_scale == "multiply":
            logits = logits * scale
        elif self.architecture.logit_scale == "divide":
            logits = self.numerics.divided(logits, scale)
        if dimensions.scales.logit_softcap:
            logits = self.numerics.softcap(logits, dimensions.scales.logit_softcap)
        emit(tracer, "logits", start, logits)
        return logits

    def normalise(self, name: str, x: Array, norm: Norm | None, start: int, tracer: Tracer | None) -> Array:
        """Normalise rows: [n, H] -> [n, H] (FW-3); without a norm they stay as they are."""
        if norm is None:
            return x
        epsilon = self.hyperparameters.rms_norm_epsilon
        h = blocks.normalise(self.numerics, self.architecture, x, norm, epsilon)
        emit(tracer, name, start, h)
        return h

    def _scaled(self, update: Array) -> Array:
        """Apply the factor of what is added to the residual stream (GG-11)."""
        scale = self.hyperparameters.scales.residual
        return update if scale == 1.0 else update * self.numerics.dtype(scale)

    def add(self, name: str, x: Array, update: Array, start: int, tracer: Tracer | None) -> Array:
        """Add to the residual stream: [n, H] -> [n, H] (FW-2)."""
        x = x + update
        emit(tracer, name, start, x)
        return x
