"""The operations of a forward pass in the order of their dependencies: which tensor tells which forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, Final

from refruntime.numerics.varied import SUMS, Variation

MOST_TRIED: Final = 2500
"""Variations that are tried for one stage at most; those with fewer changes come first."""


@dataclass(frozen=True)
class Stage:
    """Tensors of one layer, `kinds`, and the fields of a variation that they tell once all before them are known."""

    kinds: tuple[str, ...]
    fields: tuple[str, ...] = ()


STAGES: Final = (
    Stage(("attn_norm",), ("squares", "mean", "inverse", "normal", "root")),
    Stage(("attn_q", "attn_k", "attn_v"), ("matrices",)),
    Stage(("attn_q.rope", "attn_k.rope"), ("power", "frequency", "sine", "rotation")),
    Stage(("attn.scores",), ("scores", "scaling")),
    Stage(("attn.weights",), ("weights", "softmax", "exp")),
    Stage(("attn.mixed",), ("mixed",)),
    Stage(("attn_output",)),
    Stage(("attn_residual",)),
    Stage(("ffn_norm",)),
    Stage(("ffn_gate", "ffn_up")),
    Stage(("ffn_hidden",), ("silu",)),
    Stage(("ffn_down",)),
    Stage(("residual",)),
)
"""A stage without fields decides nothing: what it shows must follow from what was decided before."""


def variations(base: Variation, fields: tuple[str, ...]) -> Iterator[Variation]:
    """Yield variations of `base` in one of the fields, in two of them, and so on, at most `MOST_TRIED`."""
    tried = 0
    for changes in range(1, len(fields) + 1):
        for chosen in combinations(fields, changes):
            others = [_others(base, name) for name in chosen]
            for forms in product(*others):
                tried += 1
                if tried > MOST_TRIED:
                    return
                yield replace(base, **dict(zip(chosen, forms, strict=True)))


def _others(base: Variation, name: str) -> list[Any]:
    """Return the other forms of a field; orders that another sum has come first, so that they win where all agree."""
    used = [getattr(base, other) for other in SUMS] if name in SUMS else []
    forms = [form for form in (*used, *base.options(name)) if form != getattr(base, name)]
    return list(dict.fromkeys(forms))
