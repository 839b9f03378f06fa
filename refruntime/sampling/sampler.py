"""Choose one token: the stages in a row, every intermediate kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.sampling.config import SamplingConfig
from refruntime.sampling.generator import Draw, draw
from refruntime.sampling.stages import Cut, Pick, Selection, Weighing, argmax, cut, pick, select, weigh


@dataclass(frozen=True)
class Choice:
    """One sampled token and what every stage saw; a stage that did not run is None.

    `greedy_reason` is empty for a drawn token, else says why the greatest logit was taken. `generator_state` is the
    state afterwards: it advances exactly when `draw` is there (SA-4).
    """

    token: int
    generator_state: int
    greedy_reason: str = ""
    selection: Selection | None = None
    weighing: Weighing | None = None
    cut: Cut | None = None
    draw: Draw | None = None
    pick: Pick | None = None


def sample(logits: NDArray[np.float32], config: SamplingConfig, generator_state: int, profile: Profile) -> Choice:
    """Choose a token from float32 logits [V] (SA-1 .. SA-6); nothing is changed, the new state is in the result."""
    if config.temperature == 0:
        return Choice(argmax(logits), generator_state, "temperature is 0")
    selection = select(logits, config.top_k, profile)
    if selection.ids.size == 0:
        return Choice(argmax(logits), generator_state, "no logit could be retained", selection)
    weighing = weigh(selection, config.temperature, profile)
    if not weighing.usable:
        return Choice(
            argmax(logits), generator_state, "the total weight is not finite or not above 0", selection, weighing
        )
    kept = cut(weighing, config.top_p, profile)
    drawn = draw(generator_state, profile)
    picked = pick(weighing, kept, drawn.unit, profile)
    return Choice(
        token=int(selection.ids[picked.index]),
        generator_state=drawn.after,
        selection=selection,
        weighing=weighing,
        cut=kept,
        draw=drawn,
        pick=picked,
    )
