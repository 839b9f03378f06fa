"""Experiments on what shows in GGUF files alone: stop tokens, and formulas that two libraries dispute (GG-6, GG-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from refruntime.battery.ends import FIRST_TOKENS, answering
from refruntime.battery.models.gguf import CONTROL, F32, NORMAL, STRING, U32, GgufParts, value
from refruntime.battery.models.plain import plain_gguf
from refruntime.cases.steps import NEXT_TOKEN, Case, Configure, Generate, Load, Step

GREEDY: Final = Configure(0.0, 1, 1.0, 1)
ENDS: Final = ("end-of-turn", "end-of-text", "no-known-text")
"""First tokens that end a generation by their text, and one that does not, however it is read."""

WINDOW: Final = 3
RULES: Final = ("GG-12", "GG-11", "GG-15")


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
    yield _differing("gelu", plain_gguf("gptneox"), b"Q", b"zz", b"!", first=3)
    yield _differing("yarn-range", stretched(), b"at", b"b.", b"bt")
    yield _differing("share-sum", with_small_shares(), b"E0", b"t0", b".0")


def _differing(name: str, file: GgufParts, *prompts: bytes, first: int = 1) -> Case:
    """Return the session of prompts that a model answers with other letters under other options.

    To most prompts such a model answers with a lone byte.
    """
    asked = (Generate(prompt, 1 if place else first) for place, prompt in enumerate(prompts))
    return Case(f"identify/{name}", (Load("model"), GREEDY, *asked), {"model": file.data}, RULES)


def stretched() -> GgufParts:
    """Return a gpt-oss whose second pair YaRN blends by half or by little, with queries and keys that show it."""
    keys = {
        "type": value(STRING, b"yarn"),
        "factor": value(F32, 8.0),
        "original_context_length": value(U32, 23),
        "yarn_beta_fast": value(F32, 2.0),
        "yarn_beta_slow": value(F32, 1.0),
    }
    scaling = {f"gpt-oss__rope__scaling__{name}": item for name, item in keys.items()}
    return _grown(plain_gguf("gpt-oss", **scaling, **{"gpt-oss__rope__freq_base": value(F32, 4.0)}), "attn_", 16)


def with_small_shares() -> GgufParts:
    """Return a lfm2moe whose router gives many tokens shares near 0; its experts show what they are divided by."""
    router = np.full((2, 8), -4, "<f4").tobytes()
    return _grown(plain_gguf("lfm2moe").with_tensor("blk.1.ffn_gate_inp.weight", payload=router), "_exps", 4)


def _grown(file: GgufParts, part: str, factor: float) -> GgufParts:
    """Return a file in which the matrices and biases with a part of a name are multiplied."""
    for tensor in file.tensors:
        name = tensor.name.decode()
        if part in name and "norm" not in name and "sinks" not in name:
            grown = np.frombuffer(tensor.payload, "<f4") * np.float32(factor)
            file = file.with_tensor(name, payload=grown.astype("<f4").tobytes())
    return file
