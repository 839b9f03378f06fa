"""Follow a build's tokens over near ties, so that one flipped token does not end a comparison.

A build that shows its logits needs none of this: their bits are defined, and a difference in them is a mismatch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from refruntime.cases.observation import Observation, code_of, diagnostics_of, result_of
from refruntime.cases.steps import NEXT_TOKEN, Case, Generate, Load
from refruntime.differential.compare import LOGIT_FIELDS, Comparison, compare_observations
from refruntime.differential.margins import Flip, measure
from refruntime.differential.run import Oracle, encoded_answer, follow
from refruntime.differential.samples import Sample, Samples
from refruntime.runtime import Machine
from refruntime.sampling import Choice, sample
from refruntime.tokenizers.base import Tokenizer

TOKEN_FIELDS = frozenset({"generated_tokens", "kv_length", "selected_token", "result"})
"""Fields that differ when nothing but a token does."""


@dataclass(frozen=True)
class Followed:
    """A case on the oracle along a build's tokens: `ties` were followed, `flip` was not (or tells of a mismatch)."""

    observations: list[Observation]
    comparison: Comparison
    ties: tuple[Flip, ...] = ()
    flip: Flip | None = None


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
        mine, samples = _run_following(case, build, oracle, forced)
        comparison = compare_observations(mine, build, offered)
        first = comparison.first
        if first is None or not only_tokens_differ(case, comparison):
            return Followed(mine, comparison, tuple(ties))
        start, end = samples.before(first.index), samples.before(first.index + 1)
        flip = _first_flip(case, first.index, build, samples.all[:end], start, oracle)
        if flip is None or flip.sample in forced or not flip.near_tie or not LOGIT_FIELDS.isdisjoint(offered):
            return Followed(mine, comparison, tuple(ties), flip)
        ties.append(flip)
        forced[flip.sample] = flip.build_token


def _run_following(
    case: Case, build: Sequence[Observation], oracle: Oracle, forced: Mapping[int, int]
) -> tuple[list[Observation], Samples]:
    """Run the case with forced tokens, by the number of the sampling step; returns also what was sampled."""
    observations: list[Observation] = []
    samples = Samples(observations)

    def sampler(*arguments: Any) -> Choice:
        choice = sample(*arguments)
        return replace(choice, token=forced.get(len(samples.all), choice.token))

    engine = oracle.engine(partial(Machine.fresh, sampler=sampler), samples)
    follow(case, build, engine, oracle.profile, observations)
    return observations, samples


def _first_flip(
    case: Case, index: int, answers: Sequence[Observation], samples: Sequence[Sample], start: int, oracle: Oracle
) -> Flip | None:
    """Return the first sample of step `index` whose token the build did not choose, as far as its answer tells."""
    data, answer = _resident(case, answers[:index]), answers[index]
    if data is None or code_of(answer) != 0:
        return None
    tokenizer = oracle.bind(data, oracle.profile, oracle.numerics).tokenizer
    build = _tokens_of(answer, tokenizer)
    for number, (made, token) in enumerate(zip(samples[start:], build, strict=False), start):
        mine = made.choice.token
        if mine == token:
            continue
        exact = oracle.bind(data, oracle.profile, oracle.exact).transformer
        row = exact.forward(list(made.ids), exact.new_cache())[0]  # [V]
        margin, band = measure(made.choice, token, made.logits, row, made.temperature)
        return Flip(
            index=index,
            sample=number,
            reference_token=mine,
            build_token=token,
            reference_text=tokenizer.decode([mine]),
            build_text=tokenizer.decode([token]) if token < tokenizer.vocab_size else b"",
            margin=margin,
            band=band,
            drawn=made.choice.drawn is not None,
        )
    return None


def _resident(case: Case, answers: Sequence[Observation]) -> bytes | None:
    """Return the model that the steps so far loaded last, None if that failed or was a raw call with unknown bytes."""
    for answer in reversed(answers):
        if isinstance(answer.step, Load):
            return case.models[answer.step.model] if code_of(answer) == 0 else None
        if getattr(answer.step, "export", "") == "load_model":
            return None
    return None


def _tokens_of(answer: Observation, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that a build chose in one step, from `selected_token` or from the text of its answer.

    An answer that ended before its count ends with the stop token, unless the context was full.
    """
    selected = diagnostics_of(answer).get("selected_token")
    if answer.step == NEXT_TOKEN and isinstance(selected, int):
        return [selected]
    tokens = encoded_answer(tokenizer, result_of(answer) or b"")
    wanted = answer.step.max_new_tokens if isinstance(answer.step, Generate) else 1
    stops = [tokenizer.eos_id] if tokenizer.eos_id is not None and len(tokens) < wanted else []
    return [*tokens, *stops]
