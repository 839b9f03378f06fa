"""A case on the sum behind top-p: it tells a float32 running sum from a wider one (SA-5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refruntime.battery.models.slm1 import table_model
from refruntime.cases.steps import INIT, NEXT_TOKEN, Case, Configure, Generate, Load, Step
from refruntime.contract.profile import Profile

PRINTABLE: Final = range(32, 127)
"""95 candidates whose text is always UTF-8."""

DISTANCE: Final = 2.0**-9
"""How far 94 of them lie below the first: each weighs expf(-2^-9), which the running sum rounds each time alike."""

SHARE: Final = 0.9894745349884033
"""A top_p between the float32 sum and the exact sum of 94 weights, which the roundings have driven 1.2e-4 apart."""


def nucleus_cases(profile: Profile) -> Iterator[Case]:
    """Yield a session in which a running sum in float64 keeps 94 candidates where float32 keeps 95.

    Half of the mass ends far from any such edge, so that both keep the same: no other cut explains the session.
    """
    logits = dict.fromkeys(PRINTABLE, -DISTANCE) | {PRINTABLE[0]: 0.0}
    model = table_model({}, otherwise=logits, capacity=32, profile=profile)
    steps: list[Step] = [INIT, Load("m")]
    for share in (0.5, SHARE):
        sampling = Configure(1.0, len(PRINTABLE), share, 5)
        steps += [sampling, Generate(b"a", 1), *[NEXT_TOKEN] * 12, Generate(b"a", 20)]
    yield Case("sampler/nucleus-running-sum", tuple(steps), {"m": model}, ("SA-5",))
