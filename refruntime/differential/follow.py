"""Follow a build's tokens over near ties, so that one flipped token does not end a comparison.

A build that shows its logits needs none of this: their bits are defined, and a difference in them is a mismatch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.cases.observe import Observation
from refruntime.cases.steps import NEXT_TOKEN, Case, Generate, Load
from refruntime.contract.profile import Profile
from refruntime.differential.compare import LOGIT_FIELDS, Comparison, compare_observations
from refruntime.differential.near_tie import Flip, measure
from refruntime.differential.run import Oracle, encoded_answer, follow
from refruntime.model.bound import Binder
from refruntime.numerics import Numerics
from refruntime.runtime import Runtime
from refruntime.sampling import Choice
from refruntime.tokenizers.base import Tokenizer
from refruntime.trace import Tracer

TOKEN_FIELDS = frozenset({"generated_tokens", "kv_length", "selected_token", "result"})
"""Fields that differ when nothing but a token does."""


@dataclass(frozen=True)
class Sample:
    """One sampling step of the oracle: its choice, the token that was taken, the logits [V] and the ids before."""

    choice: Choice
    taken: int
    logits: NDArray[np.float32]
    ids: tuple[int, ...]
    temperature: float


@dataclass(frozen=True)
class Followed:
    """A case on the oracle along a build's tokens: `ties` were followed, `flip` was not (or tells of a mismatch)."""

    observations: list[Observation]
    comparison: Comparison
    ties: tuple[Flip, ...] = ()
    flip: Flip | None = None


class FollowingRuntime(Runtime):
    """The oracle's runtime, made to take given tokens and to write down every sampling step. Never the oracle itself.

    `forced` maps the number of a sampling step, counted from 0 since the runtime was made, to the token it takes.
    """

    def __init__(self, *arguments: Any, forced: Mapping[int, int], samples: list[Sample], bind: Binder) -> None:
        self._forced, self._samples = forced, samples
        super().__init__(*arguments, bind=bind)

    def _sample(self, generator_state: int) -> Choice:
        choice = super()._sample(generator_state)
        context, logits = self.context, self.context.sampled_logits
        taken = self._forced.get(len(self._samples), choice.token)
        if logits is not None:
            ids = (*context.prompt_ids, *context.generated_ids)
            self._samples.append(Sample(choice, taken, logits, ids, float(self.sampling.temperature)))
        context.choice = replace(choice, token=taken)
        return context.choice


def only_tokens_differ(case: Case, comparison: Comparison) -> bool:
    """Say whether the first differing step chose tokens and may differ in nothing but one, and what follows from it."""
    if comparison.first is None or comparison.first.index >= len(case.steps):
        return False
    step = case.steps[comparison.first.index]
    fields = {difference.field for difference in comparison.differences}
    samples = isinstance(step, Generate) or step == NEXT_TOKEN
    return samples and fields <= TOKEN_FIELDS | LOGIT_FIELDS and not fields.isdisjoint(TOKEN_FIELDS)


def follow_ties(case: Case, build: Sequence[Observation], oracle: Oracle, offered: Collection[str]) -> Followed:
    """Run a case on the oracle along the build's tokens as long as every flipped token is a near tie.

    The steps of the build stay as they were observed. With logits in its diagnostics no token is followed; the first
    flip is only measured.
    """
    forced: dict[int, int] = {}
    ties: list[Flip] = []
    while True:
        samples: list[Sample] = []
        starts: list[int] = []
        mine = _run_following(case, build, oracle, forced, samples, starts)
        comparison = compare_observations(mine, build, offered)
        first = comparison.first
        if first is None or not only_tokens_differ(case, comparison):
            return Followed(mine, comparison, tuple(ties))
        end = starts[first.index + 1] if first.index + 1 < len(starts) else len(samples)
        flip = _first_flip(case, first.index, build, samples[:end], starts[first.index], oracle)
        if flip is None or flip.sample in forced or not flip.near_tie or not LOGIT_FIELDS.isdisjoint(offered):
            return Followed(mine, comparison, tuple(ties), flip)
        ties.append(flip)
        forced[flip.sample] = flip.build_token


def _run_following(
    case: Case,
    build: Sequence[Observation],
    oracle: Oracle,
    forced: Mapping[int, int],
    samples: list[Sample],
    starts: list[int],
) -> list[Observation]:
    """Run the case with forced tokens; fill `samples`, and in `starts` how many there were before each step."""

    def runtime(profile: Profile, numerics: Numerics | None, tracer: Tracer | None) -> Runtime:
        return FollowingRuntime(profile, numerics, tracer, forced=forced, samples=samples, bind=oracle.bind)

    return follow(case, build, oracle.engine(runtime), oracle.profile, before_step=lambda: starts.append(len(samples)))


def _first_flip(
    case: Case, index: int, answers: Sequence[Observation], samples: Sequence[Sample], start: int, oracle: Oracle
) -> Flip | None:
    """Return the first sample of step `index` whose token the build did not choose, as far as its answer tells."""
    data, answer = _resident(case, answers[:index]), answers[index]
    if data is None or answer.value != 0:
        return None
    tokenizer = oracle.bind(data, oracle.profile, oracle.numerics).tokenizer
    build = _tokens_of(answer, tokenizer)
    for number, (sample, token) in enumerate(zip(samples[start:], build, strict=False), start):
        if sample.taken == token:
            continue
        exact = oracle.bind(data, oracle.profile, oracle.exact).transformer
        row = exact.forward(list(sample.ids), exact.new_cache())[0]  # [V]
        margin, band = measure(sample.choice, token, sample.logits, row, sample.temperature)
        return Flip(
            index=index,
            sample=number,
            reference_token=sample.taken,
            build_token=token,
            reference_text=tokenizer.decode([sample.taken]),
            build_text=tokenizer.decode([token]) if token < tokenizer.vocab_size else b"",
            margin=margin,
            band=band,
            drawn=sample.choice.drawn is not None,
        )
    return None


def _resident(case: Case, answers: Sequence[Observation]) -> bytes | None:
    """Return the model that the steps so far loaded last, None if that failed or was a raw call with unknown bytes."""
    for answer in reversed(answers):
        if isinstance(answer.step, Load):
            return case.models[answer.step.model] if answer.value == 0 else None
        if getattr(answer.step, "export", "") == "load_model":
            return None
    return None


def _tokens_of(answer: Observation, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that a build chose in one step, from `selected_token` or from the text of its answer.

    An answer that ended before its count ends with the stop token, unless the context was full.
    """
    selected = (answer.diagnostics or {}).get("selected_token")
    if answer.step == NEXT_TOKEN and isinstance(selected, int):
        return [selected]
    tokens = encoded_answer(tokenizer, answer.result or b"")
    wanted = answer.step.max_new_tokens if isinstance(answer.step, Generate) else 1
    stops = [tokenizer.eos_id] if tokenizer.eos_id is not None and len(tokens) < wanted else []
    return [*tokens, *stops]
