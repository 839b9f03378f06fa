"""Draw the tokens of a session by the sampler chain of llama.cpp instead of the contract's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from refruntime.runtime import Taken
from refruntime.samplers.chain import SamplerError
from refruntime.samplers.llama_cpp_chain import LlamaSettings
from refruntime.samplers.llama_cpp_draws import LlamaSampler
from refruntime.samplers.stages import Candidates
from refruntime.session.state import SessionError

Stages = tuple[tuple[str, Candidates], ...]


@dataclass(frozen=True)
class _Draw:
    """What was drawn behind some tokens, and the sampler that accepted it."""

    prompt: tuple[int, ...]
    taken: tuple[Taken, ...]
    token: int
    sampler: LlamaSampler

    def leads_to(self, prompt: Sequence[int], taken: Sequence[Taken]) -> bool:
        """Say whether these tokens are those and the drawn one."""
        return len(taken) == len(self.taken) + 1 and taken[-1].token == self.token and self.follows(prompt, taken[:-1])

    def follows(self, prompt: Sequence[int], taken: Sequence[Taken]) -> bool:
        """Say whether these are the tokens behind which it was drawn."""
        same = len(taken) == len(self.taken) and all(one is other for one, other in zip(taken, self.taken, strict=True))
        return same and tuple(prompt) == self.prompt


@dataclass(frozen=True)
class ChainDraws:
    """A chain with its settings and its seed; its generators begin at the prompt, whenever it was chosen.

    Tokens that were taken otherwise count as if they had been forced: the generators advance all the same. What was
    drawn last is remembered, which saves time and changes no answer.
    """

    settings: LlamaSettings = field(default_factory=LlamaSettings)
    seed: int = 1
    _last: list[_Draw] = field(default_factory=list, compare=False, repr=False)

    def next(self, prompt: Sequence[int], taken: Sequence[Taken], logits: NDArray[np.float32]) -> tuple[int, Stages]:
        """Return the token behind those that were taken, and what each stage left. SessionError without an order."""
        last = self._last[0] if self._last else None
        if last is not None and last.follows(prompt, taken):
            return last.token, last.sampler.stages
        try:
            if last is not None and last.leads_to(prompt, taken):
                sampler = last.sampler
            else:
                sampler = LlamaSampler(self.settings, self.seed, prompt)
                for each in taken:
                    sampler.draw(each.logits, each.token)
            token = sampler.draw(logits)
        except SamplerError as error:
            raise SessionError(str(error)) from error
        self._last[:] = [_Draw(tuple(prompt), tuple(taken), token, sampler)]
        return token, sampler.stages
