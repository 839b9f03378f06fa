"""Keep the keys and values of the positions that were forwarded (FW-9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.limits import MAX_BUFFER_BYTES
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError, GenerationFailed, InvalidHeader, InvalidLength, ShapeMismatch
from refruntime.memory_limit import within_memory
from refruntime.model.hyperparameters import Hyperparameters

FIRST_POSITIONS = 256


class KVCache:
    """Keys [L, D, K, P] and values [L, P, K, D] of P reserved positions; `length` is the visible length.

    L counts the layers that attend. The others convolve or carry a state from position to position. What these read is
    kept by name [P, width], for all positions and not only the last few, so that a caller may go on at any length: the
    state there is a function of the rows before it, and is computed from them again when the last one is another's.

    P begins small and doubles up to the capacity, so that a file which claims a long context costs nothing until it is
    used. The axes are arranged so that sums over head_dim (keys) and over time (values) run along the first axis of a
    layer.
    """

    def __init__(self, hyperparameters: Hyperparameters, dtype: type[np.floating[Any]]) -> None:
        self.capacity = hyperparameters.max_context
        self.length = 0
        positions = min(self.capacity, FIRST_POSITIONS)
        h = hyperparameters
        attending = [at for at in range(h.layer_count) if h.attends(at) and h.keys_from(at) == at]
        self._heads = {layer: (h.head_dim_of(layer), h.kv_heads_of(layer)) for layer in attending}
        head_dim, kv_heads = np.array([(1, 1), *self._heads.values()]).max(axis=0)  # layers of other sizes use a part
        self._places = {layer: place for place, layer in enumerate(attending)}
        self.keys: NDArray[Any] = np.zeros((len(attending), head_dim, kv_heads, positions), dtype)
        self.values: NDArray[Any] = np.zeros((len(attending), positions, kv_heads, head_dim), dtype)
        self._rows: dict[tuple[int, str], NDArray[Any]] = {}
        self._states: dict[int, tuple[int, NDArray[Any]]] = {}

    def store(self, layer: int, position: int, keys: NDArray[Any], values: NDArray[Any]) -> None:
        """Store keys and values [n, K, D] of positions `position` .. `position` + n - 1; the length stays."""
        end, place = position + keys.shape[0], self._places[layer]
        self.reserve(end)
        head_dim, kv_heads = self._heads[layer]
        self.keys[place, :head_dim, :kv_heads, position:end] = keys.transpose(2, 1, 0)
        self.values[place, position:end, :kv_heads, :head_dim] = values

    @property
    def plain(self) -> bool:
        """Say whether nothing is kept of the positions but keys and values."""
        return not self._rows and not self._states

    def positions(self, begin: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return keys [L, D, K, n] and values [L, n, K, D] of positions `begin` .. `end` - 1."""
        return self.keys[..., begin:end], self.values[:, begin:end]

    def put(self, begin: int, keys: NDArray[Any], values: NDArray[Any]) -> None:
        """Put what `positions` gave back at `begin`; the length stays."""
        end = begin + values.shape[1]
        self.reserve(end)
        self.keys[..., begin:end], self.values[:, begin:end] = keys, values

    def store_rows(self, layer: int, name: str, position: int, x: NDArray[Any]) -> None:
        """Store rows of a layer [n, width] at `position` .. `position` + n - 1; the length stays."""
        end = position + x.shape[0]
        self.reserve(end)
        if (layer, name) not in self._rows:
            self._rows[layer, name] = np.zeros((self.values.shape[1], x.shape[1]), x.dtype)
        self._rows[layer, name][position:end] = x

    def reserve(self, end: int) -> None:
        """Make room for `end` positions."""
        old = self.values.shape[1]
        if end <= old:
            return
        positions = min(self.capacity, max(end, 2 * old))
        keys, values, rows = self.keys, self.values, self._rows
        each = (keys.nbytes + values.nbytes + sum(row.nbytes for row in rows.values())) // old  # bytes of a position
        needed = each * (old + positions)  # while they are copied, both are there
        with within_memory(needed, f"a context of {positions} positions", GenerationFailed):
            more_keys = np.zeros((*keys.shape[:3], positions), keys.dtype)
            more_values = np.zeros((values.shape[0], positions, *values.shape[2:]), values.dtype)
            more_rows = {key: np.zeros((positions, row.shape[1]), row.dtype) for key, row in rows.items()}
        more_keys[..., :old], more_values[:, :old] = keys, values
        for key, row in rows.items():
            more_rows[key][:old] = row
        self.keys, self.values, self._rows = more_keys, more_values, more_rows

    def visible(self, layer: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return keys [D, K, T] and values [T, K, D] of the first T = `end` positions."""
        place, (head_dim, kv_heads) = self._places[layer], self._heads[layer]
        return self.keys[place, :head_dim, :kv_heads, :end], self.values[place, :end, :kv_heads, :head_dim]

    def rows(self, layer: int, name: str, begin: int, end: int) -> NDArray[Any]:
        """Return rows of a layer at positions `begin` .. `end` - 1, zeros below 0: [n, width]."""
        known = self._rows[layer, name][max(begin, 0) : end]
        before = np.zeros((max(-begin, 0), known.shape[1]), known.dtype)
        return np.concatenate([before, known])

    def state(self, layer: int, length: int, empty: NDArray[Any]) -> tuple[int, NDArray[Any]]:
        """Return a state of a layer to go on from, with the number of positions behind it: at most `length`."""
        known = self._states.get(layer)
        return (0, empty) if known is None or known[0] > length else known

    def keep_state(self, layer: int, length: int, state: NDArray[Any]) -> None:
        """Keep the state of a layer behind the first `length` positions."""
        self._states[layer] = length, state


def first_cache_bytes(hyperparameters: Hyperparameters, dtype: type[np.floating[Any]]) -> int:
    """Return the bytes of a fresh cache."""
    h = hyperparameters
    attending = sum(h.attends(layer) for layer in range(h.layer_count))
    others = h.layer_count - attending
    width = 0 if h.recurrent is None else max(h.hidden_size, 2 * h.recurrent.width)
    numbers = 2 * attending * h.kv_head_count * h.head_dim + others * width
    return numbers * min(h.max_context, FIRST_POSITIONS) * np.dtype(dtype).itemsize


_REFUSALS: Final[Mapping[str, type[ContractError]]] = {
    "6": InvalidHeader,
    "2": InvalidLength,
    "9": ShapeMismatch,
    "13": GenerationFailed,
}


def check_buffers(hyperparameters: Hyperparameters, profile: Profile) -> None:
    """Refuse buffers that cannot exist on wasm32 before any is allocated (section 13, Statuses): 6, or 2, 9, 13."""
    h = hyperparameters
    cache = h.layer_count * h.max_context * h.kv_head_count * h.head_dim * 4
    scratch = scratch_bytes(h)
    for name, size in (("keys", cache), ("values", cache), ("scratch", scratch), ("logits", 4 * h.vocab_size)):
        if size > MAX_BUFFER_BYTES:
            raise _REFUSALS[profile.oversized_buffer](
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
