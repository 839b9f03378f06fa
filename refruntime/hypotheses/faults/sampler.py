"""Hypotheses on the sampler and its generator (sections 5 and 8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self

import numpy as np

from refruntime.contract.limits import MAX_TOP_K, TOP_TOKENS
from refruntime.contract.profile import Profile
from refruntime.hypotheses.faults.diagnostics import Document, EditedDiagnostics, shown_tokens
from refruntime.hypotheses.faults.topic import Topic, as_machine, as_stage
from refruntime.hypotheses.hypothesis import Changes
from refruntime.numerics.libm import expf
from refruntime.runtime import Generator, Machine
from refruntime.sampling import STAGES, Draw
from refruntime.sampling.stages import Cut, Float32, Pick, Selection, Weighing, weighed

FAULTS: Final = Topic("sampler", forwards=True)


_MASK: Final = 2**64 - 1


# Whole machines -------------------------------------------------------------------------------------------------------


def _nan_first(logits: Float32, top_k: int, profile: Profile) -> Selection:
    """Retain NaN before every number, lower id first."""
    broken = np.flatnonzero(np.isnan(logits))[:top_k]
    rest = STAGES.select(logits, top_k, profile)
    ids = np.concatenate([broken, rest.ids])[:top_k]
    return Selection(ids, logits[ids])


def _with_nan_first(machine: type[Machine]) -> Changes:
    return Changes(machine=partial(machine.fresh, stages=STAGES._replace(select=_nan_first)))


@FAULTS.fault("nan-retained", "NaN logits stay among the candidates", "SA-2", _with_nan_first)
class _NanRetained(EditedDiagnostics):
    """Candidates and top tokens are made by one function, so NaN is in both."""

    def edit(self, document: Document) -> None:
        if self.sampled_logits is not None:
            document["top_tokens"] = shown_tokens(_nan_first(self.sampled_logits, TOP_TOKENS, self.profile))


@FAULTS.fault("generator-fresh", "generate_next_token makes a fresh generator every time", "NT-4", as_machine)
class _FreshEveryTime(Machine):
    """`generate_next_token` makes a fresh generator from the seed."""

    def proceed(self) -> Self:
        return super().proceed().reseeded()


@FAULTS.fault("generator-kept", "the generator of generate becomes the runtime-owned one", "PR-4", as_machine)
class _LeavesGenerator(Machine):
    """The generator that `generate` made becomes the runtime-owned one."""

    def advanced(self, generator: Generator) -> Self:
        return replace(super().advanced(generator), generator=generator)


@FAULTS.fault("generator-shared", "generate draws from the runtime-owned generator", "GEN-7", as_machine)
class _SharedGenerator(Machine):
    """`generate` draws from the runtime-owned generator."""

    def advanced(self, generator: Generator) -> Self:
        return replace(super().advanced(generator), generator=generator)

    @property
    def drawing(self) -> Generator | None:
        return self.generator


# Stages --------------------------------------------------------------------------------------------------------------


@FAULTS.fault("argmax-last", "the last of equal logits wins", "SA-1", as_stage("argmax"))
def _last_greatest(logits: Float32) -> int:
    backwards = np.where(np.isnan(logits), np.float32(-np.inf), logits)[::-1]
    return len(logits) - 1 - int(np.argmax(backwards))


@FAULTS.fault("top-k-one-more", "one candidate more than top_k is retained", "SA-2", as_stage("select"))
def _one_more(logits: Float32, top_k: int, profile: Profile) -> Selection:
    return STAGES.select(logits, top_k + 1, profile)


@FAULTS.fault("top-k-one-less", "one candidate less than top_k is retained", "SA-2", as_stage("select"))
def _one_less(logits: Float32, top_k: int, profile: Profile) -> Selection:
    return STAGES.select(logits, max(1, top_k - 1), profile)


@FAULTS.fault("top-k-ignored", "top_k is ignored", "SA-2", as_stage("select"))
def _all_of_them(logits: Float32, top_k: int, profile: Profile) -> Selection:
    return STAGES.select(logits, MAX_TOP_K, profile)


@FAULTS.fault("temperature-multiplied", "logits are multiplied by the temperature", "SA-3", as_stage("weigh"))
def _times_temperature(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    return weighed(expf((selection.logits - selection.logits[0]) * temperature))


@FAULTS.fault("temperature-ignored", "the temperature is ignored", "SA-3", as_stage("weigh"))
def _without_temperature(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    return weighed(expf(selection.logits - selection.logits[0]))


@FAULTS.fault(
    "temperature-before-maximum", "logits are divided before the maximum is subtracted", "SA-3", as_stage("weigh")
)
def _divided_first(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    scaled = selection.logits / temperature
    return weighed(expf(scaled - scaled[0]))


@FAULTS.fault("weights-without-maximum", "the sampler does not subtract the maximum", "SA-3", as_stage("weigh"))
def _without_maximum(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    return weighed(expf(selection.logits / temperature))


@FAULTS.fault(
    "weights-rounded-exp", "the sampler's expf is computed in float64 and rounded once", "FW-8", as_stage("weigh")
)
def _rounded_exp(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    scaled = (selection.logits - selection.logits[0]) / temperature
    return weighed(np.exp(scaled.astype(np.float64)).astype(np.float32))


def _cut_at(weighing: Weighing, threshold: Any, reached: Any, cumulative: Any) -> Cut:
    """Keep the prefix that ends with the first candidate that reached the threshold."""
    places = np.flatnonzero(reached)
    kept = int(places[0]) + 1 if places.size else len(weighing.cumulative)
    return Cut(kept, np.float32(threshold), np.float32(cumulative[kept - 1]))


@FAULTS.fault("top-p-absolute", "the threshold is top_p itself, not top_p times the total", "SA-5", as_stage("cut"))
def _without_total(weighing: Weighing, top_p: np.float32, profile: Profile) -> Cut:
    return _cut_at(weighing, top_p, weighing.cumulative >= top_p, weighing.cumulative)


@FAULTS.fault("top-p-float64", "the cumulative weight is summed in float64", "SA-5", as_stage("cut"))
def _in_double(weighing: Weighing, top_p: np.float32, profile: Profile) -> Cut:
    cumulative = np.add.accumulate(weighing.weights.astype(np.float64))
    threshold = float(top_p) * float(weighing.total)
    return _cut_at(weighing, threshold, cumulative >= threshold, cumulative)


@FAULTS.fault("top-p-ignored", "top_p is ignored", "SA-5", as_stage("cut"))
def _uncut(weighing: Weighing, top_p: np.float32, profile: Profile) -> Cut:
    return STAGES.cut(weighing, np.float32(1), profile)


@dataclass(frozen=True)
class _WeighedTwice(Weighing):
    """The weights, and those at temperature 1."""

    plain: Weighing


def _weighed_twice(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    weighing = STAGES.weigh(selection, temperature, profile)
    plain = STAGES.weigh(Selection(selection.ids, selection.logits), np.float32(1), profile)
    return _WeighedTwice(weighing.weights, weighing.cumulative, weighing.total, plain)


def _cut_by(cut: Callable[[Weighing, np.float32, Profile], Cut]) -> Changes:
    return Changes(machine=partial(Machine.fresh, stages=STAGES._replace(weigh=_weighed_twice, cut=cut)))


@FAULTS.fault("top-p-before-temperature", "top_p cuts by the weights at temperature 1", "SA-5", _cut_by)
def _before_temperature(weighing: Weighing, top_p: np.float32, profile: Profile) -> Cut:
    plain = weighing.plain if isinstance(weighing, _WeighedTwice) else weighing
    cut = STAGES.cut(plain, top_p, profile)
    return replace(cut, mass=weighing.cumulative[cut.kept - 1])


@FAULTS.fault("draw-over-total", "the draw is scaled by the total of all weights", "SA-6", as_stage("pick"))
def _over_total(weighing: Weighing, cut: Cut, unit: np.float32, profile: Profile) -> Pick:
    return STAGES.pick(weighing, replace(cut, mass=weighing.total), unit, profile)


@FAULTS.fault("walk-from-the-end", "the candidates are walked from the least likely one", "SA-6", as_stage("pick"))
def _from_the_end(weighing: Weighing, cut: Cut, unit: np.float32, profile: Profile) -> Pick:
    turned = weighed(weighing.weights[: cut.kept][::-1])
    pick = STAGES.pick(turned, cut, unit, profile)
    return replace(pick, index=cut.kept - 1 - pick.index)


# Generator -----------------------------------------------------------------------------------------------------------


@FAULTS.fault("shifts-13-17-5", "the shifts of the generator are 13, 17, 5", "PR-1", as_stage("draw"))
def _shifts_13_17_5(state: int, profile: Profile) -> Draw:
    x = state ^ (state << 13 & _MASK)
    x ^= x >> 17
    x ^= x << 5 & _MASK
    return replace(STAGES.draw(state, profile), after=x, output=x, unit=np.float32(x >> 40) / np.float32(2**24))


@FAULTS.fault("old-state", "the generator gives its state before the step", "PR-1", as_stage("draw"))
def _old_state(state: int, profile: Profile) -> Draw:
    return replace(STAGES.draw(state, profile), output=state, unit=np.float32(state >> 40) / np.float32(2**24))


@FAULTS.fault("seed-zero-kept", "seed 0 stays 0", "PR-2", as_stage("seeded"))
def _seed_zero(seed: int, profile: Profile) -> int:
    return seed & _MASK


@FAULTS.fault("seed-one-more", "the generator starts from seed + 1", "PR-2", as_stage("seeded"))
def _seed_one_more(seed: int, profile: Profile) -> int:
    return seed + 1 & _MASK


@FAULTS.fault("draw-32-bits", "the draw uses 32 high bits", "PR-3", as_stage("draw"))
def _high_32_bits(state: int, profile: Profile) -> Draw:
    drawn = STAGES.draw(state, profile)
    return replace(drawn, unit=np.float32(drawn.output >> 32) / np.float32(2**32))


@FAULTS.fault("draw-23-bits", "the draw uses 23 high bits", "PR-3", as_stage("draw"))
def _high_23_bits(state: int, profile: Profile) -> Draw:
    drawn = STAGES.draw(state, profile)
    return replace(drawn, unit=np.float32(drawn.output >> 41) / np.float32(2**23))


@FAULTS.fault("draw-low-bits", "the draw uses the 24 low bits", "PR-3", as_stage("draw"))
def _low_24_bits(state: int, profile: Profile) -> Draw:
    drawn = STAGES.draw(state, profile)
    return replace(drawn, unit=np.float32(drawn.output & 0xFFFFFF) / np.float32(2**24))
