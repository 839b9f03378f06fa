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

    @property
    def rule(self) -> str:
        """Return the rule by which the tensor is computed; empty where no single rule is (draws)."""
        name = _kind(self.tensor)
        rule = RULES.get(name, "")
        mistaken = _MISTAKEN if rule in ("FW-3", "FW-4") else {}
        return _BEHIND.get((name, self.pattern)) or mistaken.get(self.pattern, rule)


def _kind(tensor: str) -> str:
    """Return the name of a tensor without its layer."""
    parts = tensor.split(".", 2)
    return parts[2] if parts[0] == "blk" else tensor


RULES: Final[dict[str, str]] = {
    "token_embd": "FW-1",
    **dict.fromkeys(("attn_norm", "ffn_norm", "output_norm"), "FW-3"),
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "logits"), "FW-4"),
    **dict.fromkeys(("attn_q.rope", "attn_k.rope"), "FW-5"),
    **dict.fromkeys(("attn.scores", "attn.weights", "attn.mixed"), "FW-6"),
    "ffn_hidden": "FW-7",
    **dict.fromkeys(("cache_k", "cache_v"), "FW-9"),
    **dict.fromkeys(("attn_residual", "residual"), "FW-2"),
}
"""The rule that says how a tensor is computed, by its name without the layer."""

OTHER_WEIGHTS: Final = "other weights"
"""The pattern of numbers that are right for other weights of the model than their own."""

_MISTAKEN: Final = {
    "another scale": "SL-2",
    **dict.fromkeys(("swapped operands", "transposed", "stale", "copy", OTHER_WEIGHTS), "FW-2"),
}
"""Patterns in which a norm or product is right in itself, and what it is given is not."""

_BEHIND: Final = {
    ("logits", "constant factor"): "FW-2",
    **{(tensor, "other heads"): "GG-8" for tensor in ("attn.scores", "attn.mixed")},
    **{(tensor, "other positions"): "FW-9" for tensor in ("attn.scores", "attn.mixed")},
}
"""Patterns of a tensor that its rule does not give.

A product is not all too large: something was multiplied behind. Nor does attention choose what it reads.
"""

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
    families = FAMILIES.get(_kind(observed.tensor))
    return (item for item in hypotheses if families is None or item.family in families)
