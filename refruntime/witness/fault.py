"""Name the first wrong array: the first in doubt for which memory holds evidence, and what it holds instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from refruntime.witness.images import Image, closest_moment, find_image, planned_image
from refruntime.witness.locate import Place, bits, find_row
from refruntime.witness.permuted import find_permuted
from refruntime.witness.presence import Presence
from refruntime.witness.rewritten import is_copy, layer_time, rewritten
from refruntime.witness.sightings import PART, UNSEEN, Sighting, find_rows, kind_of

LEAST_EVIDENCE: Final = 3
"""So many different numbers in place say that an array is there, though others of it are wrong."""

MOST_IN_ANOTHER_ORDER: Final = 0.75
"""Where more of an array is in place, it is not taken for one in another order."""

LEAST_PART: Final = 0.25

SURELY_ALIKE: Final = 0.9
"""Cosine from which on something is the image of an array that a build may well keep nowhere."""


class Fine(NamedTuple):
    """A part of a stretch, its ends from 0 to 1, in which something is seen at every `interval` units of fuel."""

    begin: float
    end: float
    interval: int


@dataclass(frozen=True)
class Plan:
    """What a look in which all was right taught: where in memory the rows of arrays lie, at what fuel, what is absent.

    Arrays that stay, such as rows of a cache, lie elsewhere at each position and are in no plan. `fine` are the parts
    of a stretch in which something lives so shortly that the call must be stopped more often.
    """

    places: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fuel: Mapping[str, int] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    fine: tuple[Fine, ...] = ()


def learn(presence: Presence, sightings: Sequence[Sighting]) -> Plan:
    """Return the plan of a look."""
    places = {
        sighting.name: tuple(int(presence.log.address[place.word]) for place in sighting.places if place is not None)
        for sighting in sightings
        if sighting.state == "equal" and not sighting.expected.lasting
        if all(place is not None and place.stride == 1 for place in sighting.places)
    }
    absent = [s.name for s in sightings if s.state == "not seen" and s.reason in (UNSEEN, PART)]
    fuel = {s.name: int(presence.log.fuel[s.pause]) for s in sightings if s.state == "equal" and s.pause >= 0}
    return Plan(places, fuel, frozenset(absent))


def first_wrong(
    presence: Presence, sightings: Sequence[Sighting], plan: Plan | None = None
) -> tuple[int, Sighting] | None:
    """Return the first array in doubt for which there is evidence, with what the build holds; None if there is none.

    Evidence is a part of its values in place, something alike in its place, the place that a plan knows, or the same
    array of another layer. What a plan calls absent is no fault.
    """
    plan = plan or Plan()
    by_name = {sighting.name: sighting for sighting in sightings}
    for index, sighting in enumerate(sightings):
        if sighting.state != "not seen" or sighting.reason:
            continue
        image = _image_of(presence, sighting, by_name, plan)
        values = sighting.expected.values
        if image is not None and not sighting.expected.lasting and is_copy(image, sighting, by_name):
            image = rewritten(presence, image, values, layer_time(presence, sightings, plan.fuel)) or image
        if image is not None and np.array_equal(bits(image.values), bits(values)):
            continue  # it was there after all
        seen = sighting.name in plan.places or _seen_elsewhere(sighting.name, sightings)
        if image is not None and sighting.expected.optional and not seen and not _sure(sighting, image, by_name):
            continue
        if image is not None or (seen and sighting.name not in plan.absent):
            return index, replace(sighting, state="wrong", image=image)
    return None


def _sure(sighting: Sighting, image: Image, by_name: Mapping[str, Sighting]) -> bool:
    """Say whether an image is evidence of an array that a build may keep nowhere: much of it, or alike and no copy."""
    right, found = sighting.expected.values.reshape(-1), image.values.reshape(-1)
    if _much_seen(sighting):
        return True
    sources = [by_name[name].expected.values for name in sighting.expected.needs if name in by_name]
    copied = any(np.isin(bits(image.values), bits(source)).mean() > LEAST_PART for source in sources)
    ordered = bits(found)[0] == bits(right)[0] and bool((np.diff(found) * np.diff(right) >= 0).all())
    return not copied and (abs(image.cosine) >= SURELY_ALIKE or ordered)


def _much_seen(sighting: Sighting) -> bool:
    return sighting.elements_seen >= LEAST_PART * sighting.expected.values.size


def _image_of(presence: Presence, sighting: Sighting, by_name: Mapping[str, Sighting], plan: Plan) -> Image | None:
    """Return what the build holds in the place of an array in doubt: first where it is known to lie, then anywhere."""
    values = sighting.expected.values
    after, source = _seen_before(sighting, by_name)
    image = None
    if not sighting.expected.optional or _much_seen(sighting):
        image = _image_in_place(presence, sighting)
    home = _home(presence, sighting, by_name, plan)
    whole = not sighting.places or sighting.elements_seen >= MOST_IN_ANOTHER_ORDER * values.size
    if image is not None and whole and not _beside(image, home):
        return image
    if home is not None and (image is None or _beside(image, home)):
        return planned_image(
            presence, values, home, after, _planned_pause(presence, sighting.name, after, source, plan)
        )
    if sighting.expected.optional:
        return image or find_image(presence, values, after, presence.pauses)
    image = find_permuted(presence, values, after) or image
    if image is None:
        image = find_image(presence, values, after, presence.pauses, _homes(sighting, list(by_name.values())))
    if image is None:
        homes = _homes(sighting, list(by_name.values()), needs=False)
        image = planned_image(presence, values, homes[0], after) if len(homes) == 1 else None
    return image


def _beside(image: Image, home: int | None) -> bool:
    """Say whether an image overlaps the place where its array should be, a little beside it."""
    return home is not None and 0 < abs(int(image.words.reshape(-1)[0]) - home) < image.values.size


def _home(presence: Presence, sighting: Sighting, by_name: Mapping[str, Sighting], plan: Plan) -> int | None:
    """Return the word at which an array that lies in one piece should begin, by a plan or by other layers."""
    planned = _planned(presence, sighting, plan)
    if planned:
        return planned[0] if len(planned) == 1 else None
    if not sighting.places:
        return None
    homes = _homes(sighting, list(by_name.values()), needs=False)
    return homes[0] if len(homes) == 1 else None


def _planned_pause(presence: Presence, name: str, after: int, source: str, plan: Plan) -> int:
    """Return the pause at which a plan has an array, as much fuel behind what it needs as before; -1 if it has none."""
    if name not in plan.fuel or source not in plan.fuel or after < 0:
        return -1
    fuel = int(presence.log.fuel[after]) + plan.fuel[name] - plan.fuel[source]
    return min(int(np.searchsorted(presence.log.fuel, fuel)), presence.pauses - 1)


def _seen_before(sighting: Sighting, by_name: Mapping[str, Sighting]) -> tuple[int, str]:
    """Return the pause at which all that an array needs was there, and which of that was the last; -1 for nothing."""
    pause, source = -1, ""
    waiting = list(sighting.expected.needs)
    visited = set()
    while waiting:
        name = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        needed = by_name[name]
        if needed.state != "equal":
            waiting += needed.expected.needs
        elif needed.pause > pause:
            pause, source = needed.pause, name
    return pause, source


def _image_in_place(presence: Presence, sighting: Sighting) -> Image | None:
    """Return what lies where a part of an array was found, or where an array that should stay was at first."""
    values, places, pause = sighting.expected.values, sighting.places, -1
    if sighting.expected.lasting:
        pause = presence.pauses - 1
        if not places:
            whole = find_row(presence, values.reshape(-1))
            places = (whole,) if whole is not None and whole.complete else find_rows(presence, values, False)
    if sum(place.evidence for place in places if place is not None) < LEAST_EVIDENCE:
        return None
    known = _completed(places, presence.pauses, values.size // len(places))
    if not known:
        return None
    rows = values.reshape(len(known), -1)
    pauses = [
        pause if pause >= 0 else closest_moment(presence, row, place) for row, place in zip(rows, known, strict=True)
    ]
    words = np.stack([place.words for place in known])
    held = [presence.value_at(place.words, when) for place, when in zip(known, pauses, strict=True)]
    found = np.stack(held).view(np.float32)
    if np.array_equal(bits(found), bits(rows)):
        return None
    return Image(found.reshape(values.shape), words.reshape(values.shape), tuple(pauses), 0.0, 1.0)


def _completed(places: Sequence[Place | None], pauses: int, size: int) -> list[Place]:
    """Give rows of which nothing was found the place of the others, between their moments; empty if they have none."""
    homes = {(place.word, place.stride) for place in places if place is not None}
    if all(places):
        return [place for place in places if place is not None]
    if len(homes) != 1:
        return []
    word, stride = homes.pop()
    result: list[Place] = []
    for index, place in enumerate(places):
        if place is None:
            after = result[-1].pause + 1 if result else 0
            until = next((other.pause for other in places[index + 1 :] if other is not None), pauses)
            place = Place(word, stride, after, max(until, after + 1), np.zeros(size, np.bool_), 0)
        result.append(place)
    return result


def _planned(presence: Presence, sighting: Sighting, plan: Plan) -> list[int]:
    """Return the watched words at which a plan puts the rows of an array."""
    places = plan.places.get(sighting.name, ())
    found = [np.flatnonzero(presence.log.address == place) for place in places]
    return [int(where[0]) for where in found if len(where)]


def _homes(sighting: Sighting, sightings: Sequence[Sighting], needs: bool = True) -> list[int]:
    """Return where an array may begin: where what it is computed from lay, or the same array of another layer."""
    kind, size = kind_of(sighting.name), sighting.expected.values.size
    homes = [
        other.places[0].word
        for other in sightings
        if other.state == "equal"
        and other.expected.values.size == size
        and ((needs and other.name in sighting.expected.needs) or kind_of(other.name) == kind)
        and other.places[0] is not None
    ]
    return sorted(set(homes))


def _seen_elsewhere(name: str, sightings: Sequence[Sighting]) -> bool:
    kind = kind_of(name)
    return any(kind_of(other.name) == kind and other.state == "equal" for other in sightings if other.name != name)
