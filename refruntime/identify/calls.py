"""The first sessions with an unknown build: answers that no switch of the profile can change, under fixed settings.

They are greedy, without ties, and show every diagnostics field with many values: a field is what its values do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refruntime.battery.models.slm1 import Shape, follow, random_model, table_model
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Case, Configure, Generate, Load
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile

GREEDY: Final = Configure(0.0, 1, 1.0, 1)


def naming_sessions(profile: Profile) -> Iterator[Case]:
    """Yield sessions that need one kind of file each, so that a build without a storage type still shows its fields.

    Only f32 weights generate: what quantised ones give is the choice of FW-4.
    """
    shapes = {
        "plain": Shape(hidden=16, heads=2, ffn=24, capacity=40),
        "wide": Shape(hidden=24, heads=2, ffn=8, capacity=56),
    }
    for number, (name, shape) in enumerate(shapes.items()):
        steps = (
            INIT,
            Configure(0.5, 3 + number, 0.75, 9),
            Configure(1.25, 17, 0.3, 2**63 + 5 + number),
            GREEDY,
            Load("model"),
            Generate(b"a", 3),
            NEXT_TOKEN,
            NEXT_TOKEN,
            Generate(b"hello, you", 1),
            Generate(b"xyz", 6),
            NEXT_TOKEN,
            Configure(0.0, 40, 1.0, 2**64 - 1),
            RESET,
            Generate(b"The cat", 2),
            Configure(0.0, 0, 1.0, 1),
            Generate(b"q", 4),
            Load("broken"),
            Load("model"),
            Generate(b"ok then", 5),
            FREE,
            Configure(0.1, 1, 0.9, 12345),
        )
        models = {"model": random_model(900 + number, shape, profile=profile), "broken": b"none"}
        yield Case(f"names/{name}", steps, models, ("DG-3", "DG-4", "DG-5", "DG-6", "DG-8"))
    for dtype in (DType.Q8_0, DType.Q4_0):
        model = random_model(910 + int(dtype), Shape(hidden=32, heads=2, ffn=32, capacity=24), dtype, profile=profile)
        yield Case(
            f"names/{dtype.label.replace('_', '-')}", (INIT, Load("model"), RESET, FREE), {"model": model}, ("DG-6",)
        )
    story = table_model({**follow(*b"abcd", 257), ord("e"): {ord("e"): 1.0}}, capacity=8, profile=profile)
    more = (Generate(b"b", 100), Generate(b"ce", 100), NEXT_TOKEN, RESET)
    yield Case(
        "names/stops", (GREEDY, Load("story"), Generate(b"a", 100), NEXT_TOKEN, *more), {"story": story}, ("DG-6",)
    )
