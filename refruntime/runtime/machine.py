"""The state machine as a value: what a runtime remembers, and how each call changes it (contract sections 4 to 8).

A transition is a pure function from one machine to the next. Those that bring tokens into the context say so in
`unread`: the ids to forward before the next token can be taken. A call goes

    accept -> begin -> take .. take -> finish        generate
    proceed -> take -> finish                        generate_next_token

and ends with `discard` when one of them fails. Every public method and property is a joint: a variation of the runtime
is a subclass that overrides some of them, made with `fresh` (an experiment, never the oracle).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.diagnostics import Report, build_diagnostics
from refruntime.errors import ContextExceeded, ContractError, GenerationFailed, ModelNotLoaded
from refruntime.runtime.checks import check_count, check_prompt_length
from refruntime.runtime.generator import Generator
from refruntime.runtime.parts import CONTINUATION_FAILURES, Owner, Resident, Sampler, State, Taken
from refruntime.sampling import STAGES, SamplingConfig, Stages, sample
from refruntime.utf8 import result_text

DEFAULT_GENERATOR_SEED: Final = 1


@dataclass(frozen=True, eq=False)
class Machine:
    """Everything that decides what the next call answers, but for the weights and the logits.

    `generator` is the runtime-owned one, `call_generator` that of the last `generate`; `owner` says which draws next.
    `wanted` tokens end a `generate`. `taken` is the last sampling step of the context. `result_version` counts results,
    because the pointer of each is another (MEM-8).
    """

    profile: Profile
    generator: Generator
    stages: Stages = STAGES
    sampler: Sampler = field(default=sample, repr=False)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    resident: Resident | None = None
    freed: bool = False
    prompt_ids: tuple[int, ...] = ()
    generated_ids: tuple[int, ...] = ()
    kv_length: int = 0
    unread: tuple[int, ...] = ()
    taken: Taken | None = None
    owner: Owner = "generate"
    call_generator: Generator | None = None
    wanted: int = 0
    result: bytes = b""
    result_version: int = 0
    last_error: str | None = None

    @classmethod
    def fresh(cls, profile: Profile, stages: Stages = STAGES, sampler: Sampler = sample) -> Self:
        """Return the machine of a runtime that was just created (ST-9, SC-1, PR-4)."""
        return cls(profile, Generator.fresh(DEFAULT_GENERATOR_SEED, profile, stages), stages, sampler)

    def changed(self, **fields: Any) -> Self:
        """Return the machine with other values of some fields; `dataclasses.replace` takes six times as long."""
        machine = object.__new__(type(self))
        machine.__dict__.update(self.__dict__, **fields)
        return machine

    # Outcome of a status call ------------------------------------------------------------------------------------

    def succeed(self) -> Self:
        """Record a successful status call (ERR-5)."""
        return self.changed(last_error=None)

    def fail(self, error: ContractError) -> Self:
        """Record a failed status call: its message, and the result that the profile asks for (ERR-3, ERR-4)."""
        message = self.profile.message(error.status)
        failed = self.changed(last_error=message)
        if self.profile.failed_call_result == "message":
            return failed.with_result(message.encode())
        return failed.with_result(b"") if self.profile.failed_call_result == "empty" else failed

    def with_result(self, result: bytes) -> Self:
        """Return the machine with a result text."""
        return self.changed(result=result, result_version=self.result_version + 1)

    # Observables -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Return the state that the outcome of the last call and the model leave (contract section 4)."""
        if self.last_error is not None:
            return State.RECOVERABLE_ERROR
        if self.resident is None:
            return State.FREED if self.freed else State.INITIALIZED
        return State.CONTINUATION_READY if self.kv_length > 0 else State.READY

    def diagnostics(self) -> bytes:
        """Return the diagnostics document of this moment (DG-1 .. DG-8)."""
        model = self.resident
        report = Report(
            sampling=self.sampling,
            prompt_ids=self.prompt_ids,
            generated_tokens=len(self.generated_ids),
            peak_scratch_bytes=0 if model is None else model.scratch_bytes,
            kv_length=self.kv_length,
            quantization="none" if model is None else model.quantization,
            last_error=self.last_error,
            model_loaded=model is not None,
            logits=None if self.taken is None else self.taken.logits,
            selected_token=None if self.taken is None else self.taken.token,
        )
        return build_diagnostics(report, self.profile)

    @property
    def model(self) -> Resident:
        """Return what is known of the resident model: status 12 without one (NT-1, ST-6)."""
        if self.resident is None:
            raise ModelNotLoaded("no model is resident", rule="ST-6")
        return self.resident

    @property
    def last(self) -> Taken:
        """Return the last sampling step of the context, which a machine has behind `take`."""
        if self.taken is None:
            raise RuntimeError("no token was sampled in this context")
        return self.taken

    @property
    def stop_ids(self) -> frozenset[int]:
        """Return the ids that are not appended when they are sampled (GEN-5, NT-5)."""
        return self.model.tokenizer.stop_ids

    @property
    def full_length(self) -> int:
        """Return the visible length at which a generation ends (GEN-6)."""
        return self.model.capacity

    @property
    def ended(self) -> str:
        """Say why the owner can sample no token now (GEN-5, GEN-6, NT-3), empty if it can."""
        full = self.full_length if self.owner == "generate" else self.model.capacity
        if self.kv_length >= full:
            return f"the context of {full} positions is full (GEN-6, NT-3)"
        if self.owner == "generate" and self.taken is not None and self.taken.token in self.stop_ids:
            return "the generation ended with a stop token (GEN-5)"
        return ""

    @property
    def drawing(self) -> Generator | None:
        """Return the generator that the next token is drawn with, None for a `generate` before its prompt."""
        return self.call_generator if self.owner == "generate" else self.generator

    # Model and configuration -------------------------------------------------------------------------------------

    def init(self) -> Self:
        """Initialise a live runtime: a no-op or a fresh start, as the profile says (ST-2)."""
        if self.profile.init_on_live_runtime != "recreate":
            return self
        return self.fresh(self.profile, self.stages, self.sampler).changed(result_version=self.result_version + 1)

    def unload(self) -> Self:
        """Drop model and context, which happens before another model is looked at (ST-3, ST-4)."""
        return self.cleared().changed(resident=None, freed=False)

    def load(self, model: Resident) -> Self:
        """Install a model that was validated and is in memory (ST-3, PR-4)."""
        loaded = self.unload().changed(resident=model).reseeded_by("generator_on_load")
        return loaded.with_result(b"model loaded")

    def configure(self, sampling: SamplingConfig) -> Self:
        """Replace the sampling configuration by one that was validated (SC-1 .. SC-3)."""
        return self.changed(sampling=sampling).reseeded_by("sampling_config_reseeds")

    def reseeded_by(self, switch: str) -> Self:
        """Reseed where a switch of the profile says so; it is not read where that would change nothing (PR-4, SC-3)."""
        moved = self.generator != self.seeded()
        return self.reseeded() if moved and getattr(self.profile, switch) in ("reseeded", "yes") else self

    def reseeded(self) -> Self:
        """Return the machine with a runtime-owned generator made from the configured seed (PR-4)."""
        return self.changed(generator=self.seeded())

    def seeded(self) -> Generator:
        """Return a fresh generator from the configured seed (GEN-7)."""
        return Generator.fresh(self.sampling.seed, self.profile, self.stages)

    def reset(self) -> Self:
        """Clear the context and keep model and sampling configuration (ST-5)."""
        cleared = self.cleared().reseeded_by("generator_on_reset")
        return cleared.with_result(b"") if self.profile.reset_result == "empty" else cleared

    def free(self) -> Self:
        """Release the model; the sampling configuration stays (ST-6)."""
        return self.cleared().changed(resident=None, freed=True).with_result(b"")

    def cleared(self) -> Self:
        """Return the machine with an empty context."""
        return self.changed(
            prompt_ids=(), generated_ids=(), kv_length=0, unread=(), taken=None, owner="generate", call_generator=None
        )

    # Generations -------------------------------------------------------------------------------------------------

    def accept(self, max_new_tokens: int) -> Self:
        """Start the transaction of a `generate` of text or ids that are valid (GEN-1, GEN-2, PR-4): statuses 12, 2."""
        if self.model:
            check_count(max_new_tokens)
        return self.reseeded_by("generator_on_generate").cleared().changed(wanted=max_new_tokens).with_result(b"")

    def encode(self, text: bytes) -> list[int]:
        """Encode valid UTF-8 and remove one terminal EOS; BOS stays (GEN-2, GEN-3): statuses 2, 11, 12, 13."""
        tokenizer = self.model.tokenizer
        ids = tokenizer.encode(text)
        return self.checked(ids[:-1] if ids and ids[-1] == tokenizer.eos_id else ids)

    def checked(self, ids: Sequence[int]) -> list[int]:
        """Return the ids if they leave room in the context and are not empty (GEN-3): statuses 11, 2."""
        check_prompt_length(ids, self.model.capacity)
        return list(ids)

    def begin(self, ids: Sequence[int]) -> Self:
        """Take the ids of a prompt into the context, with a fresh generator from the configured seed (GEN-4, GEN-7)."""
        prompt = tuple(ids)
        length = self.kv_length + len(prompt)
        return self.changed(prompt_ids=prompt, unread=prompt, kv_length=length, call_generator=self.seeded())

    def proceed(self) -> Self:
        """Start a `generate_next_token` (NT-1 .. NT-4): statuses 12, 11, and that of NT-2."""
        capacity = self.model.capacity
        if self.kv_length == 0:
            raise CONTINUATION_FAILURES[self.profile.continuation_without_context](
                "there is no context to continue", rule="NT-2", field="kv_length", expected="> 0", found=0
            )
        if self.kv_length == capacity:
            raise ContextExceeded(
                "the context is full", rule="NT-3", field="kv_length", expected=f"< {capacity}", found=self.kv_length
            )
        return self.left()

    def read(self) -> Self:
        """Return the machine after its unread ids were forwarded."""
        return self.changed(unread=())

    def take(self, logits: NDArray[np.float32], forced: int | None = None) -> Self:
        """Sample a token from logits [V], and append it unless it stops (GEN-5, NT-4 .. NT-6).

        With `forced` the sampler chooses, the generator advances, and then that token is taken.
        """
        generator = self.drawing
        if generator is None:
            raise GenerationFailed("there is no prompt to go on from", rule="NT-2")
        choice = self.sampler(logits, self.sampling, generator.state, self.profile, self.stages)
        token = choice.token if forced is None else forced
        taken = Taken(token, choice, logits, self.sampling, generator, self.owner, self.kv_length, forced is not None)
        after = self.advanced(generator.after(choice)).changed(taken=taken, unread=())
        return after if token in self.stop_ids else after.append(token)

    def advanced(self, generator: Generator) -> Self:
        """Return the machine with the generator that draws as a step left it (GEN-7, NT-4)."""
        if self.owner == "generate":
            return self.changed(call_generator=generator)
        return self.changed(generator=generator)

    def append(self, token: int) -> Self:
        """Append a token, which is to be forwarded (GEN-5, NT-6)."""
        return self.changed(generated_ids=(*self.generated_ids, token), unread=(token,), kv_length=self.kv_length + 1)

    @property
    def complete(self) -> bool:
        """Say whether a `generate` has no token to sample any more (GEN-5, GEN-6)."""
        return len(self.generated_ids) >= self.wanted or bool(self.ended)

    def finish(self) -> Self:
        """End a call with its text as the result (GEN-8 .. GEN-10, NT-5, NT-6): statuses 3, 13, 14."""
        if self.owner == "runtime" and self.taken is not None and self.taken.token in self.stop_ids:
            return self.with_result(b"")
        text = self.model.tokenizer.decode(self.answered_ids())
        return self.left().with_result(result_text(text, self.profile))

    def answered_ids(self) -> Sequence[int]:
        """Return the ids whose text is the result of the call (GEN-8, NT-6)."""
        if self.owner == "generate" or self.profile.continuation_result == "all generated text":
            return self.generated_ids
        return self.generated_ids[-1:]

    def left(self) -> Self:
        """Leave a `generate`: from now on the runtime-owned generator draws (NT-4)."""
        return self.changed(owner="runtime")

    def discard(self) -> Self:
        """Clear what a failed generation leaves (ST-7, NT-7)."""
        return self.cleared()
