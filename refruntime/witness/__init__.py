"""Read the first wrong number out of a build's own memory.

A call of any module is stopped at many points (`WatchedCall`), what its memory holds there is recorded and aligned with
named float32 arrays that should appear (`Expected`), in the order of their dependencies. `look` tells which was seen
where and when, which is the first wrong one, which of its elements are, and by which pattern. Nothing is assumed of the
module but that the same call does the same again.

    module = PausableModule(data)
    call = WatchedCall(module, lambda instance: instance.call("forward", 3), "forward")
    fuel = call.run().fuel_of_watched
    seen = look(call, [Expected("hidden", hidden), Expected("out", out, ("hidden",))], 0, fuel)
    print(seen.verdict, seen.first and seen.first.pattern.text)

`Witness` does this for a build with the 13 exports and the tensors of the oracle.
"""
