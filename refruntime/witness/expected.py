"""What should be in memory: named float32 arrays in the order of their dependencies, as the oracle computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.model.forward import Transformer
from refruntime.model.kv_cache import KVCache
from refruntime.trace import Event, TensorEvent

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Expected:
    """One array that a build should hold at some moment: [n] or [rows, n].

    `needs` names those that it is computed from, among the earlier ones of the list. `lasting` says that it must still
    be there when the call is over, such as a row of a cache. `optional` says that a build may well keep it nowhere, so
    that more than something alike is needed to call it wrong.
    """

    name: str
    values: Float32
    needs: tuple[str, ...] = ()
    lasting: bool = False
    optional: bool = False


NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "attn_k": ("attn_norm",),
    "attn_v": ("attn_norm",),
    "attn_q_norm": ("attn_q",),
    "attn_k_norm": ("attn_k",),
    "attn_q.rope": ("attn_q_norm", "attn_q"),
    "attn_k.rope": ("attn_k_norm", "attn_k"),
    "cache_k": ("attn_k.rope", "attn_k_norm", "attn_k"),
    "cache_v": ("attn_v",),
    "attn.scores": ("attn_q.rope", "attn_q_norm", "attn_q", "cache_k"),
    "attn.weights": ("attn.scores",),
    "attn.mixed": ("attn.weights", "cache_v"),
    "ffn_up": ("ffn_norm",),
    "ffn_hidden": ("ffn_gate", "ffn_up"),
}
"""What a tensor of a layer is computed from, where that is not simply the tensor before it."""

EITHER: Final = {"attn_q.rope", "attn_k.rope", "cache_k"}
"""Of these the first of `NEEDS` that exists counts."""


def of_position(transformer: Transformer, ids: Sequence[int], position: int) -> list[Expected]:
    """Return what the oracle computes at a position of known ids: as many as are traced, then keys and values.

    The shapes are those of the trace without the axis of positions; attention is [heads, position + 1].
    """
    cache = transformer.new_cache()
    if position:
        transformer.forward(list(ids[:position]), cache)
    listener = _Listener()
    transformer.forward([ids[position]], cache, tracer=listener)
    expected: list[Expected] = []
    for name, values in _with_cache(listener.tensors, cache, position):
        rows = values.reshape(-1, values.shape[-1]) if values.size else values.reshape(1, -1)
        needs = _needs(name, [tensor.name for tensor in expected])
        expected.append(Expected(name, np.ascontiguousarray(rows), needs, ".cache_" in name))
    return expected


def _needs(name: str, before: list[str]) -> tuple[str, ...]:
    if not before:
        return ()
    block, _, kind = name.partition(".")[2].partition(".") if name.startswith("blk.") else ("", "", name)
    wanted = [f"blk.{block}.{other}" for other in NEEDS.get(kind, ())]
    found = [other for other in wanted if other in before]
    if not found:
        return (before[-1],)
    if kind in EITHER:
        return (found[0],)
    if kind == "attn.scores":  # the query in its last form, and the key as it is stored
        return (found[0], *(other for other in found[1:] if other.endswith("cache_k")))
    return tuple(found)


def _with_cache(tensors: list[tuple[str, Float32]], cache: KVCache, position: int) -> list[tuple[str, Float32]]:
    """Put the stored key and value of each layer before what reads them."""
    result: list[tuple[str, Float32]] = []
    for name, values in tensors:
        if name.endswith(".attn.scores"):
            block = name.removesuffix(".attn.scores")
            keys, stored = cache.visible(int(block.removeprefix("blk.")), position + 1)
            result.append((block + ".cache_k", keys[:, :, position].T))
            result.append((block + ".cache_v", stored[position]))
        result.append((name, values))
    return result


class _Listener:
    def __init__(self) -> None:
        self.tensors: list[tuple[str, Float32]] = []

    def event(self, event: Event) -> None:
        if isinstance(event, TensorEvent):
            values: Any = np.asarray(event.values())
            if values.dtype != np.float32:
                return
            if event.name.endswith(("attn.scores", "attn.weights")):
                values = values[:, 0]  # [A, 1, T] -> [A, T]
            self.tensors.append((event.name, values))
