"""Tell two arrays of one layer that stand in each other's place, by where they stand in the layer before.

Two projections whose weights are exchanged give right numbers at wrong places: nothing but what reads them is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final

from refruntime.witness.patterns import Pattern
from refruntime.witness.sightings import Sighting, in_layer, layer_number

SWAPPED: Final = "swapped operands"


def exchanged_before(sightings: Sequence[Sighting], wrong: Sighting) -> tuple[int, Sighting, Pattern] | None:
    """Return the first of two arrays, of one input, that stand in each other's place and that a wrong one is made of.

    Such places alone are no fault, since buffers may take turns: they explain numbers that are wrong behind them.
    """
    layer, by_name = layer_number(wrong.name), {sighting.name: sighting for sighting in sightings}
    if layer < 1:
        return None
    made_of = _ancestors(wrong.name, by_name)
    chosen = [s for s in sightings if s.name in made_of and layer_number(s.name) == layer and _place(s) is not None]
    for one, other in combinations(chosen, 2):
        if one.expected.needs != other.expected.needs or one.expected.values.size != other.expected.values.size:
            continue
        before = _places([by_name.get(in_layer(each.name, layer - 1)) for each in (one, other)])
        now = _places([one, other])
        if len(before) < 2 or len(now) < 2 or now[0] == now[1]:
            continue
        straight = now[0] - before[0], now[1] - before[1]
        across = now[1] - before[0], now[0] - before[1]
        if across[0] == across[1] and straight[0] != straight[1]:
            text = f"stands where {other.name} should, and that where it should: their weights are exchanged"
            return sightings.index(one), replace(one, state="wrong"), Pattern(SWAPPED, text)
    return None


def _places(sightings: Sequence[Sighting | None]) -> list[int]:
    """Return where those are that were seen."""
    return [place for place in map(_place, sightings) if place is not None]


def _place(sighting: Sighting | None) -> int | None:
    if sighting is None or sighting.state != "equal" or sighting.expected.lasting:
        return None
    return sighting.places[0].word if sighting.places and sighting.places[0] is not None else None


def _ancestors(name: str, by_name: Mapping[str, Sighting]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for each in by_name[waiting.pop()].expected.needs:
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found
