"""Turn calls into a session: the oracle answers them, and every token that it samples becomes a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from refruntime.cases.observation import Observation, Trapped, code_of
from refruntime.cases.observe import StepRunner as CaseRun
from refruntime.cases.steps import Case, Generate, Load, Step
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.model.binding import Binder, bind_model
from refruntime.model.forward import Transformer
from refruntime.numerics import Numerics
from refruntime.runtime import Machine, Runtime
from refruntime.session.prefix_cache import PrefixCache
from refruntime.session.session import Session
from refruntime.session.state import SessionState, Subject
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
    in order. `bind` may remember models between oracles, and `prefix_cache` the prefix cache of a model.
    """

    def __init__(
        self,
        models: Mapping[str, bytes],
        profile: Profile | None = None,
        numerics: Numerics | None = None,
        *,
        bind: Binder = bind_model,
        prefix_cache: Callable[[Transformer], PrefixCache] = PrefixCache,
    ) -> None:
        self.steps: tuple[Step, ...] = ()
        self.session: Session | None = None
        self.trapped = False
        self.new_sessions: tuple[Session, ...] = ()
        self._models, self._prefix_cache = models, prefix_cache
        self._profile = profile if profile is not None else Profile()
        self._passed: list[Machine] = []
        runtime = partial(Runtime, bind=bind)
        self._abi = ExportedABI(self._profile, numerics=numerics, tracer=self, runtime_type=runtime)
        self._run = CaseRun(Client(ReferenceEngine(self._abi)), self._profile, models)

    def event(self, event: Event) -> None:
        """Remember the machine behind a prompt, and behind each token."""
        if isinstance(event, ChoiceEvent | TokensEvent) and self._abi.runtime is not None:
            self._passed.append(self._abi.runtime.machine.read())

    def run(self, step: Step) -> Observation:
        """Make one call. HostMisuse where the contract leaves undefined what happens; no call goes on after it."""
        self._passed.clear()
        before = self.session
        observation = self._run.run(step)
        self.steps = (*self.steps, step)
        self.trapped = self.trapped or isinstance(observation, Trapped)
        runtime = self._abi.runtime
        if self.trapped or runtime is None or runtime.model is None:
            self.session, self.new_sessions = None, ()
            return observation
        loaded = isinstance(step, Load) and code_of(observation) == 0
        present = self.session and self.session.subject.prefix_cache.transformer
        if self.session is None or loaded or present is not runtime.resident().transformer:
            self.session = self._loaded(step, runtime)
        for machine in self._passed:
            self._pass(machine, step)
        self._close(runtime.machine)
        newer = takewhile(lambda session: session is not before, self._present.history())
        self.new_sessions = tuple(newer)[::-1]
        return observation

    def _loaded(self, step: Step, runtime: Runtime) -> Session:
        model = runtime.resident()
        name = step.model if isinstance(step, Load) else "model"
        artifact = self._models.get(name)
        subject = Subject(self._prefix_cache(model.transformer), model.tokenizer, self._profile, name, artifact)
        return Session.of(subject, SessionState(runtime.machine))

    def _pass(self, machine: Machine, step: Step) -> None:
        """Write a state for the prompt of this step, or for a token that it sampled."""
        state = self._present.state
        taken = () if machine.taken is None else (*state.taken, machine.taken)
        before = state.machine if machine.taken is None else None
        self._then(SessionState(machine, taken, before, self._part(step, len(taken))))

    def _part(self, step: Step, tokens: int) -> tuple[Step, ...]:
        """Return the calls that lead to the first tokens of a generation."""
        return (*self.steps[:-1], Generate(step.prompt, tokens)) if isinstance(step, Generate) else self.steps

    def _close(self, machine: Machine) -> None:
        """Make the last state that of the runtime after the step: a failure or a reset cleared the context."""
        present, state = self._present, self._present.state
        cleared = machine.kv_length == 0
        closed = SessionState(machine, () if cleared else state.taken, script=self.steps)
        replaces = not state.script or (bool(self._passed) and not (cleared and state.prompt_ids))
        self.session = Session.of(present.subject, closed, present.before if replaces else present)

    def _then(self, state: SessionState) -> None:
        self.session = Session.of(self._present.subject, state, self._present)

    @property
    def _present(self) -> Session:
        if self.session is None:
            raise RuntimeError("no model is resident")
        return self.session
