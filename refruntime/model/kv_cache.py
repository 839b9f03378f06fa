"""Keep the keys and values of the positions that were forwarded (FW-9)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.limits import MAX_BUFFER_BYTES
from refruntime.errors import InvalidHeader
from refruntime.model.validated import Hyperparameters

FIRST_POSITIONS = 256


class KVCache:
    """Keys [L, D, K, P] and values [L, P, K, D] of P reserved positions; `length` is the visible length.

    P begins small and doubles up to the capacity, so that a file which claims a long context costs nothing until it is
    used. The axes are arranged so that sums over head_dim (keys) and over time (values) run along the first axis of a
    layer.
    """

    def __init__(self, hyperparameters: Hyperparameters, dtype: type[np.floating[Any]]) -> None:
        self.capacity = hyperparameters.max_context
        self.length = 0
        positions = min(self.capacity, FIRST_POSITIONS)
        layers, kv_heads, head_dim = (
            hyperparameters.layer_count,
            hyperparameters.kv_head_count,
            hyperparameters.head_dim,
        )
        self.keys: NDArray[Any] = np.zeros((layers, head_dim, kv_heads, positions), dtype)
        self.values: NDArray[Any] = np.zeros((layers, positions, kv_heads, head_dim), dtype)

    def store(self, layer: int, position: int, keys: NDArray[Any], values: NDArray[Any]) -> None:
        """Store keys and values [n, K, D] of positions `position` .. `position` + n - 1; the length stays."""
        end = position + keys.shape[0]
        if end > self.values.shape[1]:
            self._reserve(min(self.capacity, max(end, 2 * self.values.shape[1])))
        self.keys[layer, :, :, position:end] = keys.transpose(2, 1, 0)
        self.values[layer, position:end] = values

    def _reserve(self, positions: int) -> None:
        old = self.values.shape[1]
        keys, values = self.keys, self.values
        self.keys = np.zeros((*keys.shape[:3], positions), keys.dtype)
        self.values = np.zeros((values.shape[0], positions, *values.shape[2:]), values.dtype)
        self.keys[..., :old], self.values[:, :old] = keys, values

    def visible(self, layer: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return keys [D, K, T] and values [T, K, D] of the first T = `end` positions."""
        return self.keys[layer, :, :, :end], self.values[layer, :end]


def check_buffers(hyperparameters: Hyperparameters) -> None:
    """Refuse buffers that cannot exist on wasm32 before any is allocated: InvalidHeader (section 13, Statuses)."""
    h = hyperparameters
    cache = h.layer_count * h.max_context * h.kv_head_count * h.head_dim * 4
    scratch = scratch_bytes(h)
    for name, size in (("keys", cache), ("values", cache), ("scratch", scratch), ("logits", 4 * h.vocab_size)):
        if size > MAX_BUFFER_BYTES:
            raise InvalidHeader(
                f"the {name} buffer cannot exist on wasm32",
                rule="CL-statuses",
                field=name,
                expected=f"at most {MAX_BUFFER_BYTES} bytes",
                found=f"{size} bytes",
            )


def scratch_bytes(hyperparameters: Hyperparameters) -> int:
    """Return the scratch size of the published formula in bytes (DG-5)."""
    h = hyperparameters
    return 4 * (10 * h.hidden_size + 3 * h.ffn_size + h.max_context)
