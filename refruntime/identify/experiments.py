"""Sessions that tell options of declared rules apart, each made so that few switches matter in it.

Draws are dictated: a seed is the state before a chosen output of the generator, found by running the generator
backwards. So one call of `generate` with one token shows one decision of the sampler, whatever the generator is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from refruntime.battery.models.slm1 import BTOK_VOCAB, Shape, follow, product_model, random_model, table_model
from refruntime.battery.models.slm1_bytes import patched, patched_entry
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Case, Configure, Generate, Load, Step
from refruntime.containers.slm1_format import ENTRY_OFFSETS, DType
from refruntime.contract.profile import Profile
from refruntime.identify.backwards import seeds_for
from refruntime.identify.gguf_experiments import gguf_experiments

GREEDY: Final = Configure(0.0, 1, 1.0, 1)
LETTERS: Final = range(33, 113)
"""80 printable ids; a model gives all of them one logit, and top_k keeps as many as an experiment wants."""

ROUNDED_APART: Final = (
    (63, 0x69A69ADFFFFFFFFF),
    (43, 0x8EE23B7FFFFFFFFF),
    (63, 0x84210A0000000005),
    (46, 0x82D82D7FFFFFFFFF),
    (58, 0xF72C237FFFFFFFFF),
    (24, 0x1555557FFFFFFFFF),
    (24, 0xBFFFFF7FFFFFFFFF),
    (21, 0x666666DFFFFFFFFF),
    (56, 0x724924BFFFFFFFFF),
    (46, 0x9999997FFFFFFFFF),
    (24, 0xB216417FFFFFFFFF),
)
"""(candidates, output): the conversions of PR-3 give numbers on two sides of an edge, under each option twice."""

FINELY_APART: Final = (
    (46, 0xA1642C8000100000),
    (47, 0xAE4C428000100000),
    (47, 0x537A6F4000100000),
    (36, 0xF15F168000100000),
    (45, 0x9F49F48000100000),
    (36, 0xF1C71C8000100000),
    (39, 0x650D794000100000),
    (51, 0x6B851F4000100000),
)
"""(candidates, output): what a conversion of 32 bits alone rounds down, 53 and 64 bits round up over an edge."""

ON_AN_EDGE: Final = ((4, 16), (4, 32), (3, 32), (5, 16), (4, 48), (5, 32), (8, 24), (65, 16), (33, 32), (17, 32))
"""(candidates, k): an output of k x 2^58 is k / 64 in every conversion and meets an edge of equal weights (SA-6)."""

EXACT_SHARES: Final = ((4, 1), (4, 2), (4, 3), (8, 5), (16, 9), (64, 33))
"""(candidates, part): the threshold part / candidates is one of the cumulative weights, normalised or not."""

ROUNDED_SHARES: Final = ((27, 15), (29, 15), (38, 27), (41, 11), (41, 22), (43, 15), (44, 29), (49, 7), (49, 14))
"""(candidates, part): quotients of equal weights round their sum over the threshold or under it (SA-4)."""

HIGHEST: Final = 2**64 - 1
"""The output that draws the last candidate that is kept."""


def switch_experiments(profile: Profile) -> Iterator[Case]:
    """Yield the sessions, those first that leave the fewest switches open for the ones that follow."""
    yield from _texts_and_states(profile)
    yield from _arithmetic(profile)
    yield from _orders(profile)
    yield from _draws(profile)
    yield from _generators(profile)
    yield from _files(profile)
    yield from gguf_experiments()


def _texts_and_states(profile: Profile) -> Iterator[Case]:
    story = table_model(
        {**follow(*b"abcd", 257), **follow(ord("x"), 0xFF), ord("e"): {ord("e"): 1.0}}, capacity=8, profile=profile
    )
    models = {"story": story, "none": b"no model"}
    load, two = Load("story"), Generate(b"a", 2)
    sessions: dict[str, tuple[Step, ...]] = {
        "failure-after-failure": (INIT, Configure(-1.0), Load("none"), Generate(b"a", 1), INIT),
        "init-on-live": (Configure(0.5, 3, 0.75, 9), INIT, INIT),
        "failure-after-load": (load, Configure(-1.0), Load("none")),
        "init-with-model": (load, INIT, Generate(b"a", 1)),
        "reset-after-load": (load, RESET, RESET),
        "reset-after-text": (load, two, RESET),
        "failure-after-text": (load, two, Configure(0.0, 0), Generate(b"\xff", 1)),
        "next-before-generate": (load, NEXT_TOKEN, two, RESET, NEXT_TOKEN),
        "next-after-failure": (load, two, Generate(b"12345678", 1), NEXT_TOKEN),
        "next": (load, two, NEXT_TOKEN, NEXT_TOKEN),
        "next-again": (load, Generate(b"e", 1), NEXT_TOKEN, NEXT_TOKEN, Generate(b"b", 1), NEXT_TOKEN),
        "not-utf-8": (load, Generate(b"x", 1), Generate(b"x", 2), NEXT_TOKEN),
        "not-utf-8-next": (load, Generate(b"x", 1), two),
    }
    for name, steps in sessions.items():
        rules = ("ERR-4", "ERR-5", "ST-2", "ST-5", "ST-7", "ST-9", "NT-2", "NT-6", "GEN-9")
        yield Case(f"identify/state-{name}", steps, models, rules)
    bytes_ = table_model({**follow(ord("a"), 0xC3, 0xA9, ord("b"), 0xFF, ord("c"))}, capacity=16, profile=profile)
    for count in (1, 2, 4):
        steps = (Load("bytes"), Generate(b"a", count), NEXT_TOKEN, NEXT_TOKEN)
        yield Case(f"identify/output-bytes-{count}", steps, {"bytes": bytes_}, ("GEN-9", "NT-7", "NT-6"))


def _arithmetic(profile: Profile) -> Iterator[Case]:
    inputs = (1.0000001192092896, 0.3333333432674408, 3.0, 0.10000000149011612)
    values = {token: float(token - 90) for token in range(48, 112)}
    scales = {token: 1.0 / (token - 40) for token in range(48, 112)}
    steps = (Load("model"), GREEDY, Generate(b"a", 3))
    for number in range(2):
        turned = inputs[number:] + inputs[:number]
        model = product_model(values, scales, (turned[0], turned[1], turned[2], turned[3]), profile)
        yield Case(f"identify/product-{number}", steps, {"model": model}, ("FW-4",))
    for dtype in (DType.Q8_0, DType.Q4_0):
        for seed in (31, 32):
            model = random_model(seed, Shape(hidden=32, heads=2, ffn=64, capacity=24), dtype, profile=profile)
            probes = (Load("model"), GREEDY, Generate(b"ab", 6), Generate(b"hello", 4))
            yield Case(f"identify/weights-{dtype.label.replace('_', '-')}-{seed}", probes, {"model": model}, ("FW-4",))


def _orders(profile: Profile) -> Iterator[Case]:
    groups = {token: float(-(place % 4)) for place, token in enumerate(LETTERS)}
    ties = table_model({}, otherwise=groups, capacity=16, profile=profile)
    yield Case(
        "identify/ties-shown", (Load("ties"), GREEDY, Generate(b"-", 2)), {"ties": ties}, ("SA-1", "SA-2", "DG-4")
    )
    even = {"even": _even(profile)}
    for top_k in (1, 2, 40):
        steps = (Load("even"), *_pulls(top_k, 1.0, (1 << 62, HIGHEST)))
        yield Case(f"identify/ties-drawn-{top_k}", steps, even, ("SA-2",))


def _draws(profile: Profile) -> Iterator[Case]:
    steps: Sequence[Step]
    # Candidates of nearly equal weight, in an order of their own: the generator matters, and hardly anything else.
    coin = table_model({}, otherwise={97 + i: -0.01 * i for i in range(16)}, capacity=64, profile=profile)
    for seed in (1, 77, 0xDEADBEEF12345678):
        steps = (Load("coin"), Configure(1.0, 16, 1.0, seed), Generate(b"-", 40))
        yield Case(f"identify/generator-{seed:x}", steps, {"coin": coin}, ("PR-1", "GEN-7"))
    for temperature in (1.0, 0.5):
        steps = (Load("coin"), Configure(temperature, 16, 1.0, 0), Generate(b"-", 40))
        yield Case(f"identify/seed-0-{temperature:g}", steps, {"coin": coin}, ("PR-2",))
    even = {"even": _even(profile)}
    for parts, rules in ((EXACT_SHARES, ("SA-5", "SA-4")), (ROUNDED_SHARES, ("SA-4", "SA-5"))):
        for half in (parts[::2], parts[1::2]):
            steps = [step for n, part in half for step in _pulls(n, part / n, (HIGHEST,))]
            name = "-".join(f"{n}.{part}" for n, part in half[:2])
            yield Case(f"identify/share-{name}", (Load("even"), *steps), even, rules)
    slope = table_model({}, otherwise={t: -0.25 * i for i, t in enumerate(LETTERS)}, capacity=16, profile=profile)
    for share in (0.3, 0.8):
        steps = [step for n in (5, 12, 40) for step in _pulls(n, share, (HIGHEST,))]
        yield Case(f"identify/slope-{share}", (Load("slope"), *steps), {"slope": slope}, ("SA-5",))
    for heat in (0.5, 2.0):
        steps = [step for share in (0.3, 0.8) for n in (5, 40) for step in _pulls(n, share, (HIGHEST,), heat)]
        yield Case(f"identify/slope-at-{heat:g}", (Load("slope"), *steps), {"slope": slope}, ("SA-5", "SA-3"))
    yield from _temperatures(profile)
    for half in (ON_AN_EDGE[::2], ON_AN_EDGE[1::2]):
        steps = [step for n, k in half for step in _pulls(n, 1.0, (k << 58,))]
        yield Case(f"identify/edge-{half[0][0]}-{half[0][1]}", (Load("even"), *steps), even, ("SA-6",))
    for start in range(0, len(ROUNDED_APART), 4):
        steps = [step for n, output in ROUNDED_APART[start : start + 4] for step in _pulls(n, 1.0, (output,))]
        yield Case(f"identify/unit-{start}", (Load("even"), *steps), even, ("PR-3",))
    for half in (FINELY_APART[::2], FINELY_APART[1::2]):
        steps = [step for n, output in half for step in _pulls(n, 1.0, (output,))]
        yield Case(f"identify/unit-fine-{half[0][0]}", (Load("even"), *steps), even, ("PR-3",))
    for seed in (5, 2**63 + 11):
        steps = [Load("even"), Configure(0.7, 80, 0.9, seed), Generate(b"-", 24), Configure(1.3, 33, 1.0, seed)]
        yield Case(f"identify/draws-{seed}", (*steps, Generate(b"-", 24)), even, ("PR-1", "PR-3", "SA-5", "SA-6"))


def _temperatures(profile: Profile) -> Iterator[Case]:
    """Yield temperatures whose reciprocal is infinite, and under which different logits collapse (SA-3)."""
    zeros = table_model({}, otherwise={97: 0.0, 98: 0.0, 99: -1.0}, capacity=16, profile=profile)
    ones = table_model({}, otherwise={97: 1.0, 98: 1.0, 99: -1.0}, capacity=16, profile=profile)
    close = {97: 1.0, 98: 1.0000001192092896, 99: 1.0000002384185791, 100: 1.000000476837158, 101: -50.0}
    near = table_model({}, otherwise=close, capacity=16, profile=profile)
    for name, model in (("zeros", zeros), ("ones", ones)):
        steps = [step for heat in (1e-40, 2e-39) for step in _pulls(3, 1.0, (1 << 62, 3 << 62), heat)]
        yield Case(f"identify/cold-{name}", (Load("model"), *steps), {"model": model}, ("SA-3",))
    for heat in (1e38, 3e38):
        steps = [step for top_k in (2, 3, 4) for step in _pulls(top_k, 1.0, (1 << 60, HIGHEST), heat)]
        yield Case(
            f"identify/hot-{heat:.0e}".replace("+", ""), (Load("model"), *steps), {"model": near}, ("SA-3", "SA-2")
        )


def _generators(profile: Profile) -> Iterator[Case]:
    even = {"even": _even(profile)}
    load, one, three = Load("even"), Generate(b"-", 1), (NEXT_TOKEN,) * 3
    drawn, other = Configure(1.0, 64, 1.0, 77), Configure(1.0, 64, 1.0, 123456789)
    sessions: dict[str, tuple[Step, ...]] = {
        "configured": (load, drawn, one, *three),
        "configured-first": (drawn, load, one, *three),
        "configured-again": (load, drawn, one, *three, drawn, *three, other, *three),
        "unconfigured-seed": (load, Configure(1.0, 64), one, *three),
        "generate": (load, drawn, one, *three, one, *three),
        "generate-fails": (load, drawn, one, *three, Generate(b"-" * 300, 1), one, *three),
        "reset": (load, drawn, one, *three, RESET, one, *three),
        "reset-twice": (load, other, one, NEXT_TOKEN, RESET, RESET, one, *three),
        "load": (load, drawn, one, *three, load, one, *three),
        "load-again": (load, other, one, NEXT_TOKEN, FREE, load, one, *three),
    }
    for name, steps in sessions.items():
        own = ("SC-3", "PR-4") if name.startswith("configured") else ("PR-4", "SC-3")
        yield Case(f"identify/generator-{name}", steps, even, (*own, "NT-4"))


def _files(profile: Profile) -> Iterator[Case]:
    small = Shape(hidden=4, layers=1, heads=2, ffn=6, capacity=8)
    plain = random_model(41, small, profile=profile)
    quantized = random_model(42, small, DType.Q8_0, profile=profile)
    scale = ENTRY_OFFSETS["scale_offset"]
    near_end = (len(quantized) - 2).to_bytes(8, "little")
    files: dict[str, tuple[bytes, ...]] = {
        "heads": (patched(plain, {"head_count": 3}, profile), patched(plain, {"head_dim": 4}, profile)),
        "kv-heads": (patched(plain, {"kv_head_count": 1}, profile), patched(plain, {"kv_head_count": 3}, profile)),
        "constants": tuple(
            patched(plain, {name: value}, profile)
            for name in ("rope_theta", "rms_norm_epsilon")
            for value in (0.0, -1.0, float("inf"), float("nan"))
        ),
        "data-offset": tuple(
            patched(plain, {"tensor_data_offset": value}, profile) for value in (64 * len(plain), 2**63)
        ),
        "scales": tuple(
            patched_entry(quantized, name, scale, value, profile)
            for name in ("norm.weight", "layers.0.w2.weight")
            for value in (near_end, bytes(8))
        ),
        "buffer": tuple(patched(plain, {"max_context": value}, profile) for value in (2**30, 2**31)),
    }
    rules = {
        "heads": "SL-1",
        "kv-heads": "SL-1",
        "constants": "SL-1",
        "data-offset": "SL-1",
        "scales": "SL-6",
        "buffer": "CL-statuses",
    }
    for name, several in files.items():
        for number, data in enumerate(several):
            steps = (Load("plain"), Load("file"), NEXT_TOKEN)  # tells a model from none, and no number of it
            yield Case(f"identify/file-{name}-{number}", steps, {"plain": plain, "file": data}, (rules[name],))


def _even(profile: Profile) -> bytes:
    return table_model({}, otherwise=dict.fromkeys(LETTERS, 0.0), capacity=64, vocab=BTOK_VOCAB, profile=profile)


def _pulls(top_k: int, top_p: float, outputs: tuple[int, ...], temperature: float = 1.0) -> list[Step]:
    """Return calls that draw one token each, from chosen outputs under each generator."""
    steps: list[Step] = []
    for output in outputs:
        for seed in seeds_for(output):
            steps += [Configure(temperature, top_k, top_p, seed), Generate(b"-", 1)]
    return steps
