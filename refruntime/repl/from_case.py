"""Turn a case into a session: the oracle runs its steps, and every token that it samples becomes a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from refruntime.cases.observe import Observation
from refruntime.cases.observe import Session as CaseRun
from refruntime.cases.steps import Case, Generate, Load, Step
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.numerics import Numerics
from refruntime.repl.generator import Generator
from refruntime.repl.session import Session
from refruntime.repl.state import Owner, State, Subject, Taken
from refruntime.repl.workbench import Workbench
from refruntime.runtime import DEFAULT_GENERATOR_SEED, Runtime
from refruntime.sampling import Choice
from refruntime.trace import ChoiceEvent, Event, TokensEvent


@dataclass(frozen=True)
class Replay:
    """A case on the oracle: what each step answered, and the session behind the last one, None without a model."""

    observations: tuple[Observation, ...]
    session: Session | None


def replay(
    case: Case, until: int | None = None, profile: Profile | None = None, numerics: Numerics | None = None
) -> Replay:
    """Run the steps of a case up to and including step `until`, counted from 0; all of them without it.

    ValueError for a step that the case does not have.
    """
    last = len(case.steps) - 1 if until is None else until
    if not 0 <= last < len(case.steps):
        raise ValueError(f"{case.name} has no step {last}; expected 0 .. {len(case.steps) - 1}")
    writer = _Writer(case, profile if profile is not None else Profile(), numerics)
    observations = tuple(writer.run(index) for index in range(last + 1))
    return Replay(observations, writer.session)


class _Writer:
    """Run steps one by one and write the states down."""

    def __init__(self, case: Case, profile: Profile, numerics: Numerics | None) -> None:
        self.session: Session | None = None
        self._events: list[Event] = []
        self._case, self._profile = case, profile
        self._abi = ExportedABI(profile, numerics=numerics, tracer=self)
        self._run = CaseRun(Client(ReferenceEngine(self._abi)), profile, case.models)
        self._runtime_generator = Generator.fresh(DEFAULT_GENERATOR_SEED, profile)

    def event(self, event: Event) -> None:
        self._events.append(event)

    def run(self, index: int) -> Observation:
        self._events.clear()
        step = self._case.steps[index]
        observation = self._run.run(step)
        runtime = self._abi.runtime
        if runtime is None or runtime.model is None:
            self.session = None
            return observation
        script = self._case.steps[: index + 1]
        if self.session is None or self.session.subject.bench.transformer is not runtime.model.transformer:
            self.session = self._loaded(step, runtime)
        self._write_events(step, script, runtime)
        self._runtime_generator = self._runtime_generator_now(runtime)
        self._close(script, runtime)
        return observation

    def _loaded(self, step: Step, runtime: Runtime) -> Session:
        model = runtime.resident()
        name = step.model if isinstance(step, Load) else "model"
        artifact = self._case.models.get(name)
        subject = Subject(Workbench(model.transformer), model.tokenizer, self._profile, name, artifact)
        return Session.of(subject, State(sampling=runtime.sampling))

    def _write_events(self, step: Step, script: tuple[Step, ...], runtime: Runtime) -> None:
        """Write a state for the prompt and one for each token that this step sampled."""
        owner: Owner = "runtime"
        generator = self._runtime_generator
        for event in self._events:
            if isinstance(event, TokensEvent):
                owner, generator = "generate", Generator.fresh(runtime.sampling.seed, self._profile)  # GEN-7
                spoken = script[:-1] if isinstance(step, Generate) else script
                self._then(
                    sampling=runtime.sampling,
                    prompt_ids=event.ids,
                    taken=(),
                    owner=owner,
                    generate_generator=generator,
                    script=self._part(spoken, step, 0),
                )
            elif isinstance(event, ChoiceEvent):
                generator = self._take(event.choice, generator, owner, script, step, runtime)

    def _take(
        self, choice: Choice, generator: Generator, owner: Owner, script: tuple[Step, ...], step: Step, runtime: Runtime
    ) -> Generator:
        session = self._present
        logits, taken = session.next_logits, session.state.taken
        made = Taken(choice.token, choice, logits, runtime.sampling, generator, owner, len(session.ids))
        after = generator.after(choice.generator_state, choice.draw is not None)
        spoken = script[:-1] if isinstance(step, Generate) else script
        self._then(
            sampling=runtime.sampling,
            taken=(*taken, made),
            owner=owner,
            script=self._part(spoken, step, len(taken) + 1),
            **{f"{owner}_generator": after},
        )
        return after

    @staticmethod
    def _part(script: Sequence[Step], step: Step, tokens: int) -> tuple[Step, ...]:
        """Return the calls that lead to the first tokens of a generation."""
        return (*script, Generate(step.prompt, tokens)) if isinstance(step, Generate) else tuple(script)

    def _runtime_generator_now(self, runtime: Runtime) -> Generator:
        """Return the runtime-owned generator, whose seed is the configured one where it was reseeded (SC-3, PR-4)."""
        known, state = self._runtime_generator, runtime.generator_state
        if state == known.state:
            return known
        fresh = Generator.fresh(runtime.sampling.seed, self._profile)
        if state == fresh.state:
            return fresh
        drawn = sum(isinstance(event, ChoiceEvent) and event.choice.draw is not None for event in self._events)
        return Generator(known.seed, known.draws + drawn, state)

    def _close(self, script: tuple[Step, ...], runtime: Runtime) -> None:
        """Make the last state that of the runtime after the step: a failure or a reset cleared the context."""
        state = self._present.state
        cleared = runtime.resident().cache.length == 0
        closed = replace(
            state,
            sampling=runtime.sampling,
            prompt_ids=() if cleared else state.prompt_ids,
            taken=() if cleared else state.taken,
            owner="runtime" if state.taken and not cleared else state.owner,
            generate_generator=None if cleared else state.generate_generator,
            runtime_generator=self._runtime_generator,
            script=script,
        )
        wrote_the_end = any(isinstance(event, ChoiceEvent | TokensEvent) for event in self._events)
        replaces = not state.script or (wrote_the_end and not (cleared and state.prompt_ids))
        before = self._present.before if replaces else self._present
        self.session = Session.of(self._present.subject, closed, before)

    def _then(self, **changes: Any) -> None:
        session = self._present
        self.session = Session.of(session.subject, replace(session.state, **changes), session)

    @property
    def _present(self) -> Session:
        if self.session is None:
            raise RuntimeError("no model is resident")
        return self.session
