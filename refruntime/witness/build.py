"""Look into a build with the 13 exports: which number of a generation is the first wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.api import Model, open_model
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.engines.base import Limits
from refruntime.engines.wasm.pauses import PausableInstance, PausableModule
from refruntime.numerics import Numerics
from refruntime.witness.expected import Expected, Float32, of_position
from refruntime.witness.kv_map import CacheMap, cached, find_cache
from refruntime.witness.look import Look, look
from refruntime.witness.recording import WatchedCall
from refruntime.witness.sightings import kind_of
from refruntime.witness.windows import Windows, even_windows, windows_by_cache

EXPORT: Final = "generate"


class CannotLook(Exception):
    """The build did not do what was to be looked at; the message says what it did instead."""


@dataclass(frozen=True)
class Sampling:
    """A sampling configuration (SC-2); greedy by default."""

    temperature: float = 0.0
    top_k: int = 1
    top_p: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class PositionLook:
    """A look at one position."""

    position: int
    look: Look


@dataclass
class Witness:
    """One build, one model, one prompt; looks are made on demand and every one is remembered.

    `ids` are the tokens that the oracle forwards: those of the prompt, then those that it generates. CannotLook when
    the build refuses the model or the prompt; ContractError when the oracle does; EngineError as `PausableInstance`.
    """

    module: bytes
    artifact: bytes
    prompt: bytes
    new_tokens: int = 1
    sampling: Sampling = Sampling()
    profile: Profile = field(default_factory=Profile)
    numerics: str | Numerics = "seq32"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.model: Model = open_model(self.artifact, self.profile, self.numerics)
        s = self.sampling
        options: dict[str, Any] = {"temperature": s.temperature, "top_k": s.top_k, "top_p": s.top_p, "seed": s.seed}
        generation = self.model.generate(self.prompt, self.new_tokens, **options)
        if generation.error is not None:
            raise generation.error
        capacity = self.model.hyperparameters.max_context
        self.prompt_length = len(generation.prompt_ids)
        self.ids: list[int] = [*generation.prompt_ids, *generation.generated_ids][:capacity]
        self.call = WatchedCall(PausableModule(self.module, self.limits), self._perform, EXPORT)
        instance = self.call.run()
        self.fuel = instance.fuel_of_watched
        self.memory = instance.words().copy()
        self.looks: dict[int, Look] = {}
        cache = self.model.transformer.new_cache()
        self.model.transformer.forward(self.ids, cache)
        keys, values = cached(cache, len(self.ids))
        self.values = self._cache_map(values)
        self.keys = self._cache_map(keys, self.values)
        if self.values is None and self.keys is not None:
            self.values = self._cache_map(values, self.keys)
        self.windows = self._windows()

    def _perform(self, instance: PausableInstance) -> None:
        client = Client(instance)
        s = self.sampling
        for what, status in (
            ("load_model", client.load_model(self.artifact)),
            ("set_sampling_config", client.set_sampling_config(s.temperature, s.top_k, s.top_p, s.seed)),
            ("generate", client.generate(self.prompt, self.new_tokens)),
        ):
            if status != Status.Ok:
                raise CannotLook(f"{what} of the build gave status {status}: {client.result()!r}")

    def _cache_map(self, expected: Float32, like: CacheMap | None = None) -> CacheMap | None:
        return find_cache(self.memory, expected, like) if expected.size else None

    def _windows(self) -> Windows:
        usable = self.keys if self.keys is not None else self.values
        if usable is None or not (usable.word >= 0).all(axis=(1, 2)).any():
            return even_windows(self.fuel, len(self.ids))
        return windows_by_cache(self.call, self.fuel, usable)

    # Looks -----------------------------------------------------------------------------------------------------------

    def first_position(self) -> int | None:
        """Return the first position whose keys or values are wrong, None if all that were found are right."""
        wrong = np.zeros(len(self.ids), np.bool_)
        for part in (self.keys, self.values):
            if part is not None:
                wrong |= part.wrong.any(axis=0)
        return int(np.argmax(wrong)) if wrong.any() else None

    def look_at(self, position: int) -> Look:
        """Stop the build at many points of one position and align what is there with the oracle."""
        if position not in self.looks:
            begin, end = self.windows.of(position)
            expected = self.expected(position)
            self.looks[position] = look(self.call, expected, begin, end, self._known(position, expected))
        return self.looks[position]

    def at(self, position: int) -> PositionLook:
        """Return the look at a position."""
        return PositionLook(position, self.look_at(position))

    def expected(self, position: int) -> list[Expected]:
        """Return what the oracle computes at a position."""
        return of_position(self.model.transformer, self.ids, position)

    def _known(self, position: int, expected: Sequence[Expected]) -> dict[str, Float32]:
        """Return what may stand in the place of an array: those of the position before."""
        known: dict[str, Float32] = {}
        if position:
            for item in self.expected(position - 1):
                known[f"the same at position {position - 1}: {item.name}"] = item.values
        return known

    def earliest(self) -> PositionLook:
        """Return the look at the earliest position with a wrong number; if all is right, that at the last position.

        The caches say where a run left the path. When its token is already another one there, the numbers before it
        decide: those of the position before.
        """
        position = self.first_position()
        last = self.prompt_length - 1
        if position is None:
            tried = [last] if self.keys is not None or self.values is not None else [0, min(1, last), last]
            tried.append(len(self.ids) - 1)
        else:
            tried = [position]
        for at in dict.fromkeys(tried):
            seen = self.look_at(at)
            if seen.verdict == "wrong":
                break
        first = seen.first
        if at and first is not None and kind_of(first.name) == "token_embd" and at >= self.prompt_length:
            before = self.look_at(at - 1)
            if before.verdict == "wrong":
                return PositionLook(at - 1, before)
        return PositionLook(at, seen)


Wrong = NDArray[np.bool_]
