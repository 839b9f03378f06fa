"""Faults that engines have with models of other people: each as a change of the model, whatever the arithmetic.

The catalogue of `hypotheses` holds those of builds of the contract, tied to its arithmetic; here a fault has to go with
quantised inputs and half-precision keys too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refruntime.model.validated import QuantizedRows, ValidatedModel, WeightSource
from refruntime.numerics import StoredSource
from refruntime.quants.ggml import StoredRows

Change = Callable[[ValidatedModel], ValidatedModel]

EPSILONS = (1e-5, 1e-6, 1e-4, 1e-3, 1e-7, 1e-8, 1e-12, 0.0)
BASES = (10_000.0, 500_000.0, 1_000_000.0)
QUICK = 1 << 32
"""Weights times orders of heads up to which every pair of heads is tried, and each in one layer alone."""


@dataclass(frozen=True)
class Fault:
    """A possible cause: `text` completes the sentence "the engine differs as if ..."."""

    name: str
    text: str
    change: Change


def faults_of(model: ValidatedModel) -> Iterator[Fault]:
    """Yield the faults that can show on a model."""
    h, architecture = model.hyperparameters, model.architecture
    if architecture.positions == "rotary":
        other: Literal["adjacent", "halves"] = "adjacent" if architecture.rope_pairs == "halves" else "halves"
        pairs = "(i, i + D / 2)" if other == "halves" else "(2i, 2i + 1)"
        yield Fault(
            "rope-pairs",
            f"rotary pairs were {pairs}",
            lambda m: replace(m, architecture=replace(m.architecture, rope_pairs=other)),
        )
        yield Fault("rope-missing", "nothing were rotated", _with("rope", applied=False))
        for base in BASES:
            if base != h.rope.theta:
                text = f"the rotary base were {base:g}, not {h.rope.theta:g}"
                yield Fault("rope-theta", text, _with("rope", theta=base))
        if h.rope.scaling is not None:
            yield Fault("rope-scaling", "the rotary scaling of the file were ignored", _with("rope", scaling=None))
    for epsilon in EPSILONS:
        if abs(epsilon - h.rms_norm_epsilon) > 1e-3 * h.rms_norm_epsilon:
            text = f"the epsilon of norms were {epsilon:g}, not {h.rms_norm_epsilon:.3g}"
            yield Fault("epsilon", text, _with(rms_norm_epsilon=epsilon))
    if h.windows is not None:
        yield Fault("window-ignored", "the attention window were ignored", _with(windows=None))
    if h.scales.attention_softcap:
        yield Fault("softcap-ignored", "scores had no soft cap", _with("scales", attention_softcap=0.0))
    if h.scales.logit_softcap:
        yield Fault("logit-softcap-ignored", "logits had no soft cap", _with("scales", logit_softcap=0.0))
    yield Fault("attention-scale", "there were no attention scale", _with("scales", attention=1.0))
    if architecture.embedding_times_root:
        yield Fault(
            "embedding-scale",
            "embeddings were not scaled",
            lambda m: replace(m, architecture=replace(m.architecture, embedding_times_root=False)),
        )
    if "output.weight" in model.tensors:
        yield Fault("output-ignored", "output.weight were ignored and the embeddings used", _without("output.weight"))
    if "rope_freqs.weight" in model.tensors:
        yield Fault("rope-factors-ignored", "rope_freqs.weight were ignored", _without("rope_freqs.weight"))
    yield from _permuted(model)


def _with(group: str = "", **changes: object) -> Change:
    """Return a change of hyper-parameters, or of those of one group."""

    def change(model: ValidatedModel) -> ValidatedModel:
        h = model.hyperparameters
        changed = {group: replace(getattr(h, group), **changes)} if group else changes
        return replace(model, hyperparameters=replace(h, **changed))

    return change


def _without(name: str) -> Change:
    return lambda model: replace(model, tensors={key: one for key, one in model.tensors.items() if key != name})


# Rows of heads -------------------------------------------------------------------------------------------------------


class Rearranged:
    """A matrix with its rows in another order, stored as before."""

    storage = None

    def __init__(self, source: WeightSource, order: NDArray[np.intp]) -> None:
        self._source, self._order = source, order
        self.name, self.shape, self.type_name = source.name, source.shape, source.type_name

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return decoded rows."""
        return self._source.rows()[self._order[start:stop]]

    def stored(self) -> StoredRows:
        """Return the bytes of the rows."""
        if not isinstance(self._source, StoredSource):
            raise TypeError(f"{self.name} cannot say how it is stored")
        stored = self._source.stored()
        return StoredRows(stored.type, stored.rows[self._order])

    def quantized(self) -> QuantizedRows | None:
        """Return None: an option of SLM1 alone."""
        return None


def _permuted(model: ValidatedModel) -> Iterator[Fault]:
    """Yield orders of the rows of queries and keys: converters from Hugging Face permute them, some engines again."""
    h = model.hyperparameters
    first = next((name for name in model.tensors if name.endswith("attn_q.weight")), None)
    if first is None or h.head_count < 2 or h.layer_count < 1:
        return
    apart = np.arange(h.head_dim).reshape(-1, 2).T.reshape(-1)  # pairs side by side become halves
    for text, order in (("halves", apart), ("pairs", np.argsort(apart))):
        yield Fault(
            "head-permutation",
            f"the rows of queries and keys were permuted within each head ({text})",
            _rearranged({"attn_q.weight": (h.head_count, order), "attn_k.weight": (h.kv_head_count, order)}),
        )
    for layer, pair in _pairs(model):
        swapped = np.arange(h.head_count)
        swapped[list(pair)] = pair[::-1]
        rows = (swapped[:, None] * h.head_dim + np.arange(h.head_dim)).reshape(-1)
        yield Fault(
            "heads-swapped",
            f"query heads {pair[0]} and {pair[1]}{layer and f' of layer {layer}'} were in each other's place",
            _rearranged({f"{layer and f'blk.{layer}.'}attn_q.weight": (1, rows)}),
        )
    if h.kv_head_count not in (1, h.head_count):
        group = h.head_count // h.kv_head_count
        modulo = np.arange(h.head_count).reshape(group, h.kv_head_count).T.reshape(-1)
        rows = (modulo[:, None] * h.head_dim + np.arange(h.head_dim)).reshape(-1)
        yield Fault(
            "kv-heads-modulo",
            "query head h used key/value head h mod K, and outputs had that order",
            _rearranged({"attn_q.weight": (1, rows)}),
        )


def _pairs(model: ValidatedModel) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield a layer, none for all, and two heads: neighbours first, and where that is quick any two, everywhere."""
    h = model.hyperparameters
    pairs = sorted(combinations(range(h.head_count), 2), key=lambda pair: pair[1] - pair[0])
    layers = ("", *map(str, range(h.layer_count)))
    if len(pairs) * len(layers) * sum(prod(tensor.shape) for tensor in model.tensors.values()) > QUICK:
        pairs, layers = pairs[: h.head_count - 1], ("",)
    yield from product(layers, pairs)


def _rearranged(orders: dict[str, tuple[int, NDArray[np.intp]]]) -> Change:
    """Return a change of matrices by their last names: (heads, order of rows within each)."""

    def change(model: ValidatedModel) -> ValidatedModel:
        tensors = dict(model.tensors)
        for name, tensor in model.tensors.items():
            for tail, (heads, order) in orders.items():
                if name.endswith(tail) and tensor.shape[0] == heads * order.size:
                    rows = (np.arange(heads)[:, None] * order.size + order).reshape(-1)
                    tensors[name] = Rearranged(tensor, rows)
        return replace(model, tensors=tensors)

    return change
