"""Align expected arrays with what a call left in memory: which were seen, where, when, and which are in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from refruntime.witness.expected import Expected, Float32
from refruntime.witness.images import Image
from refruntime.witness.locate import RowPlace, at, common_homes, enough, find_row
from refruntime.witness.presence import Presence

State = Literal["equal", "wrong", "not seen"]

ONE_NUMBER: Final = "one number is no evidence"
REPEATED: Final = "its numbers are zero or repeated, which is no evidence"
STOOD: Final = "its numbers stood there before, so that writing them again leaves no trace"
UNSEEN: Final = "it was in memory at no pause; what it leads to is right, so it is overwritten at once or kept nowhere"
LASTS: Final = 0.25

PART: Final = "only a part of it was in memory at one pause; what it leads to is right"


@dataclass(frozen=True)
class Sighting:
    """What became of one expected array: its state, `reason` when it was not seen, places of its rows, an image.

    `seen` [rows] counts the elements of each row that were there; `pause` is when the last row was.
    """

    expected: Expected
    state: State
    reason: str = ""
    places: tuple[RowPlace | None, ...] = ()
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
    rows: set[bytes] = set()
    for item in expected:
        first = same.setdefault(item.values.tobytes(), item.name)
        own = {row.tobytes() for row in item.values}
        if first != item.name and not item.lasting:
            found.append(Sighting(item, "not seen", f"it has the numbers of {first}, which is no evidence"))
        else:  # rows of another array, such as the values of one position, are no evidence one by one
            found.append(_look_for(presence, item, by_rows=item.lasting or not own <= rows))
        rows |= own
    proven: set[str] = set()
    needs = {item.name: item.needs for item in expected}
    for sighting in reversed(found):
        if sighting.state == "equal" or sighting.name in proven:
            proven.update(needs[sighting.name])
            proven.add(sighting.name)
    result = []
    for sighting in found:
        partly = sighting.expected.lasting and _much_of_it_lasts(sighting)
        if sighting.state == "not seen" and not sighting.reason and sighting.name in proven and not partly:
            seen = sighting.elements_seen
            sighting = replace(sighting, reason=PART if seen else UNSEEN)
        result.append(sighting)
    return result


def _much_of_it_lasts(sighting: Sighting) -> bool:
    """Say whether a part of an array that should stay is in its place, so that the rest of it is wrong there.

    It may be wrong and lead to what is right: a key has no weight beside none.
    """
    places = [place for place in sighting.places if place is not None]
    return bool(places) and all(map(enough, places)) and sighting.elements_seen >= LASTS * sighting.expected.values.size


def _look_for(presence: Presence, expected: Expected, by_rows: bool) -> Sighting:
    """Look for an array as a whole, then row by row if those are evidence."""
    values = expected.values
    if values.shape[-1] < 2 and (len(values) == 1 or values.shape[-1] == 1):
        return Sighting(expected, "not seen", ONE_NUMBER)
    whole = find_row(presence, values.reshape(-1), expected.lasting)
    if whole is not None and whole.complete and enough(whole):
        return Sighting(expected, "equal", places=(whole,))
    different = np.unique(np.abs(values[values != 0]))
    if len(different) < 2:
        return Sighting(expected, "not seen", REPEATED)
    if whole is not None and not whole.fresh and _stands(presence, whole) and expected.needs:
        return Sighting(expected, "not seen", STOOD)  # what needs nothing may stand in the model itself
    if len(values) == 1 or not by_rows:
        return Sighting(expected, "not seen", places=(whole,) if enough(whole) else ())
    rows = find_rows(presence, values, expected.lasting)
    if all(place is not None and place.complete for place in rows):
        return Sighting(expected, "equal", places=rows)
    if whole is not None and enough(whole) and whole.evidence >= sum(p.evidence for p in rows if p is not None):
        rows = (whole,)
    return Sighting(expected, "not seen", places=rows if any(rows) else ())


def _stands(presence: Presence, place: RowPlace) -> bool:
    """Say whether a whole row was in its place all the time."""
    return bool(place.matched.all()) and place.until == presence.pauses and place.evidence > 1


def find_rows(presence: Presence, values: Float32, at_end: bool) -> tuple[RowPlace | None, ...]:
    """Look for each row; one that was not found whole is looked for where the others were, too."""
    rows = [find_row(presence, row, at_end) for row in values]
    homes = {(place.word, place.stride) for place in rows if place is not None and place.complete}
    if not homes:
        homes = {(place.word, place.stride) for place in rows if place is not None and enough(place)}
        homes |= set(common_homes(presence, values))
    result: list[RowPlace | None] = []
    for row, place in zip(values, rows, strict=True):
        if place is None or not place.complete:
            others = [at(presence, row, word, stride, at_end) for word, stride in sorted(homes)]
            place = max(
                [other for other in [place, *others] if other is not None], key=lambda p: p.evidence, default=None
            )
        result.append(place)
    return tuple(result)


def kind_of(name: str) -> str:
    """Return the name of an array without its layer: `blk.1.attn_q` is `attn_q`."""
    parts = name.split(".")
    return ".".join(parts[2:]) if parts[0] == "blk" and len(parts) > 2 else name


def layer_number(name: str) -> int:
    """Return the layer of an array, -1 for none."""
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blk" and len(parts) > 2 else -1


def in_layer(name: str, layer: int) -> str:
    """Return the name of the same array in another layer."""
    return ".".join(["blk", str(layer), *name.split(".")[2:]])
