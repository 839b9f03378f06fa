"""Logits after any ids, from one KV cache that is cut back to what they share with the ids before.

The arithmetic of a position depends on the ids up to it alone (GEN-4), so the logits after given ids are always the
same bits, whatever was asked before. That is what makes going back and branching exact without copying any state.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.model.forward import Transformer
from refruntime.trace import Event, TensorEvent

Float32 = NDArray[np.float32]


class PrefixCache:
    """Answer for one model in memory. An interrupted call leaves nothing behind that a later one would notice.

    `forwarded` counts the positions that `logits` computed.
    """

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer
        self._cache = transformer.new_cache()
        self._ids: list[int] = []
        self.forwarded = 0

    @property
    def capacity(self) -> int:
        """Return the number of positions of the context."""
        return self._cache.capacity

    def shared(self, ids: Sequence[int]) -> int:
        """Return how many of `ids`, from the first on, `logits` does not compute again: never the last one."""
        return min(_shared(self._ids, ids), len(ids) - 1)

    def logits(self, ids: Sequence[int]) -> Float32:
        """Return the float32 logits after `ids`, at least one of them and at most the capacity: [V] (FW-2)."""
        shared = self.shared(ids)
        del self._ids[shared:]
        self._cache.length = shared
        row = self.transformer.forward(list(ids[shared:]), self._cache)[-1]  # [V]
        self.forwarded += len(ids) - shared
        self._ids.extend(ids[shared:])
        return as_float32(row)

    def tensors(self, ids: Sequence[int], wanted: str = "*") -> dict[str, NDArray[Any]]:
        """Return intermediates of a pass over `ids` whose names fit the shell pattern `wanted`, positions first."""
        listener = _Listener(wanted)
        self.transformer.forward(list(ids), self.transformer.new_cache(), first_logit=0, tracer=listener)
        return listener.joined()


def as_float32(row: NDArray[Any]) -> Float32:
    """Round logits of any numeric profile to what a sampler sees: [V] -> [V]."""
    with np.errstate(over="ignore"):
        return row.astype(np.float32)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many ids both begin with."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


class _Listener:
    """Keep tensor events that fit a pattern. A long pass comes in parts, which are joined along the positions."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def event(self, event: Event) -> None:
        if isinstance(event, TensorEvent) and fnmatchcase(event.name, self._wanted):
            self._parts.setdefault(event.name, []).append(np.asarray(event.values()))

    def joined(self) -> dict[str, NDArray[Any]]:
        return {name: _joined(name, parts) for name, parts in self._parts.items()}


def _joined(name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
    if len(parts) == 1:
        return parts[0]
    if not name.endswith(("attn.scores", "attn.weights")):
        return np.concatenate(parts)  # [n, ...]
    width = parts[-1].shape[2]  # [A, n, T]: later parts see more positions
    fill = -np.inf if name.endswith("scores") else 0.0
    padded = [np.pad(part, ((0, 0), (0, 0), (0, width - part.shape[2])), constant_values=fill) for part in parts]
    return np.concatenate(padded, axis=1)
