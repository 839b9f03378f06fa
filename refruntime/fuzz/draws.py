"""What random sessions draw from: calls, numbers, prompts, configurations, and what becomes of a number in a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hypothesis import strategies as st

from refruntime.battery.random_sessions import BAD_VALUES, PROMPTS, TEMPERATURES
from refruntime.battery.text import NOT_UTF8
from refruntime.battery.text import PROMPTS as TEXTS
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Configure, Generate

LAST: Final = 2**32
"""One behind the last address: a slice that reaches it lies past the end of every memory (MEM-6)."""

GETTERS: Final = ("last_result_len", "last_result_ptr", "get_diagnostics_len", "get_diagnostics_ptr")
BUFFERS: Final = ("a", "b", "c")
TEXT: Final = b"abcdexm \xc3\xa9-"
"""What a buffer holds; parts of it are prompts, and some of them no UTF-8."""

NUMBERS: Final = (0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1, -1, 2**32, 134_217_729)
TRAPPING: Final = Call("generate", (LAST - 1, 2, 1))
CALLS_AT_ONCE: Final = (
    *(INIT, RESET, FREE, NEXT_TOKEN, Configure(), Generate(b"a", 1), Call("load_model", (0, 4)), Call("alloc", (0,))),
    *(Call(export) for export in GETTERS),
)
"""One call of each export that needs no other before it."""

UNFIT: Final = (0, 134_217_729, 2**31, 2**32 - 1, -1)
"""Lengths that no slice may have (MEM-2)."""

letters = st.sampled_from([b"a", b"b", b"e", b"m", b"x", b"z", b"-", b"+", b"ab", b"hello the abba"])
prompts = st.one_of(
    letters,
    st.sampled_from([*PROMPTS, *TEXTS.values()]),
    st.sampled_from([*NOT_UTF8.values()]),
    st.text("abcdexm <s>/é€😀", max_size=10).map(str.encode),
    st.binary(max_size=4),
    st.integers(1, 80).map(lambda size: b"q" * size),
)
counts = st.one_of(st.integers(1, 9), st.sampled_from([0, 40, 2000, 2**32 - 1]))
configurations = st.builds(
    Configure,
    st.sampled_from(TEMPERATURES),
    st.sampled_from([1, 2, 5, 40, 260, 1024]) | st.integers(1, 1024),
    st.sampled_from([1.0, 0.95, 0.5, 1e-6]),
    st.sampled_from([0, 1, 7, 2**63, 2**64 - 1, -1]) | st.integers(0, 2**64 - 1),
)
odd_configurations = st.sampled_from(BAD_VALUES) | st.builds(
    Configure, st.floats(width=32), st.sampled_from(NUMBERS), st.floats(width=32), st.sampled_from(NUMBERS)
)

Change = Callable[[int], int]
CHANGES: Final[tuple[Change, ...]] = (
    lambda number: 0,
    lambda number: 1,
    lambda number: number + 1,
    lambda number: number - 1,
    lambda number: number + 64,
    lambda number: number - 64,
    lambda number: 2 * number,
    lambda number: number // 2,
    lambda number: number ^ 1 << 31,
    lambda number: -1,
    lambda number: 2**32,
)
"""What becomes of a number in a file: its neighbours, also by the alignment, its multiples, limits of its type."""

SEALED: Final = st.sampled_from([True, True, True, False])
"""Whether a changed file gets its checksum: without it nothing behind the checksum is looked at."""
