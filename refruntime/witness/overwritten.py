"""Tell arrays that should stay and whose place another one that should stay has taken, such as a shared cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from refruntime.witness.images import Image
from refruntime.witness.locate import find_row
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
