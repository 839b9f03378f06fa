"""The state machine: one optional model, one context, no pointers (contract sections 4 to 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.diagnostics import Report, build_diagnostics
from refruntime.errors import (
    ContextExceeded,
    ContractError,
    GenerationFailed,
    InvalidLength,
    ModelNotLoaded,
)
from refruntime.model.bound import Binder, bind_model
from refruntime.model.forward import Transformer
from refruntime.model.kv_cache import KVCache, scratch_bytes
from refruntime.model.load import Buffer
from refruntime.model.lookahead import Lookahead
from refruntime.model.validated import Hyperparameters
from refruntime.numerics import Numerics, Seq32
from refruntime.sampling import STAGES, Choice, SamplingConfig, Stages, sample
from refruntime.tokenizers.base import Tokenizer
from refruntime.trace import ChoiceEvent, Event, LoadEvent, TokensEvent, Tracer
from refruntime.utf8 import checked_prompt, result_text

DEFAULT_GENERATOR_SEED = 1


class State(Enum):
    """The states of the published state machine (contract section 4)."""

    UNINITIALIZED = "uninitialized"
    INITIALIZED = "initialized"
    READY = "ready"
    CONTINUATION_READY = "continuation ready"
    RECOVERABLE_ERROR = "recoverable error"
    FREED = "freed"


@dataclass
class LoadedModel:
    """A resident model with its KV cache; both live and die together (ST-3, ST-6)."""

    transformer: Transformer
    tokenizer: Tokenizer
    quantization: str
    cache: KVCache
    lookahead: Lookahead

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Return the dimensions of the model."""
        return self.transformer.hyperparameters


@dataclass
class Context:
    """What a generation leaves behind: tokens, current logits [V], and the last sampling step."""

    prompt_ids: list[int] = field(default_factory=list)
    generated_ids: list[int] = field(default_factory=list)
    logits: NDArray[np.float32] | None = None
    sampled_logits: NDArray[np.float32] | None = None
    choice: Choice | None = None


