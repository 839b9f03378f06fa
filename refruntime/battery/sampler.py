"""Cases on the sampler: dictated logits, so that each decision is known beforehand (contract section 8)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from refruntime.battery.models.slm1 import Logits, Shape, btok_section, random_model, table_model
from refruntime.cases.steps import INIT, NEXT_TOKEN, RESET, Case, Configure, Generate, Load, Step
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


RULES: Final = ("SA-1", "SA-2", "SA-3", "SA-4", "SA-5", "SA-6", "PR-3", "DG-4", "GEN-11")
LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
CHARACTERS: Final = bytes(range(48, 112))

ON_AN_EDGE: Final = (0x9E0A7F2E9292925A, 0xB89D81143A7D896D, 0xF625A2676C738549, 0x7FDD6FF253D79BDE)
"""Seeds whose first output (shifts 13, 7, 17) has 24 high bits that end in 18 zeros: 64 times the draw is whole."""

ROUNDED_OVER_AN_EDGE: Final = (0xC29BE836074A7B0E, 0x87F24460921BFB49, 0x6E9FC92972959D1C, 0xF022E650557648F4)
"""Seeds whose first output has 24 high bits that end in 18 ones, then a one: more bits would round 64 draws up."""

TEMPERATURES: Final = (1e-45, 1e-40, 1e-30, 0.01, 0.3, 0.7, 1.0, 1.7, 100.0, 3.4e38)
TOP_KS: Final = (1, 2, 3, 5, 8, 25, 26, 40, 259, 260, 261, 1024)
TOP_PS: Final = (1e-45, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.9999999, 1.0)


def drawing(sampling: Configure, count: int = 24) -> tuple[Step, ...]:
    """Draw many tokens in one call, then some one by one, whose diagnostics show every step."""
    return Load("model"), sampling, Generate(b"-", count), *[NEXT_TOKEN] * 6, RESET, Generate(b"-", 1), NEXT_TOKEN


def sampler_cases(profile: Profile) -> Iterator[Case]:
    """Yield every case of the family."""
    yield from _grid_cases(profile)
    yield from _edge_cases(profile)
    yield from nucleus_cases(profile)
    yield from _unusual_logits_cases(profile)
    yield from _large_vocabulary_cases(profile)


def _grid_cases(profile: Profile) -> Iterator[Case]:
    """Yield temperatures, top_k and top_p one by one and together, over a slope of logits and over ties."""
    slope = table_model({}, otherwise={t: -0.25 * i for i, t in enumerate(LETTERS)}, capacity=64, profile=profile)
    # four groups of equal logits; the ids of a group are spread over the vocabulary
    groups = {token: float(-(place % 4)) for place, token in enumerate(LETTERS)}
    ties = table_model({}, otherwise=groups, capacity=64, profile=profile)
    for name, model in (("slope", slope), ("ties", ties)):
        settings = {f"temperature-{value:g}": Configure(value, 1024, 1.0, 3) for value in TEMPERATURES}
        settings |= {f"top-k-{value}": Configure(1.0, value, 1.0, 3) for value in TOP_KS}
        settings |= {f"top-p-{value:g}": Configure(1.0, 1024, value, 3) for value in TOP_PS}
        settings |= {f"all-{seed}": Configure(0.8, 9, 0.85, seed) for seed in (0, 1, 12345, 2**63)}
        settings["greedy-ignores-the-rest"] = Configure(0.0, 9, 0.85, 5)
        for setting, sampling in settings.items():
            yield Case(f"sampler/{name}-{setting}", drawing(sampling), {"model": model}, RULES)


def _edge_cases(profile: Profile) -> Iterator[Case]:
    """Yield decisions that fall exactly on an edge, so that `<` and `<=`, rounding and order show."""
    even = table_model({}, otherwise=dict.fromkeys(CHARACTERS, 0.0), capacity=64, profile=profile)
    for seed in (*ON_AN_EDGE, *ROUNDED_OVER_AN_EDGE):
        kind = "on" if seed in ON_AN_EDGE else "rounded-over"
        steps = (Load("model"), Configure(1.0, 64, 1.0, seed), Generate(b"-", 1), NEXT_TOKEN, Generate(b"-", 9))
        yield Case(f"sampler/draw-{kind}-an-edge-{seed:x}", steps, {"model": even}, ("SA-6", "PR-3"))
    four = table_model({}, otherwise=dict.fromkeys(b"abcd", 2.0), capacity=64, profile=profile)
    for share in (0.25, 0.5, 0.75):  # cumulative weights 1, 2, 3, 4 of 4: the threshold is one of them
        sampling = Configure(1.0, 4, share, 11)
        yield Case(f"sampler/top-p-reached-exactly-{share:g}", drawing(sampling), {"model": four}, ("SA-5",))
    # Divided by the temperature first the two logits are one float32, and the lower id comes first.
    close = table_model({}, otherwise={97: 2 - 2.0**-22, 98: 2 - 2.0**-23}, capacity=64, profile=profile)
    for top_k in (1, 2):
        title = f"sampler/temperature-makes-a-tie-top-k-{top_k}"
        yield Case(title, drawing(Configure(1.9, top_k, 1.0, 11)), {"model": close}, ("SA-3", "SA-2"))
    # A tenth of ten weights of 1 is one of them; ten weights of 0.1 are more than 1, and a tenth of that takes two.
    # 3 of 12 tells the two apart where the sum must exceed the threshold, too.
    for part, count in ((1, 10), (1, 24), (3, 12)):
        equal = table_model({}, otherwise=dict.fromkeys(LETTERS[:count], 2.0), capacity=64, profile=profile)
        title = f"sampler/top-p-of-equals-{part}-{count}"
        yield Case(title, drawing(Configure(1.0, count, part / count, 11)), {"model": equal}, ("SA-4", "SA-5"))
    # The third and all later weights vanish in a float32 sum of 2, but not in a float64 sum.
    vanishing = {97: 0.0, 98: 0.0} | dict.fromkeys(range(260, 760), math.log(2.0**-24))
    model = table_model({}, otherwise=vanishing, vocab=760, capacity=64, tokenizer=btok_section(760), profile=profile)
    for share in (0.5, 1.0):
        sampling = Configure(1.0, 1024, share, 11)
        yield Case(f"sampler/vanishing-weights-{share:g}", drawing(sampling), {"model": model}, ("SA-4", "SA-5"))


def _unusual_logits_cases(profile: Profile) -> Iterator[Case]:
    """Yield logits that are infinite, not numbers, huge, tiny or of both signs of zero."""
    nan, largest = math.nan, 3e38
    models: Mapping[str, tuple[Logits, float, float]] = {  # logits, background, gain
        "large": ({97: 100.0, 98: 101.0, 99: 99.5}, 0.0, 1.0),
        "large-negative": ({97: -200.0, 98: -201.0, 99: -202.0}, -1000.0, 1.0),
        "beyond-float32": ({97: largest, 98: largest / 2, 99: -largest}, -1000.0, 4.0),
        "one-infinite": ({97: largest, 98: 1.0}, 0.0, 4.0),
        "two-infinite": ({97: largest, 98: largest}, 0.0, 4.0),
        "minus-infinite": ({97: -largest, 98: 1.0, 99: 0.5}, 0.0, 4.0),
        "all-infinite": ({}, largest, 4.0),
        "all-minus-infinite": ({}, -largest, 4.0),
        "one-nan": ({97: nan, 98: 1.0, 99: 0.5}, 0.0, 1.0),
        "first-nan": ({0: nan, 1: nan, 98: 1.0}, 0.0, 1.0),
        "all-but-one-nan": ({98: 1.0}, nan, 1.0),
        "all-nan": ({}, nan, 1.0),
        "nan-and-infinite": ({97: nan, 98: largest, 99: -largest}, 0.0, 4.0),
        "nan-and-minus-infinite": ({97: nan}, -largest, 4.0),
        "zeros-of-both-signs": ({97: -0.0, 98: 0.0, 99: -0.0}, -1.0, 1.0),
        "all-minus-zero": ({}, -0.0, 1.0),
        "subnormal": ({97: 1e-44, 98: 2e-44, 99: 3e-44}, 0.0, 1.0),
        "largest-spread": ({97: largest, 98: -largest}, 0.0, 1.0),
        "underflowing-weights": ({97: 0.0, 98: -86.0, 99: -87.5, 100: -103.0, 101: -104.0}, -1000.0, 1.0),
    }
    for name, (logits, background, gain) in models.items():
        model = table_model({}, otherwise=logits, background=background, gain=gain, capacity=64, profile=profile)
        for kind, sampling in (
            ("greedy", Configure(0.0, 5, 1.0, 3)),
            ("drawn", Configure(1.0, 5, 1.0, 3)),
            ("all", Configure(2.5, 1024, 0.95, 3)),
            ("cold", Configure(1e-40, 40, 1.0, 3)),
            ("hot", Configure(3e38, 1024, 1.0, 3)),
        ):
            yield Case(f"sampler/{name}-{kind}", drawing(sampling, 6), {"model": model}, RULES)


def _large_vocabulary_cases(profile: Profile) -> Iterator[Case]:
    """Yield more candidates than the sampler retains (1024), equal and random."""
    vocab = 1300
    section = btok_section(vocab)
    equal = table_model({}, otherwise={}, background=1.0, vocab=vocab, capacity=48, tokenizer=section, profile=profile)
    shape = Shape(vocab, hidden=16, layers=1, heads=2, ffn=24, capacity=48)
    uneven = random_model(200, shape, tokenizer=section, profile=profile)
    for name, model in (("equal", equal), ("random", uneven)):
        for top_k, top_p in ((1024, 1.0), (1023, 0.9), (1000, 0.5), (64, 0.99)):
            for temperature in (1.0, 8.0):
                sampling = Configure(temperature, top_k, top_p, 21)
                title = f"sampler/{name}-{vocab}-ids-{top_k}-{top_p:g}-{temperature:g}"
                yield Case(title, drawing(sampling, 12), {"model": model}, ("SA-2", "SA-5", "SA-6", "SL-8"))
