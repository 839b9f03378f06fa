"""What a build holds where a part of an array was found: which moment, and which place for rows that were not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from refruntime.witness.expected import Float32
from refruntime.witness.images import Image, closest_moment
from refruntime.witness.locate import RowPlace, bits, find_row
from refruntime.witness.presence import Presence
from refruntime.witness.recording import Int
from refruntime.witness.sightings import Sighting, find_rows, in_layer, layer_number

LEAST_EVIDENCE: Final = 3
"""So many different numbers in place say that an array is there, though others of it are wrong."""

BEHIND_ALIKE: Final = 0.9
SAME_DIRECTION: Final = 1e-6


def image_in_place(presence: Presence, sighting: Sighting) -> Image | None:
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
    known, fixed = _on_grid(presence, known) if pause < 0 else (known, {})
    pauses = [
        pause if pause >= 0 else fixed[index] if index in fixed else closest_moment(presence, row, place)
        for index, (row, place) in enumerate(zip(rows, known, strict=True))
    ]
    words = np.stack([place.words for place in known])
    held = [presence.value_at(place.words, when) for place, when in zip(known, pauses, strict=True)]
    found = np.stack(held).view(np.float32)
    if np.array_equal(bits(found), bits(rows)):
        return None
    return Image(found.reshape(values.shape), words.reshape(values.shape), tuple(pauses), 0.0, 1.0)


def image_behind(presence: Presence, sighting: Sighting, by_name: Mapping[str, Sighting]) -> Image | None:
    """Return what became, row by row, of an array that was computed where its source was, each row in its turn.

    Attention is such: scores of a head become its weights before those of the next head are written.
    """
    values = sighting.expected.values
    for source in (by_name[name] for name in sighting.expected.needs):
        places = [place for place in source.places if place is not None]
        if source.state != "equal" or source.expected.values.shape != values.shape or len(places) != len(values):
            continue
        moments = [place.pause for place in places]
        gaps = np.diff(moments)
        if len(places) < 2 or len({(p.word, p.stride) for p in places}) > 1 or (gaps < 1).any():
            continue
        ends = [*moments[1:], min(moments[-1] + int(gaps.max()), presence.pauses)]
        chosen = [
            _likest(presence, row, place.words, begin, end)
            for row, place, begin, end in zip(values, places, moments, ends, strict=True)
        ]
        held = [presence.value_at(place.words, pause) for place, pause in zip(places, chosen, strict=True)]
        found = np.stack(held).view(np.float32)
        with np.errstate(all="ignore"):
            x, t = found.astype(np.float64), values.astype(np.float64)
            cosines = (x * t).sum(axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(t, axis=1))
        if (cosines > BEHIND_ALIKE).all():
            words = np.stack([place.words for place in places])
            return Image(found, words, tuple(chosen), 0.0, float(cosines.min()))
    return None


def image_in_turn(
    presence: Presence, sighting: Sighting, by_name: Mapping[str, Sighting], after: int, source: str
) -> Image | None:
    """Return rows that lie in one place in their turn: where and when they did in the layer that was seen whole.

    Each is taken at so much fuel behind `source`, which was there at the pause `after`, as in that layer.
    """
    values, layer = sighting.expected.values, layer_number(sighting.name)
    if len(values) < 2 or layer < 0 or layer_number(source) != layer:
        return None
    fuel = presence.log.fuel
    for other in sorted(range(layer), reverse=True):
        seen, from_ = (by_name.get(in_layer(name, other)) for name in (sighting.name, source))
        if seen is None or from_ is None or seen.state != "equal" or from_.state != "equal" or from_.pause < 0:
            continue
        places = [place for place in seen.places if place is not None]
        turns = [place.pause for place in places]
        if len(places) != len(values) or len({(p.word, p.stride) for p in places}) > 1 or (np.diff(turns) < 1).any():
            continue
        stays = [(fuel[place.pause] + fuel[min(place.until, presence.pauses - 1)]) / 2 for place in places]
        wanted = [fuel[after] + stay - fuel[from_.pause] for stay in stays]
        chosen = [min(int(np.searchsorted(fuel, each, side="right")) - 1, presence.pauses - 1) for each in wanted]
        words = np.stack([place.words for place in places])
        held = [presence.value_at(place.words, pause) for place, pause in zip(places, chosen, strict=True)]
        return Image(np.stack(held).view(np.float32), words, tuple(chosen), 0.0, 1.0)
    return None


def _likest(presence: Presence, row: Float32, words: Int, begin: int, end: int) -> int:
    """Return the pause between two at which words are most alike to a row in direction; of equal ones the last."""
    changes = presence.changes_of(words)
    moments = changes[(changes > begin) & (changes < end)]
    if not len(moments):
        return begin
    states = np.stack([presence.value_at(words, int(pause)) for pause in moments]).view(np.float32)
    with np.errstate(all="ignore"):
        x, t = states.astype(np.float64), row.astype(np.float64)
        cosine = np.nan_to_num((x @ t) / (np.linalg.norm(x, axis=1) * np.linalg.norm(t)), nan=-1.0)
    return int(moments[np.flatnonzero(cosine >= cosine.max() - SAME_DIRECTION)[-1]])


def _completed(places: Sequence[RowPlace | None], pauses: int, size: int) -> list[RowPlace]:
    """Give rows of which nothing was found the place of the others, between their moments; empty if they have none."""
    homes = {(place.word, place.stride) for place in places if place is not None}
    if all(places):
        return [place for place in places if place is not None]
    if len(homes) != 1:
        return []
    word, stride = homes.pop()
    result: list[RowPlace] = []
    for index, place in enumerate(places):
        if place is None:
            after = result[-1].pause + 1 if result else 0
            until = next((other.pause for other in places[index + 1 :] if other is not None), pauses)
            place = RowPlace(word, stride, after, max(until, after + 1), np.zeros(size, np.bool_), 0)
        result.append(place)
    return result


def _on_grid(presence: Presence, places: list[RowPlace]) -> tuple[list[RowPlace], dict[int, int]]:
    """Move rows that were not found to where whole rows, at equal distances, say that they lie.

    Returns the places, and for each row that was moved the pause at which the whole array was written.
    """
    whole = [index for index, place in enumerate(places) if place.complete and place.stride == 1]
    steps = {(places[b].word - places[a].word) / (b - a) for a, b in itertools.pairwise(whole)}
    size = len(places[0].matched)
    if len(whole) < 2 or len(steps) != 1 or not (step := steps.pop()).is_integer() or abs(step) < size:
        return places, {}
    base = places[whole[0]].word - int(step) * whole[0]
    moments = sorted(places[index].pause for index in whole)
    room = max([2 * (b - a) for a, b in itertools.pairwise(moments)], default=0)
    result, fixed = list(places), {}
    for index, place in enumerate(places):
        word = base + int(step) * index
        inside = word >= 0 and word + size <= len(presence.log.first)
        if place.complete or place.word == word or not inside:
            continue
        result[index] = RowPlace(word, 1, moments[-1], presence.pauses, np.zeros(size, np.bool_), 0)
        changes = presence.changes_of(result[index].words)
        late = changes[(changes > moments[-1]) & (changes <= moments[-1] + room)]
        fixed[index] = int(late[-1]) if len(late) else moments[-1]
    return result, fixed
