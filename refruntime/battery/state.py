"""Cases on states: every call in every situation, and what each leaves behind (contract sections 4 to 7).

Every case brings a fresh runtime into a situation, makes one call, and then looks at what is left: it continues,
generates, and continues again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from refruntime.battery.models.slm1 import story_model, table_model
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Case, Configure, Generate, Load, Step, Write
from refruntime.contract.profile import Profile

LOAD: Final = Load("story")
TWO: Final = Generate(b"a", 2)
DRAWN: Final = Configure(1.0, 8, 1.0, 5)
TOO_LONG: Final = 134_217_729

BUFFER: Final = (Call("alloc", (4,), bind="buffer"), Write("buffer", b"abcd"))

SITUATIONS: Final[Mapping[str, tuple[Step, ...]]] = {
    "uninitialized": (),
    "initialized": (INIT,),
    "configured": (Configure(0.5, 3, 0.75, 9),),
    "ready": (INIT, LOAD),
    "continuing": (LOAD, TWO),
    "stopped at EOS": (LOAD, Generate(b"a", 100)),
    "full": (LOAD, Generate(b"e", 100)),
    "drawing": (LOAD, DRAWN, Generate(b"m", 2), NEXT_TOKEN, NEXT_TOKEN),
    "failed without a model": (NEXT_TOKEN,),
    "failed with a model": (LOAD, Configure(-1.0)),
    "failed generation": (LOAD, TWO, Generate(b"x", 1)),
    "reset": (LOAD, TWO, RESET),
    "freed": (LOAD, TWO, FREE),
}

CALLS: Final[Mapping[str, tuple[Step, ...]]] = {
    "alloc": (Call("alloc", (16,), bind="other"), Call("dealloc", ("other", 16))),
    "alloc 0": (Call("alloc", (0,)),),
    "alloc too much": (Call("alloc", (TOO_LONG,)),),
    "init": (INIT,),
    "load": (LOAD,),
    "load broken": (Load("broken"),),
    "load null": (Call("load_model", (0, 4)),),
    "load length 0": (*BUFFER, Call("load_model", ("buffer", 0))),
    "load too long": (*BUFFER, Call("load_model", ("buffer", TOO_LONG))),
    "configure": (Configure(1.0, 4, 0.9, 3),),
    "configure badly": (Configure(1.0, 0, 0.9, 3),),
    "generate": (TWO,),
    "generate one": (Generate(b"ab", 1),),
    "generate to the end": (Generate(b"b", 50),),
    "generate null": (Call("generate", (0, 1, 1)),),
    "generate length 0": (Generate(b"", 1),),
    "generate too long a slice": (*BUFFER, Call("generate", ("buffer", TOO_LONG, 1))),
    "generate bad UTF-8": (Generate(b"a\xff", 1),),
    "generate bad UTF-8 and no tokens": (Generate(b"\xff", 0),),
    "generate no tokens": (Generate(b"a", 0),),
    "generate too long a prompt": (Generate(b"1234567", 1),),
    "generate too long a prompt and no tokens": (Generate(b"1234567", 0),),
    "generate bad output": (Generate(b"x", 1),),
    "generate ends at once": (Generate(b"z", 3),),
    "next token": (NEXT_TOKEN,),
    "next token three times": (NEXT_TOKEN, NEXT_TOKEN, NEXT_TOKEN),
    "result": (Call("last_result_ptr"), Call("last_result_len")),
    "diagnostics": (Call("get_diagnostics_ptr"),),
    "reset": (RESET,),
    "reset twice": (RESET, RESET),
    "free": (FREE,),
    "free twice": (FREE, FREE),
}

AFTERWARDS: Final = (NEXT_TOKEN, TWO, NEXT_TOKEN, RESET)

RULES: Final[Mapping[str, tuple[str, ...]]] = {
    "alloc": ("MEM-1", "ST-1"),
    "init": ("ST-1", "ST-2", "ST-9"),
    "load": ("ST-3", "ST-4", "MEM-2", "PR-4"),
    "configure": ("SC-1", "SC-2", "SC-3", "ST-9"),
    "generate": ("GEN-1", "GEN-2", "GEN-3", "GEN-5", "ST-7", "ST-8", "MEM-2"),
    "next": ("NT-1", "NT-2", "NT-3", "NT-4", "NT-5", "NT-6", "NT-7"),
    "result": ("MEM-7", "ST-1"),
    "diagnostics": ("DG-2", "MEM-7"),
    "reset": ("ST-5", "PR-4"),
    "free": ("ST-6",),
}


def state_cases(profile: Profile) -> Iterator[Case]:
    """Yield a case for every call in every situation."""
    story = story_model(profile)
    models = {"story": story, "broken": story[:-1] + bytes([story[-1] ^ 1])}
    for situation, before in SITUATIONS.items():
        for call, steps in CALLS.items():
            name = f"state/{situation}-{call}".replace(" ", "-")
            yield Case(name, (*before, *steps, *AFTERWARDS), models, RULES[call.split()[0]])
    yield _cleared_result(models)


def _cleared_result(models: Mapping[str, bytes]) -> Case:
    """Return the case on the first act of a generation: it clears the result, which shows where ERR-4 leaves it alone.

    What fails before a generation begins leaves the result as it was, what fails behind its beginning leaves none.
    """
    before, behind = (Generate(b"", 1), Generate(b"a", 0)), (Generate(b"1234567", 1), Generate(b"x", 1))
    steps = (LOAD, *(step for failing in (*before, *behind) for step in (TWO, failing, RESET)), TWO, NEXT_TOKEN)
    return Case("state/generation-clears-the-result", steps, models, ("GEN-1", "GEN-2", "GEN-3", "GEN-9", "ERR-4"))


def generator_cases(profile: Profile) -> Iterator[Case]:
    """Yield cases that show when the runtime-owned generator advances and when it is made anew (PR-4, SC-3, GEN-7)."""
    even = dict.fromkeys(b"abcdefghijklmnopqrstuvwxyz012345", 0.0)  # 32 equal logits: 5 bits of every draw show
    model = {"even": table_model({}, otherwise=even, capacity=128, profile=profile)}
    load, start, four = Load("even"), Generate(b"-", 4), (NEXT_TOKEN,) * 4
    drawn = Configure(1.0, 1024, 1.0, 77)
    sessions: dict[str, tuple[Step, ...]] = {
        "default-seed": (load, Configure(1.0, 1024), start, *four),
        "continues": (load, drawn, start, *four, *four),
        "generate": (load, drawn, start, *four, start, *four),
        "reset": (load, drawn, start, *four, RESET, start, *four),
        "load": (load, drawn, start, *four, load, start, *four),
        "free-and-load": (load, drawn, start, *four, FREE, load, start, *four),
        "init": (load, drawn, start, *four, INIT, start, *four),
        "configure-again": (load, drawn, start, *four, drawn, *four),
        "configure-badly": (load, drawn, start, *four, Configure(1.0, 0, 1.0, 5), *four),
        "configure-before-load": (drawn, load, start, *four),
        "greedy-in-between": (load, drawn, start, *four, Configure(0.0, 5, 1.0, 77), *four, drawn, *four),
        "failed-generation": (load, drawn, start, *four, Generate(b"", 1), Generate(b"-" * 200, 1), start, *four),
        "one-call-and-single-steps": (load, drawn, Generate(b"-", 1), *four, RESET, Generate(b"-", 5)),
        "capacity": (load, drawn, Generate(b"-", 1000), NEXT_TOKEN, RESET, start, *four),
    }
    for name, steps in sessions.items():
        yield Case(f"generator/{name}", steps, model, ("PR-1", "PR-3", "PR-4", "SC-3", "GEN-7", "NT-4"))
    for seed in (0, 1, 2, 2**31, 2**32, 2**63, 2**64 - 1, -1, 2**64 + 5, 0x9E3779B97F4A7C15, 88172645463325252):
        steps = (load, Configure(1.0, 1024, 1.0, seed), Generate(b"-", 60), *four)
        yield Case(f"generator/seed-{seed}", steps, model, ("PR-1", "PR-2", "PR-3", "ABI-3", "GEN-7"))
