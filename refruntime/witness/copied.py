"""Tell an array that is right where it was computed and wrong in a copy, by what is made of the copy.

A copy that ends early leaves the array itself right, and everything behind it wrong in no simple way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from refruntime.witness.images import Image
from refruntime.witness.locate import find_row, likely_places
from refruntime.witness.patterns import Pattern
from refruntime.witness.presence import Presence
from refruntime.witness.sightings import Sighting


def overwritten(presence: Presence, sightings: Sequence[Sighting]) -> tuple[int, Sighting, Pattern] | None:
    """Return the first array that was whole where another one lies at the end; None if there is none."""
    places = {
        sighting.places[0].word: sighting.name
        for sighting in sightings
        if sighting.expected.lasting and sighting.state == "equal" and sighting.places[0] is not None
    }
    for index, sighting in enumerate(sightings):
        if not sighting.expected.lasting or sighting.state == "equal":
            continue
        values = sighting.expected.values
        place = find_row(presence, values.reshape(-1))
        if place is None or not place.complete or place.word not in places:
            continue
        last = presence.pauses - 1
        held = presence.value_at(place.words, last).view("float32").reshape(values.shape)
        image = Image(held, place.words.reshape(values.shape), (last,), 0.0, 1.0)
        other = places[place.word]
        text = f"all {values.size} of it were written, then {other} over them"
        differing = held.view("uint32") != values.view("uint32")
        return index, replace(sighting, state="wrong", reason="", image=image), Pattern("stale", text, differing)
    return None


LEAST_COPIED: Final = 0.75
LEAST_NUMBERS: Final = 16


def wrong_copy(presence: Presence, sightings: Sequence[Sighting], wrong: Sighting) -> tuple[int, Sighting] | None:
    """Return an array that a wrong one is made of, with a copy of most of it that lay there meanwhile; None if none."""
    if wrong.image is None:
        return None
    made = min(wrong.image.pauses)
    for index, source in enumerate(sightings):
        values = source.expected.values
        if source.name not in wrong.expected.needs or source.state != "equal" or values.size < LEAST_NUMBERS:
            continue
        own = {place.word for place in source.places if place is not None}
        for place in likely_places(presence, values.reshape(-1)):
            most = LEAST_COPIED * values.size <= place.matched.sum() < values.size
            if most and place.fresh and place.word not in own and place.pause <= made < place.until:
                held = presence.value_at(place.words, made).view(np.float32).reshape(values.shape)
                image = Image(held, place.words.reshape(values.shape), (made,), 0.0, 1.0)
                return index, replace(source, state="wrong", reason="", image=image)
    return None
