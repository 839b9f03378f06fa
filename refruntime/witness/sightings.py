"""Align expected arrays with what a call left in memory: which were seen, where, when, and which are in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from refruntime.witness.expected import Expected, Float32
from refruntime.witness.images import Image, closest_moment, find_image
from refruntime.witness.locate import Place, at, bits, common_homes, enough, find_row
from refruntime.witness.permuted import find_permuted
from refruntime.witness.presence import Presence

State = Literal["equal", "wrong", "not seen"]

LEAST_EVIDENCE: Final = 3
"""So many different numbers in place say that an array is there, though others of it are wrong."""

MOST_IN_ANOTHER_ORDER: Final = 0.75
"""Where more of an array is in place, it is not taken for one in another order."""

ONE_NUMBER: Final = "one number is no evidence"
REPEATED: Final = "its numbers are zero or repeated, which is no evidence"
UNSEEN: Final = "it was in memory at no pause; what it leads to is right, so it is overwritten at once or kept nowhere"
IN_DOUBT: Final = "it was in memory at no pause, and nothing that needs it is right"
PART: Final = "only a part of it was in memory at one pause; what it leads to is right"


@dataclass(frozen=True)
class Sighting:
    """What became of one expected array: its state, `reason` when it was not seen, places of its rows, an image.

    `seen` [rows] counts the elements of each row that were there; `pause` is when the last row was.
    """

    expected: Expected
    state: State
    reason: str = ""
    places: tuple[Place | None, ...] = ()
    image: Image | None = None

    @property
    def name(self) -> str:
        """Return the name of the array."""
        return self.expected.name

    @property
    def pause(self) -> int:
        """Return the pause at which the last of its rows was seen, -1 for none."""
        if self.image is not None:
            return max(self.image.pauses)
        return max((place.pause for place in self.places if place is not None), default=-1)

    @property
    def elements_seen(self) -> int:
        """Return how many elements were there bit by bit."""
        return sum(int(place.matched.sum()) for place in self.places if place is not None)


def align(presence: Presence, expected: Sequence[Expected]) -> list[Sighting]:
    """Look for every array; those that were not found whole are in doubt unless something that needs them was."""
    found: list[Sighting] = []
    same: dict[bytes, str] = {}
    for item in expected:
        first = same.setdefault(item.values.tobytes(), item.name)
        if first != item.name and not item.lasting:
            found.append(Sighting(item, "not seen", f"it has the numbers of {first}, which is no evidence"))
        else:
            found.append(_look_for(presence, item))
    proven: set[str] = set()
    needs = {item.name: item.needs for item in expected}
    for sighting in reversed(found):
        if sighting.state == "equal" or sighting.name in proven:
            proven.update(needs[sighting.name])
            proven.add(sighting.name)
    result = []
    for sighting in found:
        if sighting.state == "not seen" and not sighting.reason and sighting.name in proven:
            seen = sighting.elements_seen
            sighting = replace(sighting, reason=PART if seen else UNSEEN)
        result.append(sighting)
    return result


def _look_for(presence: Presence, expected: Expected) -> Sighting:
    """Look for an array as a whole, then row by row."""
    values = expected.values
    if values.shape[-1] < 2 and (len(values) == 1 or values.shape[-1] == 1):
        return Sighting(expected, "not seen", ONE_NUMBER)
    whole = find_row(presence, values.reshape(-1), expected.lasting)
    if whole is not None and whole.complete and enough(whole):
        return Sighting(expected, "equal", places=(whole,))
    different = np.unique(np.abs(values[values != 0]))
    if len(different) < 2:
        return Sighting(expected, "not seen", REPEATED)
    if len(values) == 1:
        return Sighting(expected, "not seen", places=(whole,) if enough(whole) else ())
    rows = _by_rows(presence, values, expected.lasting)
    if all(place is not None and place.complete for place in rows):
        return Sighting(expected, "equal", places=rows)
    if whole is not None and enough(whole) and whole.evidence >= sum(p.evidence for p in rows if p is not None):
        rows = (whole,)
    return Sighting(expected, "not seen", places=rows if any(rows) else ())


def _by_rows(presence: Presence, values: Float32, at_end: bool) -> tuple[Place | None, ...]:
    """Look for each row; one that was not found whole is looked for where the others were, too."""
    rows = [find_row(presence, row, at_end) for row in values]
    homes = {(place.word, place.stride) for place in rows if place is not None and place.complete}
    if not homes:
        homes = {(place.word, place.stride) for place in rows if place is not None and enough(place)}
        homes |= set(common_homes(presence, values))
    result: list[Place | None] = []
    for row, place in zip(values, rows, strict=True):
        if place is None or not place.complete:
            others = [at(presence, row, word, stride, at_end) for word, stride in sorted(homes)]
            place = max(
                [other for other in [place, *others] if other is not None], key=lambda p: p.evidence, default=None
            )
        result.append(place)
    return tuple(result)


# The first one -------------------------------------------------------------------------------------------------------


def first_wrong(presence: Presence, sightings: Sequence[Sighting]) -> tuple[int, Sighting] | None:
    """Return the first array in doubt for which there is evidence, with what the build holds; None if there is none.

    Evidence is a part of its values in place, something alike in its place, or the same array of another layer.
    """
    doubtful = [index for index, sighting in enumerate(sightings) if _in_doubt(sighting)]
    by_name = {sighting.name: sighting for sighting in sightings}
    for index in doubtful:
        sighting = sightings[index]
        image = _image_in_place(presence, sighting)
        after = _seen_before(sighting, by_name)
        size = sighting.expected.values.size
        if image is None or (sighting.places and sighting.elements_seen < MOST_IN_ANOTHER_ORDER * size):
            image = find_permuted(presence, sighting.expected.values, after) or image
        if image is None:
            homes = _homes(sighting, sightings)
            image = find_image(presence, sighting.expected.values, after, presence.pauses, homes)
        if image is not None and np.array_equal(bits(image.values), bits(sighting.expected.values)):
            continue  # it was there after all
        if image is not None or _seen_elsewhere(sighting.name, sightings):
            return index, replace(sighting, state="wrong", image=image)
    return None


def _in_doubt(sighting: Sighting) -> bool:
    return sighting.state == "not seen" and not sighting.reason


def _seen_before(sighting: Sighting, by_name: dict[str, Sighting]) -> int:
    """Return the pause at which all that an array needs was there."""
    pause = -1
    waiting = list(sighting.expected.needs)
    visited = set()
    while waiting:
        name = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        needed = by_name[name]
        if needed.state == "equal":
            pause = max(pause, needed.pause)
        else:
            waiting += needed.expected.needs
    return pause


def _image_in_place(presence: Presence, sighting: Sighting) -> Image | None:
    """Return what lies where a part of an array was found, or where an array that should stay was at first."""
    values, places, pause = sighting.expected.values, sighting.places, -1
    if sighting.expected.lasting:
        pause = presence.pauses - 1
        if not places:
            whole = find_row(presence, values.reshape(-1))
            places = (whole,) if whole is not None and whole.complete else _by_rows(presence, values, False)
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


def _homes(sighting: Sighting, sightings: Sequence[Sighting]) -> list[int]:
    """Return where an array may begin: where what it is computed from lay, or the same array of another layer."""
    kind, size = kind_of(sighting.name), sighting.expected.values.size
    homes = [
        other.places[0].word
        for other in sightings
        if other.state == "equal"
        and other.expected.values.size == size
        and (other.name in sighting.expected.needs or kind_of(other.name) == kind)
        and other.places[0] is not None
    ]
    return sorted(set(homes))


def _seen_elsewhere(name: str, sightings: Sequence[Sighting]) -> bool:
    kind = kind_of(name)
    return any(kind_of(other.name) == kind and other.state == "equal" for other in sightings if other.name != name)


def kind_of(name: str) -> str:
    """Return the name of an array without its layer: `blk.1.attn_q` is `attn_q`."""
    parts = name.split(".")
    return ".".join(parts[2:]) if parts[0] == "blk" and len(parts) > 2 else name
