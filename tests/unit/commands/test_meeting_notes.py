"""What a report says of the contract of a build that was identified."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from refruntime.commands.diff import meet as meeting
from refruntime.contract.profile import Profile
from refruntime.engines.base import Limits
from refruntime.engines.declaration import resolve_contract
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.numerics import Seq32
from tests.support.builds import GUEST


@dataclass(frozen=True)
class Told:
    """What identification gives, as far as meeting reads it."""

    profile: Profile
    learnt: tuple[object, ...] = ()
    problem: str = ""


@pytest.mark.parametrize("given", [None, Profile()])
def test_an_identified_build_has_no_assumed_profile(given: Profile | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """ID-1: the note that the default profile is assumed goes with the assumption; what a person gave stays told."""
    found = Profile(unit_conversion="53 high bits")
    monkeypatch.setattr(meeting, "identify", lambda *_, **__: Told(found))
    module, resolved = GUEST.read_bytes(), resolve_contract(None, given)
    compiled = WasmModule(module, Limits())
    met = meeting.meet(
        "guest.wasm", module, lambda: WasmEngine(compiled, Limits()), resolved, "always", Seq32(), Limits()
    )
    assert (met.resolved.source, met.resolved.profile) == ("identified", found)
    *before, last = met.resolved.notes
    assert last.startswith("the build was identified first (--identify always): 0 options observed")
    assert before == ([] if given is None else list(resolved.notes))
