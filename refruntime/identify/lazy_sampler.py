"""A sampler that reads a switch only where its options lead to different tokens.

The stages of the sampler read about ten switches for every token, and almost always their options agree on it. So all
choices are tried at once, stage by stage with equal intermediates taken together; only a switch that decides between
different outcomes is then read from the profile. Which token comes out is decided by the sampler's own stages alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.identify.reading import SWITCHES, ReadingProfile, every_choice
from refruntime.sampling import STAGES, Choice, SamplingConfig, Stages, sample

Float32 = NDArray[np.float32]

MOST_REMEMBERED: Final = 20_000

SAMPLER: Final = frozenset(
    switch.attribute for switch in Profile.switches() if switch.rule.startswith(("SA-", "PR-1", "PR-3"))
)
"""Switches that the stages read."""


class _Kept(Exception):
    """A sampler got as far as the draw: candidates, their weights and the kept prefix."""

    def __init__(self, ids: NDArray[np.int64], weighing: Any, cut: Any) -> None:
        self.ids, self.weighing, self.cut = ids, weighing, cut


class _Prefix(NamedTuple):
    """What choices before the draw lead to: a token without a draw, or the kept prefix."""

    token: int | None
    ids: NDArray[np.int64] | None = None
    weighing: Any = None
    cut: Any = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what the draw depends on."""
        if self.ids is None:
            return (self.token,)
        kept = self.cut.kept
        sums = self.weighing.cumulative[:kept]
        return (self.ids[:kept].tobytes(), sums.tobytes(), float(self.cut.mass))


class Outcomes(NamedTuple):
    """The number of the outcome for every choice, one axis for each switch of `names`, and the outcomes."""

    names: tuple[str, ...]
    numbers: NDArray[np.int64]
    values: tuple[tuple[int, int, bool], ...]


class LazySampler:
    """Sample as the contract says, and read from a `ReadingProfile` no more than decides the token."""

    def __init__(self) -> None:
        self._prefixes: dict[Any, list[tuple[Mapping[str, Any], _Prefix]]] = {}
        self._outcomes: dict[Any, Outcomes] = {}

    def __call__(
        self, logits: Float32, config: SamplingConfig, generator_state: int, profile: Profile, stages: Stages = STAGES
    ) -> Choice:
        """Choose a token from float32 logits [V]; the state of the generator afterwards is in the result."""
        if config.temperature == 0 or not isinstance(profile, ReadingProfile) or not profile.open_switches & SAMPLER:
            return sample(logits, config, generator_state, profile, stages)
        outcomes = self._all_outcomes(logits, config, generator_state, profile, stages)
        names = list(outcomes.names)
        numbers: Any = outcomes.numbers
        for name in outcomes.names:  # what is chosen already needs no thought
            value = profile.chosen(name)
            if value is not None:
                numbers = numbers.take(SWITCHES[name].index(value), axis=names.index(name))
                names.remove(name)
        while (numbers != numbers.flat[0]).any():
            deciding = next(name for axis, name in enumerate(names) if _decides(numbers, axis))
            value = getattr(profile, deciding)
            numbers = numbers.take(SWITCHES[deciding].index(value), axis=names.index(deciding))
            names.remove(deciding)
        token, after, _ = outcomes.values[int(numbers.flat[0])]
        return Choice(token, after)

    def _all_outcomes(
        self, logits: Float32, config: SamplingConfig, state: int, profile: ReadingProfile, stages: Stages
    ) -> Outcomes:
        numbers = (float(config.temperature), config.top_k, float(config.top_p))
        setting = (logits.tobytes(), *numbers, profile.settled, stages)
        key = (*setting, state)
        if key not in self._outcomes:
            if len(self._outcomes) > MOST_REMEMBERED:
                self._outcomes.clear()
            if setting not in self._prefixes:
                prefixes = every_choice(profile, lambda own: _prefix(logits, config, own, stages))
                self._prefixes[setting] = prefixes
            self._outcomes[key] = _outcomes(self._prefixes[setting], state, profile, stages)
        return self._outcomes[key]


