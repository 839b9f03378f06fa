"""The first sessions with an unknown build: answers that no switch of the profile can change, under fixed settings.

They are greedy, without ties, and show every diagnostics field with many values: a field is what its values do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refruntime.battery.models.slm1 import Numbers, Shape, follow, random_model, table_model
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Case, Configure, Generate, Load
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile

GREEDY: Final = Configure(0.0, 1, 1.0, 1)
LEAST: Final = 1
"""A token that has the least logit after every other one."""
ALPHABET: Final = bytes(range(ord("a"), ord("z") + 1))


def naming_sessions(profile: Profile) -> Iterator[Case]:
    """Yield sessions that need one kind of file each, so that a build without a storage type still shows its fields.

    Only f32 weights generate: what quantised ones give is the choice of FW-4. Logits follow from the last token alone,
    so that a build whose attention is wrong shows its fields too.
    """
    for number, (name, letters, capacity) in enumerate((("plain", b"abcdefghijklmn", 40), ("wide", ALPHABET, 56))):
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
        models = {"model": _spelling(900 + number, letters, capacity, profile), "broken": b"none"}
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


def _spelling(seed: int, letters: bytes, capacity: int, profile: Profile) -> bytes:
    """Return a model that goes from letter to letter; each row of its logits is another one, its least one too."""
    rows = Numbers(seed).uniform(len(letters) + 1, len(letters), scale=9.0)
    otherwise, *table = (
        {**{letter: float(x) for letter, x in zip(letters, row, strict=True)}, LEAST: -1001.5 - place}
        for place, row in enumerate(rows)
    )
    return table_model(dict(zip(letters, table, strict=True)), otherwise=otherwise, capacity=capacity, profile=profile)
