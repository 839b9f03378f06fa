"""Tell an array that was left as it was from one that was computed in place, such as a rotation, and wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from refruntime.witness.expected import Float32
from refruntime.witness.images import Image
from refruntime.witness.locate import bits
from refruntime.witness.presence import Presence
from refruntime.witness.sightings import Sighting

MOST_OF_A_LAYER: Final = 0.8
"""What is written later than so much of a layer's time may be of the next layer."""

AT_ONCE: Final = 0.05
"""What is computed in place of a copy is computed within so much of a layer's time."""

LEAST_WRITTEN: Final = 0.5
SAME_LENGTH: Final = 1e-3


def completed(
    presence: Presence, image: Image, sighting: Sighting, by_name: Mapping[str, Sighting], time: float
) -> Image:
    """Return what an image becomes that is but a copy of what its array is computed from, or nothing but zeros.

    A copy may be turned within the `time` of a layer, which keeps its length, or changed at once; zeros may be written
    over. What stays as it was is returned as it is.
    """
    if sighting.expected.lasting:
        return image
    if not image.values.any():
        return _written_again(presence, image, MOST_OF_A_LAYER * time) or image
    if not _is_copy(image, sighting, by_name):
        return image
    turned = _written_again(presence, image, MOST_OF_A_LAYER * time)
    if turned is not None and _as_long(turned.values, sighting.expected.values):
        return turned
    return _written_again(presence, image, AT_ONCE * time) or image


def _written_again(presence: Presence, image: Image, time: float) -> Image | None:
    """Return what stands in a place once most of it was written again, within some fuel; None if it is not."""
    after, fuel = max(image.pauses), presence.log.fuel
    words = image.words.reshape(-1)
    until = int(np.searchsorted(fuel, fuel[max(after, 0)] + time, side="right")) - 1
    first = np.full(len(words), presence.pauses)
    for place, word in enumerate(words.tolist()):
        changes = presence.changes_of(np.array([word]))
        later = changes[changes > after]
        first[place] = later[0] if len(later) else presence.pauses
    written = np.sort(first[first <= until])
    if len(written) < LEAST_WRITTEN * len(words):
        return None
    gaps = np.diff(written[: len(written) // 2 + 1])
    pause, room = int(written[len(written) // 2]), max(4, 4 * int(gaps.max(initial=1)))
    for change in presence.changes_of(words).tolist():
        if pause < change <= pause + room:
            pause = change
    found = presence.value_at(words, pause).view(np.float32).reshape(image.values.shape)
    return replace(image, values=found, pauses=(pause,) * len(image.pauses))


def _as_long(found: Float32, expected: Float32) -> bool:
    with np.errstate(all="ignore"):
        long, right = (np.linalg.norm(values.astype(np.float64), axis=-1) for values in (found, expected))
        return bool(np.allclose(long, right, rtol=SAME_LENGTH))


def _is_copy(image: Image, sighting: Sighting, by_name: Mapping[str, Sighting]) -> bool:
    """Say whether an image holds what its array is computed from."""
    held = bits(image.values).reshape(-1)
    sources = (by_name[name].expected.values for name in sighting.expected.needs if name in by_name)
    return any(np.array_equal(held, bits(source).reshape(-1)) for source in sources)


def layer_time(presence: Presence, sightings: Sequence[Sighting], planned: Mapping[str, int]) -> float:
    """Return the fuel between two layers, by what was seen of both; else a share of all."""
    fuel = dict(planned) or {
        s.name: int(presence.log.fuel[s.pause]) for s in sightings if s.state == "equal" and s.pause >= 0
    }
    gaps = [
        at - fuel[f"blk.0.{name.removeprefix('blk.1.')}"]
        for name, at in fuel.items()
        if name.startswith("blk.1.") and f"blk.0.{name.removeprefix('blk.1.')}" in fuel
    ]
    if gaps:
        return float(np.median(gaps))
    layers = len({s.name.split(".")[1] for s in sightings if s.name.startswith("blk.")})
    return float(presence.log.fuel[-1] - presence.log.fuel[0]) / (layers + 1)