def _decides(numbers: NDArray[np.int64], axis: int) -> bool:
    return bool((numbers != numbers.take([0], axis=axis)).any())


def _prefix(logits: Float32, config: SamplingConfig, profile: Profile, stages: Stages) -> _Prefix:
    """Run the sampler up to the draw."""
    ids: list[NDArray[np.int64]] = []

    def select(values: Float32, top_k: int, own: Profile) -> Any:
        selection = stages.select(values, top_k, own)
        ids.append(selection.ids)
        return selection

    def draw(state: int, own: Profile) -> Any:
        return _NO_DRAW

    def pick(weighing: Any, cut: Any, unit: Any, own: Profile) -> Any:
        raise _Kept(ids[-1], weighing, cut)

    try:
        choice = sample(logits, config, 1, profile, stages._replace(select=select, draw=draw, pick=pick))
    except _Kept as kept:
        return _Prefix(None, kept.ids, kept.weighing, kept.cut)
    return _Prefix(choice.token)


class _NoDraw(NamedTuple):
    after: int = 0
    unit: float = 0.0


_NO_DRAW: Final = _NoDraw()


def _outcomes(
    prefixes: list[tuple[Mapping[str, Any], _Prefix]], state: int, profile: ReadingProfile, stages: Stages
) -> Outcomes:
    draws = every_choice(profile, lambda own: stages.draw(state, own))
    picks: dict[Any, list[tuple[dict[str, Any], tuple[int, int, bool]]]] = {}
    for _, prefix in prefixes:
        if prefix.key not in picks:
            picks[prefix.key] = _picks(prefix, draws, state, profile, stages)
    values: dict[tuple[int, int, bool], int] = {}
    tables = {key: _table(rows, values) for key, rows in picks.items()}
    read = {name for before, _ in prefixes for name in before}.union(*(later for later, _ in tables.values()))
    names = tuple(name for name in SWITCHES if name in read)
    numbers = np.zeros([len(SWITCHES[name]) for name in names], np.int64)
    for before, prefix in prefixes:
        later, table = tables[prefix.key]
        for name in [name for name in later if name in before]:  # chosen before the draw already
            table = table.take([SWITCHES[name].index(before[name])], axis=later.index(name))
        place = tuple(SWITCHES[name].index(before[name]) if name in before else slice(None) for name in names)
        free = [name for name in names if name not in before]
        numbers[place] = table.reshape([len(SWITCHES[name]) if name in later else 1 for name in free])
    return Outcomes(names, numbers, tuple(values))


def _table(
    rows: list[tuple[dict[str, Any], tuple[int, int, bool]]], values: dict[tuple[int, int, bool], int]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the switches that a draw reads, and the number of the outcome under every choice of them."""
    later = tuple(name for name in SWITCHES if any(name in row for row, _ in rows))
    table = np.zeros([len(SWITCHES[name]) for name in later], np.int64)
    for row, outcome in rows:
        place = tuple(SWITCHES[name].index(row[name]) if name in row else slice(None) for name in later)
        table[place] = values.setdefault(outcome, len(values))
    return later, table


def _picks(
    prefix: _Prefix, draws: list[tuple[Mapping[str, Any], Any]], state: int, profile: ReadingProfile, stages: Stages
) -> list[tuple[dict[str, Any], tuple[int, int, bool]]]:
    if prefix.ids is None:
        return [({}, (int(prefix.token or 0), state, False))]
    found = []
    for drawn_by, drawn in draws:
        pick = partial(_pick, stages, prefix, drawn.unit)
        for picked_by, picked in every_choice(profile, pick):
            token = int(prefix.ids[picked.index])
            found.append(({**drawn_by, **picked_by}, (token, drawn.after, True)))
    return found


def _pick(stages: Stages, prefix: _Prefix, unit: np.float32, profile: Profile) -> Any:
    return stages.pick(prefix.weighing, prefix.cut, unit, profile)
