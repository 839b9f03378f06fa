"""A debugging session as a value: every word gives a new session, and the old one stays what it was.

    session = Session("stories.gguf").set(temperature=0.8, top_k=40).prompt("Once upon a time")
    session = session.step(5)
    print(session.why())
    other = session.back(2).force(" dragon").step(10)

A session says what a host could have done: `prompt` and `step` are the export `generate` one token at a time, with its
fresh generator (GEN-7); after `set` in the middle, or after the generation ended, `step` is `generate_next_token` with
the runtime-owned generator (NT-4). What no export can do, such as `force`, goes on as if one could; `state.unspeakable`
then says what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

from refruntime.api import Artifact, Prompt, checked_ids, open_model, prompt_bytes, raw_bytes
from refruntime.cases.steps import NEXT_TOKEN, RESET, Generate, Step
from refruntime.contract.profile import Profile
from refruntime.keywords import suggests
from refruntime.numerics import Numerics
from refruntime.runtime import Owner
from refruntime.session.chain_draws import ChainDraws, Stages
from refruntime.session.numbers import changed_sampling, whole
from refruntime.session.prefix_cache import PrefixCache
from refruntime.session.questions import Questions
from refruntime.session.said import said
from refruntime.session.state import (
    SessionError,
    SessionState,
    Subject,
    anew,
    called,
    configured,
    refusal,
    special_ids,
    waits,
)
from refruntime.utf8 import checked_prompt


class Session(Questions):
    """A state of a generation and the way that led to it; see the module's text for an example.

    Sessions are never changed. Two sessions with the same words behind them have the same bits.
    """

    @suggests
    def __init__(
        self,
        model: Artifact,
        profile: Profile | None = None,
        numerics: str | Numerics = "seq32",
        name: str = "model",
        unknown_bytes: str = "refuse",
    ) -> None:
        opened = open_model(model, profile, numerics, unknown_bytes)
        prefix_cache = PrefixCache(opened.transformer)
        subject = Subject(prefix_cache, opened.tokenizer, opened.profile, name, model)
        self._fill(subject, subject.loaded(), None)

    def _fill(self, subject: Subject, state: SessionState, before: Session | None) -> None:
        self.subject, self.state, self.before = subject, state, before

    @classmethod
    def of(cls, subject: Subject, state: SessionState, before: Session | None = None) -> Self:
        """Return a session in a given state; for tools that come from elsewhere than a prompt."""
        made = cls.__new__(cls)
        made._fill(subject, state, before)
        return made

    def _then(self, **changes: Any) -> Self:
        return type(self).of(self.subject, replace(self.state, **changes), self)

    # Words that lead on ------------------------------------------------------------------------------------------

    @suggests
    def set(
        self,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Self:
        """Change the sampling configuration and keep what is not named (SC-1 .. SC-3). InvalidLength for a bad value.

        Before the first token this is as if it had been set before the prompt. Later, the next steps are calls of
        `generate_next_token`, whose generator is reseeded as the profile says.
        """
        state, values = self.state, {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        sampling = changed_sampling(state.sampling, {n: value for n, value in values.items() if value is not None})
        step = configured(sampling)
        if state.taken:
            unspeakable = self._unspeakable_continuation()
            return self._then(
                machine=state.machine.left().configure(sampling),
                script=state.script if unspeakable else (*state.script, step),
                unspeakable=unspeakable,
            )
        script = list(state.script)
        if not state.unspeakable:
            script.insert(len(script) - waits(state), step)
        settled = state.settled.configure(sampling)
        if state.before_prompt is None:
            return self._then(machine=settled, script=tuple(script))
        begun = settled.accept(1).begin(state.prompt_ids)
        return self._then(machine=begun, before_prompt=settled, script=tuple(script))

    def prompt(self, prompt: Prompt, special: bool = False) -> Self:
        """Begin a generation: text (BOS as the model says, GEN-2) or ids, which no export takes.

        With `special` the texts of control tokens are these tokens, which no export does. Statuses 2, 3, 11, 13 are
        raised by name (GEN-1 .. GEN-3).
        """
        accepted = self.state.settled.accept(1)
        if isinstance(prompt, str | bytes):
            raw = raw_bytes(prompt)
            if not special:
                return self._begun(accepted.encode(checked_prompt(prompt_bytes(raw))), Generate(raw, 0))
            return self._begun_by_hand(
                special_ids(self.subject.tokenizer, raw), "control tokens were parsed in the prompt"
            )
        return self._begun_by_hand(
            checked_ids(prompt, self.subject.tokenizer.vocab_size), "the prompt was given as ids"
        )

    def chat(self, user: str, system: str | None = None) -> Self:
        """Begin the answer to a message, as the chat template of the model has it (extra `chat`); no export does this.

        Behind an earlier `chat` the talk goes on: what was generated since is its answer. A system message begins a new
        one. SessionError for a model without template; statuses 3, 11, 13 as `prompt`.
        """
        state = self.state
        made = said(self.subject, state.said, self.generated_ids, self.text, user, system)
        begun = self._begun_by_hand(made.prompt.ids, "a chat template made the prompt")
        return type(self).of(begun.subject, replace(begun.state, said=made), begun.before)

    def _begun_by_hand(self, ids: Sequence[int], what: str) -> Self:
        return self._begun(self.state.settled.accept(1).checked(ids), None, f"{what}, which no export takes")

    def _begun(self, ids: Sequence[int], call: Step | None, unspeakable: str = "") -> Self:
        """Begin a generation with ids; without a call that does so, `unspeakable` says why."""
        subject, state = self.subject, self.state
        settled = state.settled
        script, why = called(state), state.unspeakable
        if why and (again := anew(subject, settled)):
            script, why = again, ""
        return self._then(
            machine=settled.accept(1).begin(ids),
            taken=(),
            before_prompt=settled,
            script=script if call is None else (*script, call),
            unspeakable=unspeakable or why,
            said=None,
        )

    def step(self, count: int = 1) -> Self:
        """Sample tokens; fewer than `count` where a stop token or the end of the context comes first."""
        session = self
        for done in range(whole("count", count, 0)):
            if done and session.finished:
                break
            session = session._sampled(None)
        return session

    def force(self, token: int | str | bytes) -> Self:
        """Let the sampler choose, then take `token` instead: an id, or text that is exactly one token.

        The generator advances as it would have, so later draws are those of a build that chose this token.
        """
        return self._sampled(self.token_id(token))

    def chain(self, chain: ChainDraws | None) -> Self:
        """Let llama.cpp's chain draw from now on, or with None the sampler of the contract again."""
        return self._then(chain=chain)

    def chain_draw(self) -> tuple[int, Stages]:
        """Return the token that the chain draws next, and what each stage leaves. SessionError without a chain."""
        chain: ChainDraws | None = self.state.chain
        if chain is None:
            raise SessionError("the sampler of the contract draws; `chain llama.cpp` lets that chain do so")
        return chain.next(self.state.prompt_ids, self.state.taken, self.next_logits)

    def _sampled(self, forced: int | None, owner: Owner | None = None) -> Self:
        state = self.state
        machine = state.machine if owner is None else replace(state.machine, owner=owner)
        if machine.ended:
            raise SessionError(f"{machine.ended}; `back`, `prompt` or `next` leads on")
        if machine.drawing is None:
            raise SessionError("there is no prompt yet; `prompt` begins a generation")
        chained = forced is None and owner is None and state.chain is not None
        taken = self.chain_draw()[0] if chained else forced
        after = machine.take(self.next_logits, taken).read()
        if chained:
            unspeakable = "the chain of llama.cpp drew a token, which no export does"
        elif forced is not None:
            unspeakable = "a token was forced, which no export does"
        elif machine.owner == "runtime":
            unspeakable = self._unspeakable_continuation() or refusal(after)
        else:
            unspeakable = state.unspeakable
        return self._then(
            machine=after,
            taken=(*state.taken, after.last),
            before_prompt=None,
            script=state.script if unspeakable else self._script_after_token(machine.owner),
            unspeakable=unspeakable,
        )

    def _script_after_token(self, owner: Owner) -> tuple[Step, ...]:
        script = self.state.script
        last = script[-1]
        if owner == "generate" and isinstance(last, Generate):
            return (*script[:-1], Generate(last.prompt, last.max_new_tokens + 1))
        return (*script, NEXT_TOKEN)

    def _unspeakable_continuation(self) -> str:
        """Say why no call goes on behind the last token of a `generate`, empty if one does or none has to."""
        state = self.state
        return state.unspeakable or (refusal(state.machine) if state.owner == "generate" else "")

    def next(self, count: int = 1) -> Self:
        """Call `generate_next_token`: from now on the runtime-owned generator draws (NT-4), also after a stop token."""
        if not self.state.taken:
            raise SessionError("there is no generation to continue (NT-2); `prompt` and `step` begin one")
        session = self
        for _ in range(whole("count", count, 0)):
            session = session._sampled(None, "runtime")
        return session

    def reset(self) -> Self:
        """Clear the context as `reset_context` does; model and sampling configuration stay (ST-5)."""
        state = self.state
        return self._then(
            machine=state.settled.reset(),
            taken=(),
            before_prompt=None,
            script=state.script if state.unspeakable else (*called(state), RESET),
            said=None,
        )

    def back(self, count: int = 1) -> Session:
        """Return the session as it was `count` words or tokens ago."""
        session: Session = self
        for done in range(whole("count", count, 0)):
            if session.before is None:
                raise SessionError(f"there are only {done} steps to go back; expected at most that many")
            session = session.before
        return session

    def branch(self) -> Self:
        """Return this session itself: sessions never change, so a name is all that a branch needs."""
        return self

    def history(self) -> Iterator[Session]:
        """Yield this session and every earlier one."""
        session: Session | None = self
        while session is not None:
            yield session
            session = session.before
