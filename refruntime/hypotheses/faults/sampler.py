"""Hypotheses on the sampler and its generator (sections 5 and 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final, Self

import numpy as np

from refruntime.contract.limits import MAX_TOP_K, TOP_TOKENS
from refruntime.contract.profile import Profile
from refruntime.hypotheses.faults.diagnostics import Document, EditedDiagnostics, shown_tokens
from refruntime.hypotheses.hypothesis import Changes, Hypothesis
from refruntime.numerics.libm import expf
from refruntime.runtime import Generator, Machine
from refruntime.sampling import STAGES, Draw, Stages
from refruntime.sampling.stages import Cut, Float32, Pick, Selection, Weighing

_MASK: Final = 2**64 - 1


# Stages --------------------------------------------------------------------------------------------------------------


def _last_greatest(logits: Float32) -> int:
    backwards = np.where(np.isnan(logits), np.float32(-np.inf), logits)[::-1]
    return len(logits) - 1 - int(np.argmax(backwards))


def _one_more(logits: Float32, top_k: int, profile: Profile) -> Selection:
    return STAGES.select(logits, top_k + 1, profile)


def _one_less(logits: Float32, top_k: int, profile: Profile) -> Selection:
    return STAGES.select(logits, max(1, top_k - 1), profile)


def _all_of_them(logits: Float32, top_k: int, profile: Profile) -> Selection:
    return STAGES.select(logits, MAX_TOP_K, profile)


def _nan_first(logits: Float32, top_k: int, profile: Profile) -> Selection:
    """Retain NaN before every number, lower id first."""
    broken = np.flatnonzero(np.isnan(logits))[:top_k]
    rest = STAGES.select(logits, top_k, profile)
    ids = np.concatenate([broken, rest.ids])[:top_k]
    return Selection(ids, logits[ids])


def _weighed(weights: Float32) -> Weighing:
    with np.errstate(all="ignore"):
        cumulative = np.add.accumulate(weights, dtype=np.float32)
    return Weighing(weights, cumulative, cumulative[-1])


def _times_temperature(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    return _weighed(expf((selection.logits - selection.logits[0]) * temperature))


def _without_maximum(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    return _weighed(expf(selection.logits / temperature))


def _divided_first(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    scaled = selection.logits / temperature
    return _weighed(expf(scaled - scaled[0]))


def _without_temperature(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    return _weighed(expf(selection.logits - selection.logits[0]))


def _rounded_exp(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    scaled = (selection.logits - selection.logits[0]) / temperature
    return _weighed(np.exp(scaled.astype(np.float64)).astype(np.float32))


def _cut_at(weighing: Weighing, threshold: Any, reached: Any, cumulative: Any) -> Cut:
    """Keep the prefix that ends with the first candidate that reached the threshold."""
    places = np.flatnonzero(reached)
    kept = int(places[0]) + 1 if places.size else len(weighing.cumulative)
    return Cut(kept, np.float32(threshold), np.float32(cumulative[kept - 1]))


def _without_total(weighing: Weighing, top_p: np.float32, profile: Profile) -> Cut:
    return _cut_at(weighing, top_p, weighing.cumulative >= top_p, weighing.cumulative)


def _in_double(weighing: Weighing, top_p: np.float32, profile: Profile) -> Cut:
    cumulative = np.add.accumulate(weighing.weights.astype(np.float64))
    threshold = float(top_p) * float(weighing.total)
    return _cut_at(weighing, threshold, cumulative >= threshold, cumulative)


def _uncut(weighing: Weighing, top_p: np.float32, profile: Profile) -> Cut:
    return STAGES.cut(weighing, np.float32(1), profile)


def _over_total(weighing: Weighing, cut: Cut, unit: np.float32, profile: Profile) -> Pick:
    return STAGES.pick(weighing, replace(cut, mass=weighing.total), unit, profile)


def _from_the_end(weighing: Weighing, cut: Cut, unit: np.float32, profile: Profile) -> Pick:
    turned = _weighed(weighing.weights[: cut.kept][::-1])
    pick = STAGES.pick(turned, cut, unit, profile)
    return replace(pick, index=cut.kept - 1 - pick.index)


# Generator -----------------------------------------------------------------------------------------------------------


def _seed_zero(seed: int, profile: Profile) -> int:
    return seed & _MASK


def _seed_one_more(seed: int, profile: Profile) -> int:
    return seed + 1 & _MASK


def _shifts_13_17_5(state: int, profile: Profile) -> Draw:
    x = state ^ (state << 13 & _MASK)
    x ^= x >> 17
    x ^= x << 5 & _MASK
    return replace(STAGES.draw(state, profile), after=x, output=x, unit=np.float32(x >> 40) / np.float32(2**24))


def _old_state(state: int, profile: Profile) -> Draw:
    return replace(STAGES.draw(state, profile), output=state, unit=np.float32(state >> 40) / np.float32(2**24))


def _high_32_bits(state: int, profile: Profile) -> Draw:
    drawn = STAGES.draw(state, profile)
    return replace(drawn, unit=np.float32(drawn.output >> 32) / np.float32(2**32))


def _low_24_bits(state: int, profile: Profile) -> Draw:
    drawn = STAGES.draw(state, profile)
    return replace(drawn, unit=np.float32(drawn.output & 0xFFFFFF) / np.float32(2**24))


def _high_23_bits(state: int, profile: Profile) -> Draw:
    drawn = STAGES.draw(state, profile)
    return replace(drawn, unit=np.float32(drawn.output >> 41) / np.float32(2**23))


_STAGES: Final[tuple[tuple[str, str, str, Stages], ...]] = (
    ("argmax-last", "the last of equal logits wins", "SA-1", STAGES._replace(argmax=_last_greatest)),
    ("top-k-one-more", "one candidate more than top_k is retained", "SA-2", STAGES._replace(select=_one_more)),
    ("top-k-one-less", "one candidate less than top_k is retained", "SA-2", STAGES._replace(select=_one_less)),
    ("top-k-ignored", "top_k is ignored", "SA-2", STAGES._replace(select=_all_of_them)),
    (
        "temperature-multiplied",
        "logits are multiplied by the temperature",
        "SA-3",
        STAGES._replace(weigh=_times_temperature),
    ),
    ("temperature-ignored", "the temperature is ignored", "SA-3", STAGES._replace(weigh=_without_temperature)),
    (
        "temperature-before-maximum",
        "logits are divided before the maximum is subtracted",
        "SA-3",
        STAGES._replace(weigh=_divided_first),
    ),
    (
        "weights-without-maximum",
        "the sampler does not subtract the maximum",
        "SA-3",
        STAGES._replace(weigh=_without_maximum),
    ),
    (
        "weights-rounded-exp",
        "the sampler's expf is computed in float64 and rounded once",
        "FW-8",
        STAGES._replace(weigh=_rounded_exp),
    ),
    (
        "top-p-absolute",
        "the threshold is top_p itself, not top_p times the total",
        "SA-5",
        STAGES._replace(cut=_without_total),
    ),
    ("top-p-float64", "the cumulative weight is summed in float64", "SA-5", STAGES._replace(cut=_in_double)),
    ("top-p-ignored", "top_p is ignored", "SA-5", STAGES._replace(cut=_uncut)),
    ("draw-over-total", "the draw is scaled by the total of all weights", "SA-6", STAGES._replace(pick=_over_total)),
    (
        "walk-from-the-end",
        "the candidates are walked from the least likely one",
        "SA-6",
        STAGES._replace(pick=_from_the_end),
    ),
    ("shifts-13-17-5", "the shifts of the generator are 13, 17, 5", "PR-1", STAGES._replace(draw=_shifts_13_17_5)),
    ("old-state", "the generator gives its state before the step", "PR-1", STAGES._replace(draw=_old_state)),
    ("seed-zero-kept", "seed 0 stays 0", "PR-2", STAGES._replace(seeded=_seed_zero)),
    ("seed-one-more", "the generator starts from seed + 1", "PR-2", STAGES._replace(seeded=_seed_one_more)),
    ("draw-32-bits", "the draw uses 32 high bits", "PR-3", STAGES._replace(draw=_high_32_bits)),
    ("draw-23-bits", "the draw uses 23 high bits", "PR-3", STAGES._replace(draw=_high_23_bits)),
    ("draw-low-bits", "the draw uses the 24 low bits", "PR-3", STAGES._replace(draw=_low_24_bits)),
)


# Whose generator -----------------------------------------------------------------------------------------------------


class _LeavesGenerator(Machine):
    """The generator that `generate` made becomes the runtime-owned one."""

    def advanced(self, generator: Generator) -> Self:
        return replace(super().advanced(generator), generator=generator)


class _SharedGenerator(_LeavesGenerator):
    """`generate` draws from the runtime-owned generator."""

    @property
    def drawing(self) -> Generator | None:
        return self.generator


class _FreshEveryTime(Machine):
    """`generate_next_token` makes a fresh generator from the seed."""

    def proceed(self) -> Self:
        return super().proceed().reseeded()


class _NanRetained(EditedDiagnostics):
    """Candidates and top tokens are made by one function, so NaN is in both."""

    def edit(self, document: Document) -> None:
        if self.sampled_logits is not None:
            document["top_tokens"] = shown_tokens(_nan_first(self.sampled_logits, TOP_TOKENS, self.profile))


_MACHINES: Final[tuple[tuple[str, str, str, Callable[[Profile], Machine]], ...]] = (
    (
        "nan-retained",
        "NaN logits stay among the candidates",
        "SA-2",
        partial(_NanRetained.fresh, stages=STAGES._replace(select=_nan_first)),
    ),
    ("generator-shared", "generate draws from the runtime-owned generator", "GEN-7", _SharedGenerator.fresh),
    ("generator-fresh", "generate_next_token makes a fresh generator every time", "NT-4", _FreshEveryTime.fresh),
    ("generator-kept", "the generator of generate becomes the runtime-owned one", "GEN-7", _LeavesGenerator.fresh),
)


def sampler_hypotheses() -> Iterator[Hypothesis]:
    """Yield the hypotheses of this module, the likely ones first."""
    for name, text, rule, machine in _MACHINES:
        yield Hypothesis(name, "sampler", text, rule, Changes(machine=machine), forwards=True)
    for name, text, rule, stages in _STAGES:
        machine = partial(Machine.fresh, stages=stages)
        yield Hypothesis(name, "sampler", text, rule, Changes(machine=machine), forwards=True)
