"""An instrumented guest answers like the guest: statuses, results, diagnostics, and every byte of memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from refruntime.battery.catalogue import default_battery
from refruntime.cases.observation import Broken, Ended, kind_of
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import Case
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.instrument.watch import watch_comparisons

GUEST = Path(__file__).resolve().parent.parent.parent / "guest" / "guest.wasm"
FEW = ("state/*-*-*", "generator")


def answers(module: WasmModule, case: Case) -> list[object]:
    """What each step showed, and at the end the whole of linear memory."""
    engine = WasmEngine(module)
    session = StepRunner(Client(engine), Profile(), case.models)
    seen: list[object] = []
    for step in case.steps:
        shown = session.run(step)
        seen.append(kind_of(shown) if isinstance(shown, Broken) else shown)
        if isinstance(shown, Ended):
            break
    return [*seen, engine.memory_size, hashlib.sha256(engine.read(0, engine.memory_size)).hexdigest()]


@pytest.mark.parametrize("patterns", [FEW, pytest.param((), marks=pytest.mark.slow)], ids=["few", "all"])
def test_an_instrumented_guest_answers_with_the_same_bits(patterns: tuple[str, ...]) -> None:
    """ID-2: watching changes no answer and no byte of memory, for any case of the battery."""
    data = GUEST.read_bytes()
    plain, watched = WasmModule(data), WasmModule(watch_comparisons(data).module)
    cases = default_battery(Profile(), None, patterns)
    assert len(cases) > (10 if patterns else 500)
    steps = 0
    for case in cases:
        expected = answers(plain, case)
        assert answers(watched, case) == expected, case.name
        steps += len(expected) - 2
    assert steps > (50 if patterns else 5000)
