"""What the oracle's sampler saw at the first token in which a case differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from refruntime.cases.observation import diagnostics_of
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import Generate
from refruntime.client import Client
from refruntime.differential.run import Oracle, PairRun, guessed_tokens
from refruntime.sampling import Choice
from refruntime.trace import ChoiceEvent, Event

MOST_CANDIDATES: Final = 12


@dataclass(frozen=True)
class RetainedToken:
    """A token of the oracle's retained order; `weight` is None in a greedy step."""

    token: int
    text: bytes
    logit: float
    weight: float | None
    kept: bool


@dataclass(frozen=True)
class SeenChoice:
    """One choice of the oracle: its greatest candidates with the chosen one, and where the coin fell.

    `mass`, `point` and `unit` are None in a greedy step, whose `reason` says why. `build_token` is the token of the
    build, None where it is not known.
    """

    step: int
    number: int
    token: int
    build_token: int | None
    candidates: tuple[RetainedToken, ...]
    retained: int
    reason: str = ""
    mass: float | None = None
    point: float | None = None
    unit: float | None = None


class _Collector:
    """Keep the choices of the step that runs."""

    def __init__(self) -> None:
        self.choices: list[Choice] = []

    def event(self, event: Event) -> None:
        if isinstance(event, ChoiceEvent):
            self.choices.append(event.choice)


def first_choice(run: PairRun, oracle: Oracle) -> SeenChoice | None:
    """Return the first choice that the build made otherwise, else the first of the differing step; None without one."""
    first = run.comparison.first
    if first is None or first.index >= min(len(run.build), len(run.case.steps)):
        return None
    collector = _Collector()
    engine = oracle.engine(tracer=collector)
    session = StepRunner(Client(engine), oracle.profile, run.case.models)
    for index, step in enumerate(run.case.steps[: first.index + 1]):
        if isinstance(step, Generate):
            engine.expect(guessed_tokens(index, run.build, engine))
        collector.choices.clear()
        session.run(step)
    runtime = engine.abi.runtime
    if not collector.choices or runtime is None or runtime.model is None:
        return None
    theirs = _tokens_of_build(first.index, run, engine)
    differing = [n for n, (a, b) in enumerate(zip(collector.choices, theirs, strict=False)) if a.token != b]
    number = differing[0] if differing else 0
    other = theirs[number] if number < len(theirs) else None
    return _seen(collector.choices[number], first.index, number, other, runtime.model.tokenizer)


def _tokens_of_build(index: int, run: PairRun, engine: Any) -> list[int]:
    answer = run.build[index]
    if isinstance(answer.step, Generate):
        tokens = guessed_tokens(index, run.build[: index + 1], engine)
        selected = diagnostics_of(answer).get("selected_token")
        return tokens if tokens or not isinstance(selected, int) else [selected]
    selected = diagnostics_of(answer).get("selected_token")
    return [selected] if isinstance(selected, int) else []


def _seen(choice: Choice, step: int, number: int, other: int | None, tokenizer: Any) -> SeenChoice:
    selection, drawn = choice.selection, choice.drawn
    if selection is None:
        return SeenChoice(step, number, choice.token, other, (), 0, choice.greedy_reason)
    ids = [int(token) for token in selection.ids]
    places = list(range(min(MOST_CANDIDATES, len(ids))))
    places += [place for place, token in enumerate(ids) if token in (choice.token, other) and place not in places]
    candidates = tuple(
        RetainedToken(
            ids[place],
            bytes(tokenizer.decode([ids[place]])),
            float(selection.logits[place]),
            None if drawn is None else float(drawn.weighing.weights[place]),
            drawn is not None and place < drawn.cut.kept,
        )
        for place in places
    )
    if drawn is None:
        return SeenChoice(step, number, choice.token, other, candidates, len(ids), choice.greedy_reason)
    mass, point, unit = float(drawn.cut.mass), float(drawn.pick.point), float(drawn.draw.unit)
    return SeenChoice(step, number, choice.token, other, candidates, len(ids), "", mass, point, unit)
