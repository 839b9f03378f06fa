"""What was seen in a build's memory before anything was guessed, and which hypotheses can concern it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from refruntime.hypotheses.hypothesis import Hypothesis


@dataclass(frozen=True)
class WitnessedTensor:
    """The first wrong tensor of a build: its name, position, pattern, and a sentence about its elements."""

    tensor: str
    position: int
    pattern: str
    text: str


_WEIGHTED: Final = frozenset({"quantization", "arithmetic", "option", "attention", "ffn"})
_ATTENTION: Final = frozenset({"attention", "arithmetic"})
_NORM: Final = frozenset({"norm", "attention", "ffn", "arithmetic", "quantization"})
_SUM: Final = frozenset({"attention", "ffn", "norm"})

FAMILIES: Final[dict[str, frozenset[str]]] = {
    "token_embd": frozenset({"quantization", "option", "tokenizer"}),
    **dict.fromkeys(("attn_norm", "ffn_norm", "output_norm"), _NORM),
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), _WEIGHTED),
    "logits": _WEIGHTED | {"norm", "container"},
    **dict.fromkeys(("attn_q.rope", "attn_k.rope"), frozenset({"rope", "attention", "arithmetic"})),
    **dict.fromkeys(("cache_k", "cache_v"), _ATTENTION),
    **dict.fromkeys(("attn.scores", "attn.weights", "attn.mixed"), _ATTENTION),
    **dict.fromkeys(("attn_residual", "residual"), _SUM),
    "ffn_hidden": frozenset({"ffn", "arithmetic"}),
    **dict.fromkeys(("sampler.weights", "sampler.choice"), frozenset({"sampler", "option", "arithmetic"})),
}
"""Families of hypotheses that can be about a tensor, by its name without the layer; about others all can."""


def touching(hypotheses: Iterable[Hypothesis], observed: WitnessedTensor) -> Iterable[Hypothesis]:
    """Return the hypotheses that can be about what was seen."""
    parts = observed.tensor.split(".", 2)
    families = FAMILIES.get(parts[2] if parts[0] == "blk" else observed.tensor)
    return (item for item in hypotheses if families is None or item.family in families)
