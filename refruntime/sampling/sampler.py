"""Choose one token: the stages in a row, every intermediate kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.sampling.config import SamplingConfig
from refruntime.sampling.generator import Draw, draw, seeded
from refruntime.sampling.stages import Cut, Float32, Pick, Selection, Weighing, argmax, cut, pick, select, temper, weigh


@dataclass(frozen=True)
class Drawn:
    """What every stage saw of a token that a coin decided."""

    selection: Selection
    weighing: Weighing
    cut: Cut
    draw: Draw
    pick: Pick


@dataclass(frozen=True)
class Choice:
    """One sampled token and what the stages saw that ran.

    `greedy_reason` is empty for a drawn token, else says why the greatest logit was taken; selection and weighing may
    have run before that. `generator_state` is the state afterwards: it advances exactly when `drawn` is there (SA-4).
    """

    token: int
    generator_state: int
    greedy_reason: str = ""
    selection: Selection | None = None
    weighing: Weighing | None = None
    drawn: Drawn | None = None


class Stages(NamedTuple):
    """The functions that a sampler is made of. The contract knows one set, `STAGES`; an experiment replaces one."""

    seeded: Callable[[int, Profile], int] = seeded
    argmax: Callable[[Float32], int] = argmax
    select: Callable[[Float32, int, Profile], Selection] = select
    weigh: Callable[[Selection, np.float32, Profile], Weighing] = weigh
    cut: Callable[[Weighing, np.float32, Profile], Cut] = cut
    draw: Callable[[int, Profile], Draw] = draw
    pick: Callable[[Weighing, Cut, np.float32, Profile], Pick] = pick


STAGES: Final = Stages()


def sample(
    logits: NDArray[np.float32],
    config: SamplingConfig,
    generator_state: int,
    profile: Profile,
    stages: Stages = STAGES,
) -> Choice:
    """Choose a token from float32 logits [V] (SA-1 .. SA-6); nothing is changed, the new state is in the result."""
    if config.temperature == 0:
        return Choice(stages.argmax(logits), generator_state, "temperature is 0")
    selection = _selected(logits, config, profile, stages)
    if selection.ids.size == 0:
        return Choice(stages.argmax(logits), generator_state, "no logit could be retained", selection)
    weighing = stages.weigh(selection, config.temperature, profile)
    if not weighing.usable:
        reason = "the total weight is not finite or not above 0"
        return Choice(stages.argmax(logits), generator_state, reason, selection, weighing)
    kept = stages.cut(weighing, config.top_p, profile)
    coin = stages.draw(generator_state, profile)
    picked = stages.pick(weighing, kept, coin.unit, profile)
    return Choice(
        token=int(selection.ids[picked.index]),
        generator_state=coin.after,
        selection=selection,
        weighing=weighing,
        drawn=Drawn(selection, weighing, kept, coin, picked),
    )


def _selected(logits: Float32, config: SamplingConfig, profile: Profile, stages: Stages) -> Selection:
    """Retain candidates by their logits, or by their tempered logits where the profile says so (SA-2, SA-3)."""
    if profile.temperature_order == "selection first":
        return stages.select(logits, config.top_k, profile)
    by_scaled = stages.select(temper(logits, config.temperature, profile), config.top_k, profile)
    return Selection(by_scaled.ids, logits[by_scaled.ids], by_scaled.logits)
