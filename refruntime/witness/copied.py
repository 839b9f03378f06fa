"""Tell an array that is right where it was computed and wrong in a copy, by what is made of the copy.

A copy that ends early leaves the array itself right, and everything behind it wrong in no simple way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from refruntime.witness.images import Image
from refruntime.witness.locate import likely_places
from refruntime.witness.presence import Presence
from refruntime.witness.sightings import Sighting

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
