"""Compare the intermediates of two passes over the same tokens as they come, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.trace import Event, TensorEvent

NOT_COMPARED = ("attn.scores",)
"""Masked scores are infinite; what follows from them is compared."""


@dataclass(frozen=True)
class TensorError:
    """Relative error |a - b| / |a| of the rows of one tensor, Euclidean norm; `worst` is the position of `largest`."""

    name: str
    mean: float
    largest: float
    worst: int

    @property
    def layer(self) -> int | None:
        """Return the layer that the tensor belongs to, None for those outside of the layers."""
        parts = self.name.split(".")
        return int(parts[1]) if parts[0] == "blk" and len(parts) > 2 and parts[1].isdigit() else None


class Keeper:
    """A tracer that keeps every tensor of a pass, as float32."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], NDArray[Any]] = {}

    def event(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, TensorEvent) and not event.name.endswith(NOT_COMPARED):
            self.kept[event.name, event.position] = np.asarray(event.values())


class Comparer:
    """A tracer that compares a second pass with the tensors of a first one."""

    def __init__(self, first: Keeper) -> None:
        self._first = first.kept
        self._errors: dict[str, list[tuple[int, NDArray[np.float64]]]] = {}

    def event(self, event: Event) -> None:
        """Take one event; a tensor that the first pass did not have, or of another shape, is left out."""
        if not isinstance(event, TensorEvent):
            return
        mine = self._first.get((event.name, event.position))
        if mine is None or mine.shape != event.shape:
            return
        rows = 1 if event.name.endswith("attn.weights") else 0  # [A, n, T] there, positions first elsewhere
        error = relative_error(np.moveaxis(mine, rows, 0), np.moveaxis(np.asarray(event.values()), rows, 0))
        self._errors.setdefault(event.name, []).append((event.position, error))

    def errors(self) -> Iterator[TensorError]:
        """Yield the error of every tensor in the order of the pass."""
        for name, parts in self._errors.items():
            positions = np.concatenate([np.arange(start, start + error.size) for start, error in parts])
            values = np.concatenate([error for _, error in parts])
            place = int(np.argmax(values))
            yield TensorError(name, float(values.mean()), float(values[place]), int(positions[place]))


def relative_error(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Return |a - b| / |a| of every row in the Euclidean norm: [n, ...] twice -> [n]; 0 where both are zero."""
    ours = first.reshape(first.shape[0], -1).astype(np.float64)
    theirs = second.reshape(second.shape[0], -1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        distance, size = np.linalg.norm(ours - theirs, axis=1), np.linalg.norm(ours, axis=1)
        error: NDArray[np.float64] = np.where(distance == 0, 0.0, distance / size)
    return error
