"""The witness as a library on a module from C: a recurrent cell that clang compiled, whose interface is its own.

`tests/support/recurrent/cell.c` says how its three modules were made.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("wasmtime")

from refruntime.witness import Expected, Look, PausableInstance, PausableModule, WatchedCall, look

FOLDER = Path(__file__).parents[2] / "support" / "recurrent"
IN, STATE, TICKS = 20, 36, 2
"""Before the second tick the state is zero, and whether it is reset shows in nothing."""
Float32 = NDArray[np.float32]
ONE, HALF = np.float32(1), np.float32(0.5)

_random = np.random.default_rng(11)
INPUT: Float32 = (_random.standard_normal((3 * STATE, IN)) / 3).astype(np.float32)
RECURRENT: Float32 = (_random.standard_normal((3 * STATE, STATE)) / 4).astype(np.float32)
BIAS: Float32 = (_random.standard_normal(3 * STATE) / 9).astype(np.float32)
INPUTS: Float32 = _random.standard_normal((TICKS, IN)).astype(np.float32)


def perform(instance: PausableInstance) -> None:
    """Do what a host of this module does."""
    weights = b"".join(part.tobytes() for part in (INPUT, RECURRENT, BIAS))
    instance.write(instance.call("w"), weights)
    for values in INPUTS:
        instance.write(instance.call("x"), values.tobytes())
        instance.call("tick")


def in_order(matrix: Float32, x: Float32) -> Float32:
    """Add the products of each row one after the other, each rounded."""
    return np.add.accumulate(matrix * x, axis=1)[:, -1]


def expected() -> list[Expected]:
    """Return what the last tick computes."""
    state, result = np.zeros(STATE, np.float32), {}

    def rows(part: int, x: Float32, h: Float32) -> Float32:
        chosen = slice(part * STATE, (part + 1) * STATE)
        return in_order(INPUT[chosen], x) + in_order(RECURRENT[chosen], h) + BIAS[chosen]

    for x in INPUTS:
        update, reset = (HALF + HALF * (v / (ONE + np.abs(v))) for v in (rows(0, x, state), rows(1, x, state)))
        kept = reset * state
        raw = rows(2, x, kept)
        candidate = raw / (ONE + np.abs(raw))
        state = (ONE - update) * state + update * candidate
        result = {"update": update, "reset": reset, "reset state": kept, "candidate": candidate, "state": state}
    needs = {"reset state": ("reset",), "candidate": ("reset state",), "state": ("update", "candidate")}
    return [Expected(n, v.reshape(1, -1), needs.get(n, ()), lasting=n == "state") for n, v in result.items()]


@pytest.fixture(params=["cell", "late", "fast"])
def seen(request: pytest.FixtureRequest) -> tuple[str, Look]:
    """Look into the last tick of a module."""
    module = PausableModule((FOLDER / f"{request.param}.wasm").read_bytes())
    call = WatchedCall(module, perform, "tick", TICKS - 1)
    return request.param, look(call, expected(), 0, call.run().fuel_of_watched)


def test_a_module_from_c_is_read(seen: tuple[str, Look]) -> None:
    """FW-4: all is seen in the right one; else the first wrong array, its elements, or the size of another order."""
    name, found = seen
    states = {sighting.name: sighting.state for sighting in found.sightings}
    if name == "cell":
        assert found.verdict == "clean"
        assert set(states.values()) == {"equal"}
        return
    assert found.verdict == "wrong"
    assert found.first is not None
    if name == "late":
        assert found.first.name == "candidate"
        assert found.first.pattern.text.startswith("elements 32 .. 35 ")
        assert [states[each] for each in ("update", "reset", "reset state")] == ["equal"] * 3
    else:
        assert (found.first.name, found.first.pattern.kind) == ("update", "rounding")
