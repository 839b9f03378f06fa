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

`refruntime.witness.build.Witness` does this for a build with the 13 exports and the tensors of the oracle.
"""

from __future__ import annotations

from refruntime.engines.wasm.pauses import PausableInstance, PausableModule
from refruntime.witness.expected import Expected
from refruntime.witness.looking import Look, WrongArray, look
from refruntime.witness.patterns import Pattern
from refruntime.witness.recording import WatchedCall

__all__ = ["Expected", "Look", "Pattern", "PausableInstance", "PausableModule", "WatchedCall", "WrongArray", "look"]
