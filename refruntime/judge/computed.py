"""Compute a model under many arithmetics: each matrix is stored once for all that store it alike, each row once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.judge.policies import Make
from refruntime.model.forward import Transformer
from refruntime.model.stacks import MatrixOfStack
from refruntime.model.validated import ValidatedModel, WeightSource
from refruntime.model.weights import Store
from refruntime.numerics import Numerics

Rows = NDArray[Any]

STORAGES: Final = 2
"""Ways to store matrices that are kept at once: f64 and its neighbours need two."""
MOST_BYTES: Final = 1 << 29
"""Rows that are remembered."""


class ComputedRows:
    """Logits of one model, and of what faults make of it, under any arithmetic.

    Arithmetics are told apart by what makes them, so a caller keeps these.
    """

    def __init__(self, model: ValidatedModel, profile: Profile) -> None:
        self._model, self._profile = model, profile
        self._own = {id(tensor) for tensor in model.tensors.values()}
        self._stored: dict[str, dict[Hashable, Any]] = {}  # oldest use first
        self._known: dict[tuple[Make, tuple[int, ...]], Rows] = {}  # oldest use first

    def transformer(self, numerics: Numerics, model: ValidatedModel | None = None) -> Transformer:
        """Bind the model, or a changed one that shares tensors with it."""
        return Transformer(model or self._model, self._profile, numerics, self._store(numerics))

    def rows(self, make: Make, ids: Sequence[int], model: ValidatedModel | None = None) -> Rows:
        """Return the logits behind all ids [T, V], of this model or of a changed one."""
        key = make, tuple(ids)
        known = self._known.pop(key, None) if model is None else None
        if known is None:
            transformer = self.transformer(make(), model)
            known = transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids))
        if model is None:
            self._known[key] = known
            while len(self._known) > 1 and sum(rows.nbytes for rows in self._known.values()) > MOST_BYTES:
                del self._known[next(iter(self._known))]
        return known

    def _store(self, numerics: Numerics) -> Store:
        stored = self._stored.pop(numerics.storage, {})
        self._stored[numerics.storage] = stored
        while len(self._stored) > STORAGES:
            del self._stored[next(iter(self._stored))]

        def store(sources: Sequence[WeightSource]) -> Any:
            key = tuple(map(self._identity, sources))
            if None in key:  # a fault made it
                return numerics.matrix(sources)
            if key not in stored:
                stored[key] = numerics.matrix(sources)
            return stored[key]

        return store

    def _identity(self, source: WeightSource) -> Hashable:
        """Return what a matrix of this model is known by, None for one that is not of it."""
        if isinstance(source, MatrixOfStack):
            return (id(source.stack), source.index) if id(source.stack) in self._own else None
        return id(source) if id(source) in self._own else None