class Runtime:
    """The runtime behind the lock. Methods raise leaves of `ContractError`; `fail` and `succeed` record the outcome.

    No transfer limit applies here: that one belongs to the ABI (MEM-2). `bind` may remember models between runtimes.
    """

    stages: ClassVar[Stages] = STAGES
    sampler: ClassVar[Callable[..., Choice]] = staticmethod(sample)

    def __init__(
        self,
        profile: Profile | None = None,
        numerics: Numerics | None = None,
        tracer: Tracer | None = None,
        *,
        bind: Binder = bind_model,
    ) -> None:
        self.profile = profile if profile is not None else Profile()
        self.numerics: Numerics = numerics if numerics is not None else Seq32()
        self.tracer = tracer
        self._bind = bind
        self._start()

    def _start(self) -> None:
        self.model: LoadedModel | None = None
        self.context = Context()
        self.sampling = SamplingConfig()
        self.generator_state = self.stages.seeded(DEFAULT_GENERATOR_SEED, self.profile)  # PR-4
        self.last_error: str | None = None
        self.freed = False
        self.result = b""
        self.result_version = 0

    # Outcome of a status call ------------------------------------------------------------------------------------

    def succeed(self) -> None:
        """Record a successful status call (ERR-5)."""
        self.last_error = None

    def fail(self, error: ContractError) -> None:
        """Record a failed status call: its message, and the result that the profile asks for (ERR-3, ERR-4)."""
        self.last_error = self.profile.message(error.status)
        if self.profile.failed_call_result == "message":
            self._set_result(self.last_error.encode())
        elif self.profile.failed_call_result == "empty":
            self._set_result(b"")

    def _set_result(self, result: bytes) -> None:
        self.result = result
        self.result_version += 1

    # Observables -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Return the state that the outcome of the last call and the model leave (contract section 4)."""
        if self.last_error is not None:
            return State.RECOVERABLE_ERROR
        if self.model is None:
            return State.FREED if self.freed else State.INITIALIZED
        return State.CONTINUATION_READY if self.model.cache.length > 0 else State.READY

    def diagnostics(self) -> bytes:
        """Return the diagnostics document of this moment (DG-1 .. DG-8)."""
        model, context = self.model, self.context
        return build_diagnostics(
            Report(
                sampling=self.sampling,
                prompt_ids=context.prompt_ids,
                generated_tokens=len(context.generated_ids),
                peak_scratch_bytes=0 if model is None else scratch_bytes(model.hyperparameters),
                kv_length=0 if model is None else model.cache.length,
                quantization="none" if model is None else model.quantization,
                last_error=self.last_error,
                model_loaded=model is not None,
                logits=context.sampled_logits,
                selected_token=None if context.choice is None else context.choice.token,
            ),
            self.profile,
        )

    # Status operations -------------------------------------------------------------------------------------------

    def init_runtime(self) -> None:
        """Create the runtime; on a live one a no-op or a fresh start, as the profile says (ST-1, ST-2)."""
        if self.profile.init_on_live_runtime == "recreate":
            version = self.result_version
            self._start()
            self.result_version = version + 1

    def load_model(self, data: Buffer) -> None:
        """Install a model as one transaction; a failure drops any resident model (ST-3, ST-4). Statuses 4 to 10."""
        self.model = None
        self.freed = False
        self.context = Context()
        self._tell(LoadEvent(data))
        bound = self._bind(data, self.profile, self.numerics)
        cache = bound.transformer.new_cache()
        lookahead = Lookahead(bound.transformer, cache)
        self.model = LoadedModel(bound.transformer, bound.tokenizer, bound.quantization, cache, lookahead)
        if self.profile.generator_on_load == "reseeded":
            self._reseed()
        self._set_result(b"model loaded")

    def set_sampling_config(self, temperature: float, top_k: int, top_p: float, seed: int) -> None:
        """Replace the sampling configuration (SC-1 .. SC-3); a bad value gives InvalidLength and changes nothing."""
        self.sampling = SamplingConfig.validated(temperature, top_k, top_p, seed)
        if self.profile.sampling_config_reseeds == "yes":
            self._reseed()

    def generate(self, prompt: bytes, max_new_tokens: int) -> None:
        """Generate from a prompt (GEN-1 .. GEN-11): statuses 2, 3, 11, 12, 13, 14."""
        text = checked_prompt(prompt)
        self._generate(lambda: self.encode_prompt(text), max_new_tokens)

    def generate_from_ids(self, ids: Sequence[int], max_new_tokens: int) -> None:
        """Generate from ids below V, taken as they are, as `generate` does from encoded text: statuses 2, 3, 11 to 14.

        No export does this; it is for comparisons with software that shares no tokenizer.
        """
        self._generate(lambda: self._checked_prompt(list(ids)), max_new_tokens)

    def _generate(self, prompt_ids: Callable[[], list[int]], max_new_tokens: int) -> None:
        """Check model and count, then run the transaction (GEN-1 .. GEN-11)."""
        model = self.resident()
        if max_new_tokens < 1:
            raise InvalidLength(
                "max_new_tokens is below 1", rule="GEN-1", field="max_new_tokens", expected=">= 1", found=max_new_tokens
            )
        if self.profile.generator_on_generate == "reseeded":
            self._reseed()
        try:
            self._clear_context()
            self._set_result(b"")  # GEN-2
            self.prefill(prompt_ids())
            state = self.stages.seeded(self.sampling.seed, self.profile)  # GEN-7
            while len(self.context.generated_ids) < max_new_tokens and model.cache.length < self._full_length(model):
                choice = self._sample(state)
                state = choice.generator_state
                if choice.token in model.tokenizer.stop_ids:
                    break
                self._append(choice.token)
            self._set_result(self._decoded(self.context.generated_ids))
        except ContractError:
            self._discard_generation()
            raise

    def generate_next_token(self) -> None:
        """Continue by one token with the runtime-owned generator (NT-1 .. NT-7): statuses 2, 3, 11, 12, 13, 14."""
        model = self.resident()
        if model.cache.length == 0:
            raise _CONTINUATION_FAILURES[self.profile.continuation_without_context](
                "there is no context to continue", rule="NT-2", field="kv_length", expected="> 0", found=0
            )
        if model.cache.length == model.cache.capacity:
            raise ContextExceeded(
                "the context is full",
                rule="NT-3",
                field="kv_length",
                expected=f"< {model.cache.capacity}",
                found=model.cache.length,
            )
        try:
            choice = self._sample(self.generator_state)
            self.generator_state = choice.generator_state
            if choice.token in model.tokenizer.stop_ids:
                self._set_result(b"")  # NT-5
                return
            self._append(choice.token)
            whole = self.profile.continuation_result == "all generated text"
            self._set_result(self._decoded(self.context.generated_ids if whole else [choice.token]))
        except ContractError:
            self._discard_generation()
            raise

    def reset_context(self) -> None:
        """Clear the context and keep model, buffers and sampling configuration (ST-5)."""
        self._clear_context()
        if self.profile.generator_on_reset == "reseeded":
            self._reseed()
        if self.profile.reset_result == "empty":
            self._set_result(b"")

    def free_model(self) -> None:
        """Release the model with everything that depends on it; the sampling configuration stays (ST-6)."""
        self.model = None
        self.freed = True
        self.context = Context()
        self._set_result(b"")

    # Parts of a generation ---------------------------------------------------------------------------------------

    def encode_prompt(self, text: bytes) -> list[int]:
        """Encode valid UTF-8 and remove one terminal EOS; BOS stays (GEN-2, GEN-3): statuses 2, 11, 12, 13."""
        return self._checked_prompt(prompt_ids(self.resident().tokenizer, text))

    def _checked_prompt(self, ids: list[int]) -> list[int]:
        """Return the ids if they leave room in the context and are not empty (GEN-3): statuses 2, 11."""
        check_prompt_length(ids, self.resident().cache.capacity)
        return ids

    def prefill(self, ids: Sequence[int]) -> None:
        """Forward the prompt ids; positions go through together, with the bits of one after the other (GEN-4)."""
        model = self.resident()
        self.context.prompt_ids = list(ids)
        self._tell(TokensEvent("prompt", tuple(ids)))
        self.context.logits = self._forward(model, ids)

    def expect(self, tokens: Sequence[int]) -> None:
        """Guess the tokens that follow the next prompt; a right guess saves time, none changes an answer (GEN-4)."""
        if self.model is not None:
            self.model.lookahead.expect(tokens)

    def _sample(self, generator_state: int) -> Choice:
        model, context = self.resident(), self.context
        logits = context.logits
        if logits is None:
            raise GenerationFailed("there are no logits to sample from", rule="NT-2")
        choice = self.sampler(logits, self.sampling, generator_state, self.profile, self.stages)
        context.sampled_logits, context.choice = logits, choice
        ids = (*context.prompt_ids, *context.generated_ids)
        self._tell(ChoiceEvent(model.cache.length, choice, logits, self.sampling, ids))
        return choice

    def _tell(self, event: Event) -> None:
        if self.tracer is not None:
            self.tracer.event(event)

    def _append(self, token: int) -> None:
        """Append a token and forward it at the next position (GEN-5)."""
        model = self.resident()
        self.context.generated_ids.append(token)
        self.context.logits = self._forward(model, [token])

    def _forward(self, model: LoadedModel, ids: Sequence[int]) -> NDArray[np.float32]:
        logits: NDArray[Any] = model.lookahead.forward(ids, self.tracer)  # [V]
        with np.errstate(over="ignore"):
            return logits.astype(np.float32)

    def _decoded(self, ids: Sequence[int]) -> bytes:
        """Decode generated ids into a result (GEN-8 .. GEN-10): statuses 3, 13, 14."""
        return result_text(self.resident().tokenizer.decode(ids), self.profile)

    def resident(self) -> LoadedModel:
        """Return the resident model: status 12 without one (ST-6)."""
        if self.model is None:
            raise ModelNotLoaded("no model is resident", rule="ST-6")
        return self.model

    def _full_length(self, model: LoadedModel) -> int:
        """Return the visible length at which a generation ends (GEN-6)."""
        return model.cache.capacity

    def _discard_generation(self) -> None:
        """Clear what a failed generation leaves (ST-7, NT-7)."""
        self._clear_context()

    def _clear_context(self) -> None:
        self.context = Context()
        if self.model is not None:
            self.model.cache.length = 0

    def _reseed(self) -> None:
        self.generator_state = self.stages.seeded(self.sampling.seed, self.profile)


_CONTINUATION_FAILURES: dict[str, type[ContractError]] = {
    "13": GenerationFailed,
    "2": InvalidLength,
    "11": ContextExceeded,
}


def prompt_ids(tokenizer: Tokenizer, text: bytes) -> list[int]:
    """Encode valid UTF-8 and remove one terminal EOS; BOS stays (GEN-2): status 13."""
    ids = tokenizer.encode(text)
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_id else ids


def check_prompt_length(ids: Sequence[int], capacity: int) -> None:
    """Refuse ids that leave no room in the context, and none at all (GEN-3): statuses 11, 2."""
    if len(ids) >= capacity:
        raise ContextExceeded(
            "the encoded prompt does not leave room in the context",
            rule="GEN-3",
            field="prompt_tokens",
            expected=f"< {capacity}",
            found=len(ids),
        )
    if not ids:
        raise InvalidLength("the encoded prompt is empty", rule="GEN-3", field="prompt_tokens", expected=">= 1")
