"""Turn calls into a session: the oracle answers them, and every token that it samples becomes a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Any

from refruntime.cases.observe import Observation
from refruntime.cases.observe import Session as CaseRun
from refruntime.cases.steps import Case, Generate, Load, Step
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.model.bound import Binder, bind_model
from refruntime.model.forward import Transformer
from refruntime.numerics import Numerics
from refruntime.runtime import DEFAULT_GENERATOR_SEED, Runtime
from refruntime.session.generator import Generator
from refruntime.session.prefix_cache import Workbench
from refruntime.session.session import Session
from refruntime.session.state import Owner, State, Subject, Taken, begins_call
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
    calls = Calls(case.models, profile, numerics)
    observations = tuple(calls.run(step) for step in case.steps[: last + 1])
    return Replay(observations, calls.session)


class Calls:
    """A fresh oracle that answers calls one by one; the states behind them are written down.

    `steps` are the calls so far, `session` is the state behind the last one, None without a model or behind a trap
    (`trapped`), after which no runtime answers (MEM-6). `new_sessions` are the states that the last call went through,
    in order. `bind` may remember models between oracles, and `bench` the workbench of a model.
    """

    def __init__(
        self,
        models: Mapping[str, bytes],
        profile: Profile | None = None,
        numerics: Numerics | None = None,
        *,
        bind: Binder = bind_model,
        bench: Callable[[Transformer], Workbench] = Workbench,
    ) -> None:
        self.steps: tuple[Step, ...] = ()
        self.session: Session | None = None
        self.trapped = False
        self.new_sessions: tuple[Session, ...] = ()
        self._models, self._bench = models, bench
        self._profile = profile if profile is not None else Profile()
        self._events: list[ChoiceEvent | TokensEvent] = []
        runtime = partial(Runtime, bind=bind)
        self._abi = ExportedABI(self._profile, numerics=numerics, tracer=self, runtime_type=runtime)
        self._run = CaseRun(Client(ReferenceEngine(self._abi)), self._profile, models)
        self._runtime_generator = Generator.fresh(DEFAULT_GENERATOR_SEED, self._profile)

    def event(self, event: Event) -> None:
        """Remember what was sampled, and from which prompt."""
        if isinstance(event, ChoiceEvent | TokensEvent):
            self._events.append(event)

    def run(self, step: Step) -> Observation:
        """Make one call. HostMisuse where the contract leaves undefined what happens; no call goes on after it."""
        self._events.clear()
        before = self.session
        observation = self._run.run(step)
        self.steps = (*self.steps, step)
        self.trapped = self.trapped or observation.kind == "trap"
        runtime = self._abi.runtime
        if self.trapped or runtime is None or runtime.model is None:
            self.session, self.new_sessions = None, ()
            return observation
        loaded = isinstance(step, Load) and observation.value == 0
        if self.session is None or loaded or self._is_other(self.session, runtime):
            self.session = self._loaded(step, runtime)
        self._write_events(step, runtime)
        self._runtime_generator = self._runtime_generator_now(runtime)
        self._close(runtime)
        newer = takewhile(lambda session: session is not before, self._present.history())
        self.new_sessions = tuple(newer)[::-1]
        return observation

    @staticmethod
    def _is_other(session: Session, runtime: Runtime) -> bool:
        return session.subject.bench.transformer is not runtime.resident().transformer

    def _loaded(self, step: Step, runtime: Runtime) -> Session:
        model = runtime.resident()
        name = step.model if isinstance(step, Load) else "model"
        artifact = self._models.get(name)
        subject = Subject(self._bench(model.transformer), model.tokenizer, self._profile, name, artifact)
        return Session.of(subject, State(sampling=runtime.sampling))

    def _write_events(self, step: Step, runtime: Runtime) -> None:
        """Write a state for the prompt and one for each token that this step sampled."""
        owner: Owner = "runtime"
        generator = self._runtime_generator
        for event in self._events:
            if isinstance(event, TokensEvent):
                owner, generator = "generate", Generator.fresh(runtime.sampling.seed, self._profile)  # GEN-7
                self._then(
                    sampling=runtime.sampling,
                    prompt_ids=event.ids,
                    taken=(),
                    owner=owner,
                    generate_generator=generator,
                    script=self._part(step, 0),
                )
            else:
                generator = self._take(event, generator, owner, step)

    def _take(self, event: ChoiceEvent, generator: Generator, owner: Owner, step: Step) -> Generator:
        session = self._present
        taken = session.state.taken
        choice, sampling = event.choice, event.sampling
        made = Taken(choice.token, choice, event.logits, sampling, generator, owner, len(session.ids))
        after = generator.after(choice.generator_state, choice.drawn is not None)
        generators = {f"{owner}_generator": after}
        if begins_call(session.subject, session.state, owner):
            self._runtime_generator = Generator.fresh(sampling.seed, self._profile)
            generators["runtime_generator"] = self._runtime_generator
        self._then(
            sampling=sampling,
            taken=(*taken, made),
            owner=owner,
            script=self._part(step, len(taken) + 1),
            **generators,
        )
        return after

    def _part(self, step: Step, tokens: int) -> tuple[Step, ...]:
        """Return the calls that lead to the first tokens of a generation."""
        return (*self.steps[:-1], Generate(step.prompt, tokens)) if isinstance(step, Generate) else self.steps

    def _runtime_generator_now(self, runtime: Runtime) -> Generator:
        """Return the runtime-owned generator, whose seed is the configured one where it was reseeded (SC-3, PR-4)."""
        known, state = self._runtime_generator, runtime.generator_state
        if state == known.state:
            return known
        fresh = Generator.fresh(runtime.sampling.seed, self._profile)
        if state == fresh.state:
            return fresh
        drawn = sum(isinstance(event, ChoiceEvent) and event.choice.drawn is not None for event in self._events)
        return Generator(known.seed, known.draws + drawn, state)

    def _close(self, runtime: Runtime) -> None:
        """Make the last state that of the runtime after the step: a failure or a reset cleared the context."""
        state = self._present.state
        cleared = runtime.resident().cache.length == 0
        closed = replace(
            state,
            sampling=runtime.sampling,
            prompt_ids=() if cleared else state.prompt_ids,
            taken=() if cleared else state.taken,
            owner="generate" if cleared else "runtime" if state.taken else state.owner,
            generate_generator=None if cleared else state.generate_generator,
            runtime_generator=self._runtime_generator,
            script=self.steps,
        )
        wrote_the_end = bool(self._events)
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
