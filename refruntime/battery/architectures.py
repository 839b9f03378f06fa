"""Cases on the architectures of GGUF files beside `llama`: a small file of each, answered greedily and by draws.

A build that lacks an architecture is not asked (GG-13); one that has it shows the bits of its logits in diagnostics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from refruntime.battery.models.gguf import (
    BYTE,
    CONTROL,
    F32,
    I32,
    NORMAL,
    SPACE,
    STRING,
    U32,
    UNKNOWN,
    array,
    value,
)
from refruntime.battery.models.plain import plain_gguf
from refruntime.cases.steps import NEXT_TOKEN, RESET, Case, Configure, Generate, Load, Step
from refruntime.model.architectures import ARCHITECTURES

RULES: Final = ("GG-11", "GG-12", "GG-13", "GG-14", "GG-15")
BYTES: Final = 128
TOKENS: Final = (b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(BYTES)), SPACE, b"a", b"b", b"ab")
VOCABULARY: Final[Mapping[str, bytes]] = {
    "tokenizer__ggml__tokens": array(STRING, TOKENS),
    "tokenizer__ggml__scores": array(F32, [*[0.0] * (3 + BYTES), -1.0, -2.0, -3.0, -4.0]),
    "tokenizer__ggml__token_type": array(I32, [UNKNOWN, CONTROL, CONTROL, *[BYTE] * BYTES, *[NORMAL] * 4]),
}
"""A vocabulary without the bytes that are half a character: whatever a model answers is text."""

KEYS: Final[Mapping[str, Mapping[str, bytes]]] = {"phi3": {"phi3__attention__sliding_window": value(U32, 4)}}
"""What files of an architecture have that a plain one has not, and what other software reads in another way (GG-12)."""

YARN: Final[Mapping[str, bytes]] = {
    "type": value(STRING, b"yarn"),
    "factor": value(F32, 8.0),
    "original_context_length": value(U32, 23),
    "yarn_beta_fast": value(F32, 2.0),
    "yarn_beta_slow": value(F32, 1.0),
}
"""Scaling whose range is none of whole pairs, as in published gpt-oss models (GG-15)."""

STEPS: Final[tuple[Step, ...]] = (
    Load("model"),
    Configure(0.0, 1, 1.0, 1),
    Generate(b"ab ba", 6),
    NEXT_TOKEN,
    Configure(1.0, len(TOKENS), 1.0, 7),
    Generate(b"a b", 9),
    NEXT_TOKEN,
    RESET,
)


def architecture_cases() -> Iterator[Case]:
    """Yield a session for every architecture, and one for gpt-oss with its scaling."""
    for name in ARCHITECTURES:
        if name != "llama":
            yield _case(name, name, KEYS.get(name, {}))
    scaling = {f"gpt-oss__rope__scaling__{key}": item for key, item in YARN.items()}
    yield _case("gpt-oss-yarn", "gpt-oss", {**scaling, "gpt-oss__rope__freq_base": value(F32, 4.0)})


def _case(title: str, architecture: str, keys: Mapping[str, bytes]) -> Case:
    file = plain_gguf(architecture, **VOCABULARY, **keys)
    return Case(f"gguf/architecture-{title}", STEPS, {"model": file.data}, RULES)
