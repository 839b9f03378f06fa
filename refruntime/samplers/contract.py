"""The sampler of the contract as a chain, to stand beside those of other runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from refruntime.contract.limits import MAX_TOP_K
from refruntime.contract.profile import Profile
from refruntime.samplers.chain import Chain, Run, SamplerError, Settings
from refruntime.samplers.draws import pick_by_double_sum
from refruntime.samplers.stages import Candidates, Float32, first_greatest
from refruntime.sampling import SamplingConfig, draw, sample, seeded
from refruntime.sampling.stages import Cut, Weighing
from refruntime.sampling.stages import pick as pick_by_contract


@dataclass(frozen=True)
class ContractChain(Chain):
    """The sampler of the contract (SA-1 .. SA-6) as a chain; `profile` decides its options."""

    profile: Profile = field(default_factory=Profile)

    def refuses(self, settings: Settings) -> str:
        """Say why the contract has no such settings (SC-2)."""
        if settings.min_p > 0:
            return "the contract has no min_p"
        if not 1 <= settings.top_k <= MAX_TOP_K:
            return f"the contract takes top_k 1 .. {MAX_TOP_K} (SC-2)"
        return "the contract takes top_p above 0 (SC-2)" if np.float32(settings.top_p) <= 0 else ""

    def run(self, logits: Float32, settings: Settings) -> Run:
        """Apply the stages to logits [V]; the contract says what happens with any of them (GEN-11). SamplerError."""
        reason = self.refuses(settings)
        if reason:
            raise SamplerError(reason)
        return self._run(logits, settings)

    def _run(self, logits: Float32, settings: Settings) -> Run:
        config = SamplingConfig.validated(settings.temperature, settings.top_k, settings.top_p, settings.seed)
        choice = sample(logits, config, seeded(settings.seed, self.profile), self.profile)
        drawn = choice.drawn
        if drawn is None:
            only = Candidates(np.array([choice.token]), logits[[choice.token]], np.ones(1, np.float32))
            return Run((("greedy", only),), True, self.pick)
        retained = Candidates(drawn.selection.ids, drawn.selection.logits, drawn.weighing.weights, True)
        kept = retained.at(np.arange(drawn.cut.kept))
        return Run((("top_k", retained), ("temperature", retained), ("top_p", kept)), False, self._pick)

    def _pick(self, weights: Float32, unit: float) -> int:
        running = np.add.accumulate(weights, dtype=np.float32)
        kept = Cut(weights.size, running[-1], running[-1])
        return pick_by_contract(Weighing(weights, running, running[-1]), kept, np.float32(unit), self.profile).index


def contract_chain(profile: Profile | None = None) -> ContractChain:
    """Return the sampler of the contract as a chain, under a profile."""
    chosen = profile if profile is not None else Profile()

    def units(seed: int) -> Iterator[float]:
        state = seeded(seed, chosen)
        while True:
            drawn = draw(state, chosen)
            state = drawn.after
            yield float(drawn.unit)

    return ContractChain(
        "TinyRustLM",
        (),
        first_greatest,
        0.0,
        pick_by_double_sum,
        "XorShift64 (PR-1 .. PR-3)",
        units,
        profile=chosen,
    )
