"""Look into one call of a build: record, align, say which array is the first wrong one and what is wrong with it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from refruntime.witness.attended import in_memory
from refruntime.witness.copied import overwritten, wrong_copy
from refruntime.witness.exchanged import exchanged_before
from refruntime.witness.expected import Expected, Float32
from refruntime.witness.fault import Fine, Plan, first_wrong, learn
from refruntime.witness.patterns import OTHER, Pattern, find_pattern
from refruntime.witness.presence import Presence
from refruntime.witness.recording import PAGE_WORDS, Log, WatchedCall, Window, changed_pages, record
from refruntime.witness.sightings import STOOD, Sighting, align, kind_of
from refruntime.witness.standing import memory_at, stands

Verdict = Literal["clean", "wrong", "not seen"]

COARSE_PAUSES: Final = 6_000
FINE_PAUSES: Final = 4_000
"""Pauses of one fine window at most; a window is often so short that it has a pause at every loop head."""

SHARE: Final = 50
SOON_PAUSES: Final = 8_000
"""Pauses of the first of three windows, one in the other, behind the last array that was seen."""

ROOM: Final = 8
"""A window of another position is widened by so many intervals on either side."""

UNLOCATED: Final = Pattern("not located", "it is nowhere, and nothing like it was written")


@dataclass(frozen=True)
class WrongArray:
    """The first wrong array: what was seen of it, and the pattern of its differences."""

    sighting: Sighting
    pattern: Pattern

    @property
    def name(self) -> str:
        """Return the name of the array."""
        return self.sighting.name


@dataclass(frozen=True)
class Look:
    """What one look showed: a verdict, the first wrong array, one sighting for each expected array, the log.

    `fine` are the parts of the stretch in which something lived for less than the usual interval.
    """

    verdict: Verdict
    first: WrongArray | None
    sightings: tuple[Sighting, ...]
    presence: Presence
    fine: tuple[Fine, ...] = ()

    def plan(self) -> Plan:
        """Return what this look teaches about other parts of the same call."""
        return replace(learn(self.presence, self.sightings), fine=self.fine)

    @property
    def log(self) -> Log:
        """Return what was recorded."""
        return self.presence.log


def look(
    call: WatchedCall,
    expected: Sequence[Expected],
    begin: int,
    end: int,
    known: Callable[[], Mapping[str, Float32]] = dict,
    plan: Plan | None = None,
    pauses: int = COARSE_PAUSES,
) -> Look:
    """Look for arrays while a call burns fuel from `begin` to `end`.

    `known` gives, when something is wrong, other arrays that may stand in the place of one; `plan` is what a look at
    another part of the same call taught, in which all was right.
    """
    planned = [word // PAGE_WORDS for places in (plan.places.values() if plan else ()) for word in places]
    pages = np.union1d(changed_pages(call, begin, end), np.array(planned, np.int64))
    interval = max(1, (end - begin) // pauses)
    taught = [] if plan is None else _placed(plan.fine, begin, end, interval)
    presence = Presence(record(call, begin, end, interval, pages, taught))
    sightings = align(presence, expected)
    windows = _windows(presence, sightings)
    if windows and interval > 1:
        presence = Presence(record(call, begin, end, interval, pages, _nested([*windows, *taught])))
        sightings = align(presence, expected)
    seen = judge(presence, sightings, known, plan)
    memory = None if seen.first is None else memory_at(call, end)
    while (
        memory is not None
        and seen.first is not None
        and stands(memory, seen.first.sighting.expected, presence.log.address)
    ):
        name = seen.first.name
        sightings = [replace(s, reason=STOOD) if s.name == name else s for s in sightings]
        seen = judge(presence, sightings, known, plan)
    return replace(seen, fine=_short_lived(presence, sightings, begin, end, interval))


def judge(
    presence: Presence,
    sightings: Sequence[Sighting],
    known: Callable[[], Mapping[str, Float32]],
    plan: Plan | None = None,
) -> Look:
    """Decide from what was seen."""
    result = list(sightings)
    wrong = first_wrong(presence, result, plan)
    lost = overwritten(presence, result)
    finding = None
    if lost is not None and (wrong is None or lost[0] <= wrong[0]):
        index, sighting, pattern = lost
        result[index] = sighting
        finding = WrongArray(sighting, pattern)
        verdict: Verdict = "wrong"
    elif wrong is not None:
        index, sighting = wrong
        exchanged = exchanged_before(result, sighting)
        if exchanged is not None:
            index, sighting, pattern = exchanged
        else:
            pattern = _pattern(sighting, result, index, known())
            copy = wrong_copy(presence, result, sighting) if pattern.kind == OTHER else None
            if copy is not None:
                index, sighting = copy
                pattern = _pattern(sighting, result, index, known())
            if pattern.kind in (OTHER, UNLOCATED.kind):
                heads = in_memory(presence, sighting.expected.values, known(), sighting.name)
                pattern = pattern if heads is None else Pattern(*heads)
        result[index] = sighting
        finding = WrongArray(sighting, pattern)
        verdict = "wrong"
    else:
        ends = [sighting for sighting in result if sighting.expected.lasting or sighting.name == "logits"]
        ends = ends or result[-1:]
        verdict = "clean" if all(s.state == "equal" or s.reason == STOOD for s in ends) else "not seen"
    return Look(verdict, finding, tuple(result), presence)


def with_finding(seen: Look, name: str, pattern: Pattern) -> Look:
    """Return a look in which one thing is wrong that its arrays do not tell, such as a choice."""
    nothing = Sighting(Expected(name, np.zeros((1, 0), np.float32)), "wrong", pattern.text)
    there = next((sighting for sighting in seen.sightings if sighting.name == name), None)
    finding = WrongArray(nothing if there is None else replace(there, state="wrong", image=None), pattern)
    sightings = [sighting for sighting in seen.sightings if sighting.name != name]
    at = len(sightings) if there is None else seen.sightings.index(there)
    return Look("wrong", finding, (*sightings[:at], finding.sighting, *sightings[at:]), seen.presence)


def _pattern(sighting: Sighting, sightings: Sequence[Sighting], index: int, known: Mapping[str, Float32]) -> Pattern:
    if sighting.image is None:
        return UNLOCATED
    earlier: dict[str, Any] = {other.name: other.expected.values for other in reversed(sightings[:index])}
    if sighting.expected.lasting:  # what came later may have been written over it
        earlier |= {
            other.name: other.expected.values
            for other in sightings[index + 1 :]
            if kind_of(other.name) == kind_of(sighting.name)
        }
    siblings = _siblings(sighting, sightings)
    earlier |= {other.name: other.expected.values for other in siblings}
    word = int(sighting.image.words.reshape(-1)[0])
    before = [s.name for s in sightings[:index] if s.places and s.places[0] is not None and s.places[0].word == word]
    image, values = sighting.image.values, sighting.expected.values
    return find_pattern(image, values, {**known, **earlier}, sighting.name, [s.name for s in siblings], before)


def _siblings(sighting: Sighting, sightings: Sequence[Sighting]) -> list[Sighting]:
    """Return other arrays of the same size that are computed from the same."""
    own = sighting.expected
    return [
        other
        for other in sightings
        if other.name != own.name and own.needs and other.expected.needs == own.needs
        if other.expected.values.size == own.values.size
    ]


def _windows(presence: Presence, sightings: Sequence[Sighting]) -> list[Window]:
    """Return the stretches of fuel in which arrays that were not seen should have been, between their neighbours."""
    fuel = presence.log.fuel
    last = len(fuel) - 1
    windows: list[Window] = []
    for index, sighting in enumerate(sightings):
        if sighting.state == "equal" or sighting.expected.values.shape[-1] < 2:
            continue
        before = [other.pause for other in sightings[:index] if other.state == "equal"]
        after = [other.pause for other in sightings[index + 1 :] if other.state == "equal"]
        start = max(before[-8:], default=0)
        begin = int(fuel[max(0, start - 1)])
        stop = min([pause for pause in after[:8] if pause > start], default=-1)
        if stop >= 0:
            windows.append(Window(begin, int(fuel[min(last, stop + 2)]), 0))
            continue
        end = int(fuel[min(last, start + last // SHARE)])  # nothing behind it was seen: what is next comes soon
        soon = int(fuel[min(last, start + 2)]), begin + (end - begin) // 16, end
        counts = SOON_PAUSES, FINE_PAUSES // 2, FINE_PAUSES // 2
        windows += [Window(begin, until, max(1, (until - begin) // n)) for until, n in zip(soon, counts, strict=True)]
    whole = [
        Window(a, b, max(1, (b - a) // FINE_PAUSES)) for a, b, step in _merged(w for w in windows if not w.interval)
    ]
    return _nested([*whole, *(w for w in windows if w.interval)])


def _nested(windows: Sequence[Window]) -> list[Window]:
    """Divide windows that overlap, so that each stretch has the shortest of their intervals."""
    edges = sorted({edge for window in windows for edge in window[:2]})
    result: list[Window] = []
    for begin, end in itertools.pairwise(edges):
        steps = [window.interval for window in windows if window.begin <= begin and end <= window.end]
        if steps:
            result.append(Window(begin, end, min(steps)))
    return result


def _short_lived(
    presence: Presence, sightings: Sequence[Sighting], begin: int, end: int, interval: int
) -> tuple[Fine, ...]:
    """Return the parts of a stretch in which rows that were seen lived for less than the usual interval."""
    fuel = np.append(presence.log.fuel, presence.log.fuel[-1])
    places = [place for s in sightings if s.state == "equal" for place in s.places if place is not None]
    stays = [(int(fuel[max(0, place.pause)]), int(fuel[place.until])) for place in places]
    short = [Window(a, b, max(1, (b - a) // 2)) for a, b in stays if b - a < 2 * interval]
    return tuple(Fine((a - begin) / (end - begin), (b - begin) / (end - begin), step) for a, b, step in _merged(short))


def _placed(fine: Sequence[Fine], begin: int, end: int, interval: int) -> list[Window]:
    """Return where parts of a stretch are in another one, with room on both sides."""
    size, room = end - begin, ROOM * interval
    windows = [Window(int(begin + a * size - room), int(begin + b * size + room), step) for a, b, step in fine]
    return _merged(windows)


def _merged(windows: Iterable[Window]) -> list[Window]:
    result: list[Window] = []
    for window in sorted(windows):
        if result and window.begin <= result[-1].end:
            begin, end, step = result[-1]
            result[-1] = Window(begin, max(end, window.end), min(step, window.interval))
        else:
            result.append(window)
    return result
