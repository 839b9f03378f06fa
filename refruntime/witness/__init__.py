"""Read the first wrong number out of a build's own memory.

A call of any module is stopped at many points (`WatchedCall`), what its memory holds there is recorded and aligned with
named float32 arrays that should appear (`Expected`), in the order of their dependencies. `look` tells which was seen
where and when, which is the first wrong one, which of its elements are, and by which pattern. Nothing is assumed of the
module but that the same call does the same again.

    from refruntime.witness import Expected, PausableModule, WatchedCall, look

    def perform(instance):  # all that a host does, up to and with the call that is watched
        instance.call("forward", 3)

    call = WatchedCall(PausableModule(data), perform, "forward")
    expected = [Expected("hidden", hidden), Expected("out", out, needs=("hidden",))]
    seen = look(call, expected, 0, call.run().fuel_of_watched)
    print(seen.verdict, seen.first and seen.first.pattern.text)

`refruntime.witness.build.Witness` does this for a build with the 13 exports and the tensors of the oracle. The names
below load their module when they are first used: `witness.patterns` needs no WebAssembly engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refruntime.engines.wasm.pauses import PausableInstance, PausableModule
    from refruntime.witness.expected import Expected
    from refruntime.witness.looking import Look, WrongArray, look
    from refruntime.witness.patterns import Pattern
    from refruntime.witness.recording import WatchedCall

__all__ = ["Expected", "Look", "Pattern", "PausableInstance", "PausableModule", "WatchedCall", "WrongArray", "look"]

_HOMES = {
    "Expected": "refruntime.witness.expected",
    "Look": "refruntime.witness.looking",
    "Pattern": "refruntime.witness.patterns",
    "PausableInstance": "refruntime.engines.wasm.pauses",
    "PausableModule": "refruntime.engines.wasm.pauses",
    "WatchedCall": "refruntime.witness.recording",
    "WrongArray": "refruntime.witness.looking",
    "look": "refruntime.witness.looking",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
