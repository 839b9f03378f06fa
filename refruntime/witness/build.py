"""Look into a build with the 13 exports: which number of a generation is the first wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.engines.base import Limits
from refruntime.engines.wasm.pauses import PausableInstance, PausableModule
from refruntime.numerics import Numerics
from refruntime.witness.expected import Float32
from refruntime.witness.fault import Plan
from refruntime.witness.kv_map import find_cache
from refruntime.witness.locate import bits
from refruntime.witness.looking import Look, look, with_finding
from refruntime.witness.oracle import CHOICE, OracleRun, Sampling
from refruntime.witness.patterns import Pattern
from refruntime.witness.recording import WatchedCall
from refruntime.witness.windows import Windows, even_windows, windows_by_cache

EXPORT: Final = "generate"
CONTINUATION: Final = "generate_next_token"
EMBEDDING: Final = "token_embd"
OTHER_TOKEN: Final = "another token"
MOST_STATES: Final = 256
MOST_RUNS: Final = 4
"""So many stretches of wrong positions are looked at."""


class CannotLook(Exception):
    """The build did not do what was to be looked at; the message says what it did instead."""


@dataclass(frozen=True)
class PositionLook:
    """A look at one position."""

    position: int
    look: Look


@dataclass
class Witness:
    """One build, one model, one prompt; looks are made on demand and every one is remembered.

    `continued` calls of `generate_next_token` follow the generation of `new_tokens`. `fit` gives the model the checksum
    that the build expects (ID-2).

    CannotLook when the build refuses the model or the configuration; ContractError when the oracle does; EngineError as
    `PausableInstance`.
    """

    module: bytes
    artifact: bytes
    prompt: bytes
    new_tokens: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    profile: Profile = field(default_factory=Profile)
    numerics: str | Numerics = "seq32"
    limits: Limits = field(default_factory=Limits)
    continued: int = 0
    fit: Callable[[bytes], bytes] = lambda data: data

    def __post_init__(self) -> None:
        arguments = self.prompt, self.new_tokens, self.sampling, self.profile, self.numerics, self.continued
        self.oracle = OracleRun(self.artifact, *arguments)
        self.status = int(Status.Ok)
        """Status of the generation of the build; numbers may be looked at though it failed, for example over a text."""
        self.result: bytes | None = None
        """What `generate` of the build gave, None where it failed."""
        self.continuations: list[bytes] = []
        self.call = WatchedCall(PausableModule(self.module, self.limits), self._perform, EXPORT)
        instance = self.call.run()
        self.fuel = instance.fuel_of_watched
        memory = instance.words()
        keys, values = self.oracle.cache()
        self.values = find_cache(memory, values)
        self.keys = find_cache(memory, keys, self.values)
        if self.values is None and self.keys is not None:
            self.values = find_cache(memory, values, self.keys)
        self.looks: dict[int, Look] = {}
        self.windows = self._windows()

    @property
    def ids(self) -> list[int]:
        """Return the tokens that the oracle forwards: those of the prompt, then those that it generates."""
        return self.oracle.ids

    def _perform(self, instance: PausableInstance) -> None:
        client = Client(instance)
        s = self.sampling
        for what, status in (
            ("load_model", client.load_model(self.fit(self.artifact))),
            ("set_sampling_config", client.set_sampling_config(s.temperature, s.top_k, s.top_p, s.seed)),
        ):
            if status != Status.Ok:
                raise CannotLook(f"{what} of the build gave status {status}: {client.result()!r}")
        self.status = client.generate(self.prompt, self.new_tokens)
        self.result, self.continuations = client.result() if self.status == Status.Ok else None, []
        for _ in range(self.continued):
            if client.status(CONTINUATION) != Status.Ok:
                break
            self.continuations.append(client.result())

    def _windows(self) -> Windows:
        parts = [part for part in (self.keys, self.values) if part is not None]
        usable = [part for part in parts if (part.word >= 0).all(axis=(1, 2)).any()]
        if not usable:
            return even_windows(self.fuel, len(self.ids))
        return windows_by_cache(self.call, self.fuel, usable)

    def first_position(self) -> int | None:
        """Return the first position whose keys or values are wrong, None if all that were found are right."""
        return next(iter(self._wrong_runs()), None)

    def _wrong_runs(self) -> list[int]:
        """Return the first position of each stretch of positions whose keys or values are wrong."""
        wrong = np.zeros(len(self.ids) + 1, np.bool_)
        for part in (self.keys, self.values):
            if part is not None:
                wrong[1:] |= part.wrong.any(axis=0)
        return np.flatnonzero(wrong[1:] & ~wrong[:-1]).tolist()

    def look_at(self, position: int) -> Look:
        """Stop the build at many points of one position and align what is there with the oracle."""
        if position not in self.looks:
            number = self.oracle.continuation(position)
            call, (begin, end) = self.call, self.windows.of(position)
            if number is not None:
                call = WatchedCall(self.call.module, self._perform, CONTINUATION, number)
                begin, end = 0, call.run().fuel_of_watched
            clean = max((at for at, seen in self.looks.items() if seen.verdict == "clean"), default=None)
            plan = None if clean is None else self.looks[clean].plan()
            plan = replace(plan or Plan(), places={**(plan.places if plan else {}), **self._kept(position)})
            expected = self.oracle.expected(position)
            self.looks[position] = look(call, expected, begin, end, lambda: self.oracle.known(position), plan)
        return self.looks[position]

    def _kept(self, position: int) -> dict[str, tuple[int, ...]]:
        """Return where the caches have keys and values of a position, by layer, if each lies there in one piece."""
        places: dict[str, tuple[int, ...]] = {}
        dimensions = self.oracle.model.hyperparameters
        for name, part in (("cache_k", self.keys), ("cache_v", self.values)):
            if part is None or part.stride != 1 or len(part.word) != dimensions.layer_count:
                continue
            for layer, words in enumerate(part.word[:, position].tolist()):
                size, first = dimensions.head_dim, words[0]
                if first >= 0 and words == [first + size * head for head in range(len(words))]:
                    places[f"blk.{layer}.{name}"] = (words[0],)
        return places

    def at(self, position: int) -> PositionLook:
        """Return the look at a position."""
        return PositionLook(position, self.look_at(position))

    def earliest(self) -> PositionLook:
        """Return the look at the earliest position with a wrong number; if all is right, that at the last position.

        The caches say where a run left the path. When its token is already another one there, what came before decides:
        the numbers of the position before, and the sampler.
        """
        found = self._earliest()
        at, seen = self._by_next(found.position, found.look)
        for before in sorted(before for before in self.looks if before <= at):
            row = self._other_row(before)
            if row is not None:
                return PositionLook(before, with_finding(self.looks[before], EMBEDDING, row))
        return PositionLook(at, seen)

    def _earliest(self) -> PositionLook:
        position, last = self.first_position(), len(self.ids) - 1
        other = self.oracle.other_token(self.result, self.continuations)
        if other is not None and (position is None or position >= other):
            return self._before_token(other)
        if position is None:
            tried = [self.oracle.prompt_length - 1, last]
            if self.keys is None and self.values is None:
                tried = [0, min(1, last), *tried]
        else:  # what is right before teaches where everything lies; what is right there was written over later
            tried = [at for start in self._wrong_runs()[:MOST_RUNS] for at in (max(0, start - 1), start)]
        for at in dict.fromkeys(tried):
            seen = self.look_at(at)
            if seen.verdict == "wrong":
                break
        if position is None and seen.verdict == "wrong":
            at, seen = self._earlier(at)
        return PositionLook(at, seen)

    def _by_next(self, position: int, seen: Look) -> tuple[int, Look]:
        """Ask the next position which of several arrays is wrong that have the same numbers at position 0.

        Nothing turns there, and attention to a single key gives its value.
        """
        if position or seen.first is None or len(self.ids) < 2:
            return position, seen
        first, by_name = seen.first, {sighting.name: sighting for sighting in seen.sightings}
        alike, waiting = set(), list(first.sighting.expected.needs)
        while waiting:
            name = waiting.pop()
            if by_name[name].state != "equal" and name not in alike:
                alike.add(name)
                waiting += by_name[name].expected.needs
        if not alike:
            return position, seen
        next_ = self.look_at(1)
        if next_.first is None or next_.first.name not in alike:
            return position, seen
        same = next((name for name in alike if name == next_.first.name), "")
        if first.sighting.expected.lasting and np.array_equal(
            by_name[same].expected.values.reshape(-1), first.sighting.expected.values.reshape(-1)
        ):
            return position, with_finding(seen, same, first.pattern)  # its numbers were stored as they were
        return 1, next_

    def _other_row(self, position: int) -> Pattern | None:
        """Say which row of the table was taken where neither the right one nor its norm is there; None if unknown."""
        begins = self.looks[position].sightings[:2]
        looks = self.looks.values()
        right = (x for x in looks if any(s.name == EMBEDDING and s.state == "equal" for s in x.sightings))
        other = next(right, None)
        if begins[0].name != EMBEDDING or any(sighting.state == "equal" or sighting.reason for sighting in begins):
            return None
        if other is None and position:
            other = self.look_at(position - 1)
        token = None if other is None else forwarded_token(self.looks[position], other, self.oracle.embedding())
        if token is None or token == self.ids[position]:
            return None
        size = self.oracle.embedding().shape[1]
        return Pattern("wrong row", f"all {size} are those of token {token} instead of {self.ids[position]}")

    def _earlier(self, wrong: int) -> tuple[int, Look]:
        """Return an earlier wrong position where the caches show none: halfway between a clean one and a wrong one.

        A number that is wrong now and then may be wrong before, too.
        """
        clean = -1
        for probe in (0, 1):
            if probe < wrong:
                if self.look_at(probe).verdict == "wrong":
                    return probe, self.look_at(probe)
                clean = probe
        while wrong - clean > 1:
            middle = (wrong + clean) // 2
            if self.look_at(middle).verdict == "wrong":
                wrong = middle
            else:
                clean = middle
        return wrong, self.look_at(wrong)

    def _before_token(self, position: int) -> PositionLook:
        """Return what went wrong before another token was forwarded at a position."""
        for before in dict.fromkeys((self.oracle.prompt_length - 1, position - 1)):
            if self.look_at(before).verdict == "wrong":
                return PositionLook(*self._earlier(before))
        before, text = position - 1, "the generation should stop"
        if position < len(self.ids):
            token = forwarded_token(self.look_at(position), self.look_at(before), self.oracle.embedding())
            if token == self.ids[position]:
                return self.at(position)
            text = f"token {self.ids[position]} should follow, " + (
                "another one did" if token is None else f"{token} did"
            )
        return PositionLook(before, with_finding(self.look_at(before), CHOICE, Pattern(OTHER_TOKEN, text)))


def forwarded_token(seen: Look, before: Look, embedding: Float32) -> int | None:
    """Return the token whose row of `embedding` [V, H] lay where that of the position before lay, None if none did."""
    places = [sighting.places for sighting in before.sightings if sighting.name == EMBEDDING]
    if not places or len(places[0]) != 1 or places[0][0] is None:
        return None
    home = int(before.log.address[places[0][0].word])
    where = np.flatnonzero(seen.log.address == home)
    size = embedding.shape[1]
    if not len(where) or int(where[0]) + size > len(seen.log.address):
        return None
    words = int(where[0]) + np.arange(size)
    for pause in seen.presence.changes_of(words)[:MOST_STATES].tolist():
        same = (bits(embedding) == seen.presence.value_at(words, pause)).all(axis=1)
        if same.any():
            return int(np.argmax(same))
    return None
