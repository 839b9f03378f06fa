"""Locate a divergence inside of the oracle: the first value that a variation changes, and the size of a logit error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from refruntime.cases.observation import Observation
from refruntime.differential.run import Oracle, PairRun, follow
from refruntime.differential.samples import Samples
from refruntime.hypotheses.attempt import shown_logits, varied_answers
from refruntime.hypotheses.hypothesis import Changes
from refruntime.trace import ChoiceEvent, Event, TensorEvent, TokensEvent

Key = tuple[str, int, bytes]
"""Name, position and content of one value that passed an arrow of the data flow."""

_STAGES: Final = ("greedy_reason", "selection", "weighing")
_STAGES_OF_A_DRAW: Final = ("cut", "draw", "pick")


class _Recorder:
    """Write down the content of every event up to a number of events, so that a long case cannot fill memory."""

    def __init__(self, most: int = 200_000) -> None:
        self.keys: list[Key] = []
        self._most = most

    def event(self, event: Event) -> None:
        if len(self.keys) < self._most:
            self.keys += _keys(event)


def _keys(event: Event) -> Iterator[Key]:
    if isinstance(event, TensorEvent):
        yield event.name, event.position, np.ascontiguousarray(event.values()).tobytes()
    elif isinstance(event, TokensEvent):
        yield f"{event.name} tokens", 0, repr(event.ids).encode()
    elif isinstance(event, ChoiceEvent):
        seen = [(stage, getattr(event.choice, stage)) for stage in _STAGES]
        seen += [(stage, getattr(event.choice.drawn, stage, None)) for stage in _STAGES_OF_A_DRAW]
        for stage, value in seen:
            yield f"sampler {stage.replace('_', ' ')}", event.position, _content(value)


def _content(value: Any) -> bytes:
    """Return the bytes of the arrays and numbers of a sampler stage."""
    parts = [getattr(value, item.name) for item in fields(value)] if hasattr(value, "__dataclass_fields__") else [value]
    return b"|".join(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode() for part in parts)


def first_varied_value(changes: Changes, run: PairRun, oracle: Oracle) -> str | None:
    """Return the name of the first value that differs between the oracle and a variation of it, None if none does.

    Names are those of the trace, such as `blk.1.attn.scores`; both run up to the first difference of the case.
    """
    first = run.comparison.first
    if first is None:
        return None
    traces: list[list[Key]] = []
    for variation in (Changes(), changes):
        recorder = _Recorder()
        for index, _ in enumerate(varied_answers(variation, run, oracle, recorder)):
            if index == first.index:
                break
        traces.append(recorder.keys)
    for mine, theirs in zip(traces[0], traces[1], strict=False):
        if mine != theirs:
            return mine[0]
    return None


# Logits --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogitError:
    """How far the logits of a build lie from those of the oracle at one step, and how far float32 is off by itself."""

    margin: float
    band: float

    @property
    def text(self) -> str:
        """Return one line for people."""
        verdict = "more than" if self.margin > self.band else "no more than"
        return f"off by {self.margin:.1e}, float32 itself by {self.band:.1e}: {verdict} rounding explains"


def logit_error(run: PairRun, oracle: Oracle) -> LogitError | None:
    """Measure the logits that both sides show at the first difference; None where no logit differs that both show."""
    first = run.comparison.first
    if first is None or first.index >= min(len(run.reference), len(run.build)):
        return None
    mine, theirs = (shown_logits(side[first.index]) for side in (run.reference, run.build))
    common = [token for token in mine if token in theirs]
    if all(mine[token] == theirs[token] for token in common):
        return None

    observations: list[Observation] = []
    samples = Samples(observations)
    follow(run.case, run.build[: first.index + 1], oracle.engine(tracer=samples), oracle.profile, observations)
    if not samples.all:
        return None
    last = samples.all[-1]
    exact = oracle.bind(last.artifact, oracle.profile, oracle.exact).transformer
    row = exact.forward(last.ids, exact.new_cache())[0]  # [V]
    margin = max(abs(mine[token] - theirs[token]) for token in common)
    return LogitError(margin, max(abs(mine[token] - float(row[token])) for token in common))
