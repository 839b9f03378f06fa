"""Cases on numbers: every model format, greedy and with the whole distribution, in one call and token by token.

A greedy text is a weak witness of arithmetic; a draw from all of V at temperature 1 is a sensitive one, and the logits
in the diagnostics of `generate_next_token` show every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from refruntime.cases.steps import INIT, NEXT_TOKEN, RESET, Case, Configure, Generate, Load, Step

PROMPT: Final = b"Once upon a time"
RULES: Final = ("GEN-4", "GEN-5", "NT-4", "FW-2", "FW-5", "FW-6", "SA-1", "SA-2", "SA-6", "DG-4")

GREEDY: Final = Configure()


def probe(vocab: int, seed: int = 7) -> Configure:
    """Return the configuration that draws from the whole distribution."""
    return Configure(1.0, min(vocab, 1024), 1.0, seed)


def session(sampling: Configure, prompt: bytes, count: int) -> tuple[Step, ...]:
    """Generate one token and continue token by token, then the same in one call, then past the end of the context."""
    return (
        sampling,
        Generate(prompt, 1),
        *[NEXT_TOKEN] * count,
        RESET,
        Generate(prompt, count + 1),
        NEXT_TOKEN,
        Generate(prompt[:1], 1_000_000),
        NEXT_TOKEN,
        RESET,
    )


def generation_cases(models: Mapping[str, bytes], *, vocab: int, prompt: bytes = PROMPT) -> Iterator[Case]:
    """Yield the greedy and the probe case for every model; `vocab` is an upper bound of V."""
    for name, data in models.items():
        for kind, sampling in (("greedy", GREEDY), ("probe", probe(vocab))):
            steps = (INIT, Load("model"), *session(sampling, prompt, 24))
            yield Case(f"generate/{name}-{kind}", steps, {"model": data}, RULES)
