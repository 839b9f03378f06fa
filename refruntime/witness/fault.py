"""Name the first wrong array: the first in doubt for which memory holds evidence, and what it holds instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from refruntime.witness.images import Image, cosine, find_image, in_turn_at, planned_image
from refruntime.witness.in_place import image_behind, image_in_place, image_in_turn
from refruntime.witness.locate import bits
from refruntime.witness.permuted import find_permuted
from refruntime.witness.presence import Presence
from refruntime.witness.rewritten import completed, layer_time
from refruntime.witness.sightings import PART, UNSEEN, Sighting, kind_of

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
        if sighting.state != "not seen":
            continue
        if sighting.reason:
            image = _kept_otherwise(presence, sighting, plan)
            if image is not None:
                return index, replace(sighting, state="wrong", reason="", image=image)
            continue
        image = _image_of(presence, sighting, by_name, plan)
        values = sighting.expected.values
        if image is not None:
            image = completed(presence, image, sighting, by_name, layer_time(presence, sightings, plan.fuel))
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
        image = image_in_place(presence, sighting)
    if sighting.expected.lasting:
        kept = _kept(presence, sighting, plan)
        if kept is not None or image is not None:
            return kept or image
    home = _home(presence, sighting, by_name, plan)
    whole = not sighting.places or sighting.elements_seen >= MOST_IN_ANOTHER_ORDER * values.size
    if image is not None and whole and not _beside(image, home):
        return image
    if home is not None and (image is None or _beside(image, home)):
        pause = _planned_pause(presence, sighting.name, after, source, plan)
        if pause < 0 and image is not None:
            pause = max(image.pauses)  # what lies beside its place was written together with it
        return planned_image(presence, values, home, after, pause)
    if sighting.expected.optional:
        return image or find_image(presence, values, after, presence.pauses)
    image = find_permuted(presence, values, after) or image or image_behind(presence, sighting, by_name)
    if image is None:
        image = image_in_turn(presence, sighting, by_name, after, source)
    if image is None and len(values) > 1:
        turns = set(_planned(presence, sighting, plan))
        image = in_turn_at(presence, values, turns.pop(), after) if len(turns) == 1 else None
    if image is None:
        homes = _homes(sighting, list(by_name.values()))
        image = find_image(presence, values, after, presence.pauses, homes)
        if image is not None and _is_source(image, sighting, by_name) and not _copied(presence, image, after):
            image = _image_elsewhere(presence, sighting, by_name, after, image)
    if image is None:
        homes = _homes(sighting, list(by_name.values()), needs=False)
        image = planned_image(presence, values, homes[0], after) if len(homes) == 1 else None
    return image


def _image_elsewhere(
    presence: Presence, sighting: Sighting, by_name: Mapping[str, Sighting], after: int, image: Image
) -> Image:
    """Return what is in the place of the same array of other layers, or else surely alike, instead of an image."""
    values, sightings = sighting.expected.values, list(by_name.values())
    own = _homes(sighting, sightings, needs=False)
    held = planned_image(presence, values, own[0], after) if len(own) == 1 else None
    if held is not None and held.words.reshape(-1)[0] != image.words.reshape(-1)[0]:
        return held
    word = int(image.words.reshape(-1)[0])
    other = find_image(presence, values, after, presence.pauses, _homes(sighting, sightings), word)
    return other if other is not None and abs(other.cosine) >= SURELY_ALIKE else image


def _is_source(image: Image, sighting: Sighting, by_name: Mapping[str, Sighting]) -> bool:
    """Say whether an image is one of the arrays that its own is computed from, in the place of that one."""
    word, held = int(image.words.reshape(-1)[0]), bits(image.values).reshape(-1)
    sources = [by_name[name] for name in sighting.expected.needs if by_name[name].state == "equal"]
    return any(
        source.places[0] is not None
        and source.places[0].word == word
        and np.array_equal(bits(source.expected.values).reshape(-1), held)
        for source in sources
    )


def _copied(presence: Presence, image: Image, after: int) -> bool:
    """Say whether the numbers of an image were written as a whole to another place after a pause."""
    held, word = bits(image.values).reshape(-1), int(image.words.reshape(-1)[0])
    first, last = (int(ends[0]) for ends in presence.of_values(held[:1]))
    stays = presence.by_value
    later = stays.word[first:last][stays.begin[first:last] >= after]
    for base in np.unique(later[later != word]).tolist():
        begin, end = presence.of_values_at(held, base + np.arange(len(held)))
        if (end > begin).all():
            return True
    return False


def _kept(presence: Presence, sighting: Sighting, plan: Plan) -> Image | None:
    """Return what is at the end where a plan puts an array that should stay, None without a plan."""
    planned = _planned(presence, sighting, plan)
    values, end = sighting.expected.values, presence.pauses - 1
    if len(planned) != 1 or planned[0] + values.size > len(presence.log.first):
        return None
    words = planned[0] + np.arange(values.size).reshape(values.shape)
    held = presence.value_at(words.reshape(-1), end).view(np.float32).reshape(values.shape)
    return Image(held, words, (end,), 0.0, 1.0)


def _kept_otherwise(presence: Presence, sighting: Sighting, plan: Plan) -> Image | None:
    """Return what is kept of an array that should stay and was seen nowhere, if that is surely alike, but not it.

    A key that is a little wrong has no effect where there is but one, or where it has hardly any weight.
    """
    if not sighting.expected.lasting or sighting.reason not in (PART, UNSEEN):
        return None
    kept = _kept(presence, sighting, plan)
    if kept is None or np.array_equal(bits(kept.values), bits(sighting.expected.values)):
        return None
    return kept if abs(cosine(kept.values, sighting.expected.values)) >= SURELY_ALIKE else None


def _beside(image: Image, home: int | None) -> bool:
    """Say whether an image overlaps the place where its array should be, or rows of it do, a little beside it."""
    if home is None:
        return False
    rows, size = image.words.shape
    off = image.words[:, 0] - (home + size * np.arange(rows))
    by_rows = bool((np.abs(off) < size).all() and off.any())  # rows of an array that lies in one piece
    return by_rows or 0 < abs(int(off[0])) < image.values.size


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
