"""Where a generator stands, told so that another seed or another formula can be put in its place."""

from __future__ import annotations

from dataclasses import dataclass

from refruntime.contract.profile import Profile
from refruntime.sampling import STAGES, Choice, Stages, draw


@dataclass(frozen=True)
class Generator:
    """A generator after `draws` draws from `seed`; `state` is what the next draw begins with (PR-1, PR-2)."""

    seed: int
    draws: int
    state: int

    @classmethod
    def fresh(cls, seed: int, profile: Profile, stages: Stages = STAGES) -> Generator:
        """Return the generator that a configured seed gives (PR-2)."""
        return cls(seed, 0, stages.seeded(seed, profile))

    def after(self, choice: Choice) -> Generator:
        """Return the generator as a sampling step left it: greedy steps draw nothing (SA-4)."""
        return Generator(self.seed, self.draws + (choice.drawn is not None), choice.generator_state)

    def replaced(self, profile: Profile, seed: int | None = None) -> Generator:
        """Return the generator that another seed, or other options of PR-1 and PR-2, had after as many draws."""
        other = Generator.fresh(self.seed if seed is None else seed, profile)
        state = other.state
        for _ in range(self.draws):
            state = draw(state, profile).after
        return Generator(other.seed, self.draws, state)
