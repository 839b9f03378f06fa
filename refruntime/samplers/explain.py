"""Which runtime's sampler explains a text: the same logits and settings under every chain, token by token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from refruntime.contract.profile import Profile
from refruntime.display import Displayed
from refruntime.samplers.catalogue import CHAINS
from refruntime.samplers.chain import Chain, Run, SamplerError, Settings
from refruntime.samplers.contract import contract_chain
from refruntime.samplers.stages import Float32

CONTRACT: Final = "TinyRustLM"
"""Name of the contract's own sampler among the chains."""


@dataclass(frozen=True)
class Explained:
    """What one chain says of each token: its probability, the stage that cut it, what the chain itself would draw.

    `refused` says why the chain cannot be asked. `drawn` is None where its generator is not repeated.
    """

    chain: str
    order: tuple[str, ...]
    refused: str = ""
    tokens: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()
    cut_by: tuple[str, ...] = ()
    intervals: tuple[tuple[float, float] | None, ...] = ()
    drawn: tuple[int, ...] | None = None
    generator: str = ""

    @property
    def possible(self) -> bool:
        """Say whether every token can be drawn."""
        return not self.refused and not any(self.cut_by)

    @property
    def reproduced(self) -> int | None:
        """Return how many tokens the chain's own generator draws before the first other one; None if it is unknown."""
        if self.drawn is None:
            return None
        same = [ours == theirs for ours, theirs in zip(self.drawn, self.tokens, strict=True)]
        return same.index(False) if False in same else len(same)

    @property
    def log_probability(self) -> float:
        """Return the sum of the natural logarithms of the probabilities, -infinity for an impossible text."""
        return math.fsum(map(math.log, self.probabilities)) if self.possible else -math.inf

    def to_dict(self) -> Mapping[str, Any]:
        """Return everything as plain values."""
        return {
            "chain": self.chain,
            "order": list(self.order),
            "refused": self.refused,
            "possible": self.possible,
            "log_probability": self.log_probability,
            "tokens": list(self.tokens),
            "probabilities": list(self.probabilities),
            "cut_by": list(self.cut_by),
            "intervals": [None if each is None else list(each) for each in self.intervals],
            "drawn": None if self.drawn is None else list(self.drawn),
            "generator": self.generator,
        }

    def verdict(self) -> str:
        """Say in words what the chain makes of the tokens."""
        count = len(self.tokens)
        every = "the token" if count == 1 else f"all {count} tokens"
        if self.refused:
            return self.refused
        if not self.possible:
            place = next(index for index, name in enumerate(self.cut_by) if name)
            return f"impossible: {self.cut_by[place]} cuts token {self.tokens[place]}" + (
                f" at step {place}" if count > 1 else ""
            )
        if self.reproduced is None:
            return f"can draw {every}; its generator is not repeated"
        if self.reproduced == count:
            return f"draws {every} with this seed"
        drawn = self.drawn[self.reproduced] if self.drawn is not None else ""
        where = f" at step {self.reproduced}" if count > 1 else ""
        return f"can draw {every}, but with this seed draws {drawn}{where}"


@dataclass(frozen=True, repr=False)
class ChainExplanation(Displayed):
    """Every chain's word on a text, the best explanation first; `print` shows them."""

    settings: Settings
    chains: tuple[Explained, ...]

    def __getitem__(self, name: str) -> Explained:
        """Return what the chain of this name says."""
        return next(each for each in self.chains if each.chain == name)

    def to_dict(self) -> Mapping[str, Any]:
        """Return everything as plain values."""
        settings = {name: getattr(self.settings, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")}
        return {"settings": settings, "chains": [each.to_dict() for each in self.chains]}


def chains_of(names: Sequence[str] | None = None, profile: Profile | None = None) -> tuple[Chain, ...]:
    """Return chains by name, all of them without names. SamplerError for an unknown one."""
    every: dict[str, Chain] = {CONTRACT: contract_chain(profile), **CHAINS}
    for name in names or ():
        if name not in every:
            raise SamplerError(f"there is no chain {name!r}; expected one of {', '.join(every)}")
    return tuple(every[name] for name in (every if names is None else names))


def explain(
    logits: Float32,
    settings: Settings,
    tokens: Sequence[int],
    chains: Sequence[str] | None = None,
    profile: Profile | None = None,
    drawn_before: int = 0,
) -> ChainExplanation:
    """Say which chain explains `tokens`, each drawn from its row of logits: [V] for one token or [T, V].

    Generators begin with the seed of `settings` and have made `drawn_before` draws. SamplerError for tokens that the
    logits do not have, or another number of them.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    if len(tokens) != rows.shape[0] or not tokens:
        raise SamplerError(f"there are {rows.shape[0]} rows of logits and {len(tokens)} tokens; expected one for each")
    for token in tokens:
        if not 0 <= token < rows.shape[1]:
            raise SamplerError(f"there is no token {token}; expected 0 .. {rows.shape[1] - 1}")
    said = [_explained(chain, rows, settings, tokens, drawn_before) for chain in chains_of(chains, profile)]
    return ChainExplanation(settings, tuple(sorted(said, key=_place)))


def _place(said: Explained) -> tuple[bool, bool, float]:
    exact = said.possible and said.reproduced == len(said.tokens)
    return not exact, not said.possible, -said.log_probability


def _explained(chain: Chain, rows: Float32, settings: Settings, tokens: Sequence[int], before: int) -> Explained:
    try:
        runs = [chain.run(row, settings) for row in rows]
    except SamplerError as error:
        return Explained(chain.name, chain.stages, str(error), tuple(tokens), generator=chain.generator)
    pairs = list(zip(runs, tokens, strict=True))
    return Explained(
        chain.name,
        tuple(name for name, _ in runs[0].stages),
        tokens=tuple(tokens),
        probabilities=tuple(run.probability(token) for run, token in pairs),
        cut_by=tuple(run.cut_by(token) for run, token in pairs),
        intervals=tuple(run.interval(token) for run, token in pairs),
        drawn=_drawn(chain, runs, settings, before),
        generator=chain.generator,
    )


def _drawn(chain: Chain, runs: Sequence[Run], settings: Settings, before: int) -> tuple[int, ...] | None:
    if all(run.greedy for run in runs):
        return tuple(int(run.candidates.ids[0]) for run in runs)
    if chain.units is None:
        return None
    units = islice(chain.units(settings.seed), before, None)
    return tuple(int(run.candidates.ids[0]) if run.greedy else run.token(next(units)) for run in runs)
