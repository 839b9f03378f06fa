"""Cases on the surface: how host numbers become wasm numbers, what is a bad value, and what a trap leaves behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from refruntime.battery.models.slm1 import story_model
from refruntime.cases.steps import INIT, NEXT_TOKEN, Call, Case, Configure, Generate, Load, Step, Write
from refruntime.contract.profile import Profile

LARGEST: Final = 3.4028234663852886e38
SMALLEST: Final = 1.401298464324817e-45

SAMPLING: Final[dict[str, tuple[float, int, float, int]]] = {
    "defaults": (0.0, 1, 1.0, 1),
    "temperature-negative-zero": (-0.0, 1, 1.0, 1),
    "temperature-smallest": (SMALLEST, 1, 1.0, 1),
    "temperature-largest": (LARGEST, 1, 1.0, 1),
    "temperature-negative": (-1.0, 1, 1.0, 1),
    "temperature-negative-smallest": (-SMALLEST, 1, 1.0, 1),
    "temperature-underflows": (1e-50, 1, 1.0, 1),
    "temperature-overflows": (1e39, 1, 1.0, 1),
    "temperature-infinite": (math.inf, 1, 1.0, 1),
    "temperature-nan": (math.nan, 1, 1.0, 1),
    "temperature-rounded": (0.1, 1, 1.0, 1),
    "top-k-0": (1.0, 0, 1.0, 1),
    "top-k-1024": (1.0, 1024, 1.0, 1),
    "top-k-1025": (1.0, 1025, 1.0, 1),
    "top-k-negative": (1.0, -1, 1.0, 1),
    "top-k-wraps": (1.0, 2**32 + 7, 1.0, 1),
    "top-p-0": (1.0, 1, 0.0, 1),
    "top-p-negative-zero": (1.0, 1, -0.0, 1),
    "top-p-smallest": (1.0, 1, SMALLEST, 1),
    "top-p-negative": (1.0, 1, -0.5, 1),
    "top-p-just-above-1": (1.0, 1, 1.0000001192092896, 1),
    "top-p-rounds-to-1": (1.0, 1, 1.00000001, 1),
    "top-p-nan": (1.0, 1, math.nan, 1),
    "top-p-infinite": (1.0, 1, math.inf, 1),
    "seed-0": (1.0, 1, 1.0, 0),
    "seed-largest": (1.0, 1, 1.0, 2**64 - 1),
    "seed-negative": (1.0, 1, 1.0, -1),
    "seed-wraps": (1.0, 1, 1.0, 2**64 + 3),
    "all-bad": (-1.0, 0, 2.0, 0),
}


def sampling_value_cases(profile: Profile) -> Iterator[Case]:
    """Yield a case for every kind of sampling value, with and without a model; a bad one changes nothing."""
    models = {"story": story_model(profile)}
    old = Configure(0.25, 11, 0.5, 123)
    for name, values in SAMPLING.items():
        steps: tuple[Step, ...] = (old, Configure(*values), Load("story"), Configure(*values), Generate(b"a", 2), INIT)
        yield Case(f"status/sampling-{name}", steps, models, ("SC-1", "SC-2", "ERR-1", "ABI-3", "DG-6", "DG-7"))


def transfer_cases(profile: Profile) -> Iterator[Case]:
    """Yield cases on slices and buffers (MEM-1, MEM-2, MEM-9)."""
    story = story_model(profile)
    models = {"story": story}
    load = Load("story")
    buffer = (Call("alloc", (8,), bind="buffer"), Write("buffer", b"abcdefgh"))
    free = Call("dealloc", ("buffer", 8))
    sessions: dict[str, tuple[Step, ...]] = {
        "alloc-limits": (
            Call("alloc", (134_217_729,)),
            Call("alloc", (-1,)),
            Call("alloc", (0,)),
            Call("alloc", (2**32,)),
            Call("alloc", (134_217_728,), bind="large"),
            Call("dealloc", ("large", 134_217_728)),
            Call("alloc", (1,), bind="small"),
            Call("dealloc", ("small", 1)),
        ),
        "model-by-hand": (
            Call("alloc", (len(story),), bind="model"),
            Write("model", story),
            Call("load_model", ("model", len(story))),
            Write("model", bytes(len(story))),
            Call("dealloc", ("model", len(story))),
            Generate(b"a", 3),
            NEXT_TOKEN,
        ),
        "model-cut-by-length": (
            Call("alloc", (len(story),), bind="model"),
            Write("model", story),
            Call("load_model", ("model", len(story) - 1)),
            Call("load_model", ("model", 107)),
            Call("load_model", ("model", 4)),
            Call("load_model", ("model", 3)),
            Call("load_model", ("model", len(story))),
            Call("dealloc", ("model", len(story))),
        ),
        "prompt-inside-a-buffer": (
            load,
            *buffer,
            Call("generate", ("buffer", 1, 2)),
            Call("generate", ("buffer+1", 1, 2)),
            Call("generate", ("buffer+2", 2, 1)),
            Call("generate", ("buffer", 8, 1)),
            Call("generate", ("buffer+4", 4, 1)),
            free,
        ),
        "counts-wrap": (
            load,
            *buffer,
            Call("generate", ("buffer", 1, 2**32)),
            Call("generate", ("buffer", 1, 2**32 + 2)),
            Call("generate", ("buffer", 1, -1)),
            Call("generate", ("buffer", 2**32 + 1, 1)),
            Call("generate", ("buffer", -1, 1)),
            free,
        ),
        "null-before-all": (
            Call("generate", (0, 0, 0)),
            Call("load_model", (0, 0)),
            load,
            Call("generate", (0, 0, 0)),
            Call("load_model", (0, 0)),
            Generate(b"a", 1),
        ),
    }
    for name, steps in sessions.items():
        yield Case(f"status/transfer-{name}", steps, models, ("MEM-1", "MEM-2", "MEM-9", "ABI-3", "GEN-1", "ERR-4"))


def trap_cases(profile: Profile) -> Iterator[Case]:
    """Yield cases in which a slice reaches past the end of memory; the lock stays unavailable (MEM-6, ERR-2)."""
    models = {"story": story_model(profile)}
    aftermath = (
        INIT,
        Load("story"),
        Configure(),
        Generate(b"a", 1),
        NEXT_TOKEN,
        Call("reset_context"),
        Call("free_model"),
        Call("last_result_ptr"),
        Call("last_result_len"),
        Call("get_diagnostics_ptr"),
        Call("get_diagnostics_len"),
        Call("load_model", (0, 0)),
        Call("generate", (0, 0, 0)),
        Call("alloc", (16,), bind="after"),
        Call("dealloc", ("after", 16)),
    )
    traps: dict[str, tuple[Step, ...]] = {
        "load": (Call("load_model", (0xFFFF0000, 0x8000)),),
        "load-wraps": (Call("load_model", (0xFFFFFFF0, 0x1000)),),
        "generate": (Load("story"), Call("generate", (0xFFFF0000, 0x8000, 1))),
        "generate-without-a-model": (Call("generate", (0xFFFF0000, 16, 0)),),
    }
    for name, steps in traps.items():
        yield Case(f"status/trap-{name}", (*steps, *aftermath), models, ("MEM-6", "ERR-2"))
