"""The witness as a library: a module of another ABI, arrays that move, and an engine that cannot pause."""

from __future__ import annotations

import numpy as np
import pytest
import wasmtime

from refruntime.engines.wasm import pauses
from refruntime.witness import Look, PausableInstance, PausableModule, WatchedCall, look
from tests.support.foreign_module import MATRIX, SCALES, TABLE, expected_of, module_text, numbers

TOKENS = (3, 0, 4, 1, 3, 2)


def perform(instance: PausableInstance) -> None:
    """Do what a host of this module does."""
    for address, values in zip((TABLE, SCALES, MATRIX), numbers(), strict=True):
        instance.write(address, values.tobytes())
    for token in TOKENS:
        instance.call("notice", token)


def looked(factor: str, occurrence: int) -> Look:
    """Look into one of the calls of the module."""
    module = PausableModule(wasmtime.wat2wasm(module_text(factor)))
    call = WatchedCall(module, perform, "notice", occurrence)
    return look(call, expected_of(TOKENS[: occurrence + 1]), 0, call.run().fuel_of_watched)


@pytest.mark.parametrize("occurrence", [1, 5])
def test_every_array_is_seen_wherever_it_lies(occurrence: int) -> None:
    """FW-2: nothing is assumed of names, exports or places; each call finds them elsewhere than the one before."""
    seen = looked("1", occurrence)
    assert seen.verdict == "clean"
    assert [sighting.state for sighting in seen.sightings] == ["equal"] * 4
    before = looked("1", occurrence - 1)
    assert not set(addresses(seen)) & set(addresses(before))


def addresses(seen: Look) -> list[int]:
    """Return where arrays began, as indices of words of memory."""
    places = [sighting.places[0] for sighting in seen.sightings if sighting.places]
    return [int(seen.log.address[place.word]) for place in places if place is not None]


def test_the_first_wrong_array_is_named() -> None:
    """FW-6: one percent too much, in an array that lies at a new place in every call."""
    seen = looked("1.01", 5)
    assert seen.verdict == "wrong"
    assert seen.first is not None
    assert (seen.first.name, seen.first.pattern.kind) == ("weights", "constant factor")
    assert seen.first.pattern.text.startswith("all 6 times 1.01")


@pytest.mark.slow
def test_restarts_see_what_pauses_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the engine cannot pause, the call is made again for every pause, with the same findings."""
    paused = looked("1.01", 3)
    monkeypatch.setattr(pauses, "HAS_YIELDS", False)
    again = looked("1.01", 3)
    assert again.verdict == paused.verdict == "wrong"
    assert [s.state for s in again.sightings] == [s.state for s in paused.sightings]
    assert addresses(again) == addresses(paused)
    assert paused.first is not None
    assert again.first is not None
    assert again.first.pattern.text == paused.first.pattern.text
    assert paused.first.sighting.image is not None
    assert again.first.sighting.image is not None
    assert np.array_equal(again.first.sighting.image.values, paused.first.sighting.image.values)
