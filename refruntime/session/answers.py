"""What a session answers, as data: logits of the next token and of one token, generators, intermediates, attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.display import Displayed
from refruntime.runtime import Generator, Owner
from refruntime.sampling import Draw, draw
from refruntime.session.probabilities import Float64, entropy
from refruntime.tokenizers.base import Tokenizer

NEXT_DRAWS: Final = 3


@dataclass(frozen=True, repr=False)
class Top(Displayed):
    """The first tokens in descending order of logits, for `position`: `tokens` [N] of `logits` [V].

    `probabilities` [V] are the model's own, at temperature 1.
    """

    position: int
    tokens: NDArray[np.int64]
    logits: NDArray[np.float32]
    probabilities: Float64
    tokenizer: Tokenizer

    @property
    def entropy(self) -> float:
        """Return the entropy of all probabilities in bits."""
        return entropy(self.probabilities)

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain values."""
        best = [
            {"id": int(each), "logit": float(self.logits[each]), "probability": float(self.probabilities[each])}
            for each in self.tokens
        ]
        return {"position": self.position, "entropy": self.entropy, "top": best}


@dataclass(frozen=True)
class Seen:
    """The logit of a token at one step: its rank from 1, None for NaN; `taken` is None for the next token."""

    position: int
    logit: np.float32
    rank: int | None
    probability: float
    taken: int | None


@dataclass(frozen=True, repr=False)
class TokenLogits(Displayed):
    """The logit of one token at every step so far, and at the next one."""

    token: int
    steps: tuple[Seen, ...]
    tokenizer: Tokenizer

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain values."""
        return {"token": self.token, "steps": [{**vars(each), "logit": float(each.logit)} for each in self.steps]}


@dataclass(frozen=True, repr=False)
class Generators(Displayed):
    """Both generators, None for that of `generate` before a prompt, and which draws next (GEN-7, PR-4)."""

    generate: Generator | None
    runtime: Generator
    draws_next: Owner
    profile: Profile

    def following(self, generator: Generator) -> tuple[Draw, ...]:
        """Return what the next draws of a generator give (PR-1, PR-3)."""
        draws: list[Draw] = []
        state = generator.state
        for _ in range(NEXT_DRAWS):
            draws.append(draw(state, self.profile))
            state = draws[-1].after
        return tuple(draws)

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain values; 64-bit numbers in hex."""
        found: dict[str, Any] = {"draws_next": self.draws_next}
        for owner, generator in (("generate", self.generate), ("runtime", self.runtime)):
            found[owner] = generator and {
                "seed": generator.seed,
                "draws": generator.draws,
                "state": f"{generator.state:016x}",
                "next": [
                    {"output": f"{each.output:016x}", "unit": float(each.unit)} for each in self.following(generator)
                ],
            }
        return found


class Trace(Displayed, Mapping[str, NDArray[Any]]):
    """Intermediates of a pass by name, positions first; shown with shape and range."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return one tensor. KeyError."""
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the order of the pass."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._tensors)

    __repr__ = Displayed.__repr__


@dataclass(frozen=True, repr=False, eq=False)
class HeadAttention(Displayed):
    """One head: `weights[i, j]` is how much position i looked at position j, float [T, T] (FW-6).

    `ids` and `texts` are the tokens of the positions. NumPy takes it for its weights.
    """

    layer: int
    head: int
    ids: tuple[int, ...]
    texts: tuple[bytes, ...]
    weights: NDArray[Any]
    tokenizer: Tokenizer

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the weights, for NumPy."""
        return np.array(self.weights, dtype) if copy else np.asarray(self.weights, dtype)

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain values; texts as hex."""
        return {
            "layer": self.layer,
            "head": self.head,
            "bytes": [text.hex() for text in self.texts],
            "weights": self.weights.tolist(),
        }
