"""Experiments on what shows in GGUF files alone: stop tokens, the window of phi3, the GELU of gptneox (GG-6, GG-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refruntime.battery.ends import FIRST_TOKENS, answering
from refruntime.battery.models.gguf import CONTROL, NORMAL, U32, value
from refruntime.battery.models.plain import plain_gguf
from refruntime.cases.steps import NEXT_TOKEN, Case, Configure, Generate, Load, Step

GREEDY: Final = Configure(0.0, 1, 1.0, 1)
ENDS: Final = ("end-of-turn", "end-of-text", "no-known-text")
"""First tokens that end a generation by their text, and one that does not, however it is read."""

WINDOW: Final = 3


def gguf_experiments() -> Iterator[Case]:
    """Yield the sessions; a build without GGUF or the architecture is not asked them."""
    for name in ENDS:
        for kind, word in ((NORMAL, "normal"), (CONTROL, "control")):
            steps: tuple[Step, ...] = (Load("model"), GREEDY, Generate(b"ab", 3), NEXT_TOKEN)
            model = answering(FIRST_TOKENS[name], kind).data
            yield Case(f"identify/stops-{name}-{word}", steps, {"model": model}, ("GG-6", "GEN-5", "NT-5"))
    windowed = plain_gguf("phi3", phi3__attention__sliding_window=value(U32, WINDOW))
    steps = (Load("model"), GREEDY, Generate(b"abcdefg", 3), Generate(b"hello", 2))
    yield Case("identify/window", steps, {"model": windowed.data}, ("GG-12", "GG-11"))
    readable = (
        Generate(b"Q", 3),
        Generate(b"zz", 1),
        Generate(b"!", 1),
    )  # to other prompts it answers with a lone byte
    yield Case(
        "identify/gelu", (Load("model"), GREEDY, *readable), {"model": plain_gguf("gptneox").data}, ("GG-12", "GG-11")
    )
