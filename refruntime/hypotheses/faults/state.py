"""Hypotheses on the state machine (sections 2 to 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from refruntime.errors import ContextExceeded, ContractError, InvalidLength
from refruntime.exports import ExportedABI
from refruntime.host_numbers import Number, to_u32
from refruntime.hypotheses.faults.tokenizer import Delegating
from refruntime.hypotheses.hypothesis import Changes, Hypothesis
from refruntime.model.load import Buffer
from refruntime.runtime import LoadedModel, Runtime
from refruntime.sampling import SamplingConfig
from refruntime.tokenizers.base import Tokenizer

# Transactions --------------------------------------------------------------------------------------------------------


class _ResetKeepsLength(Runtime):
    def reset_context(self) -> None:
        length = 0 if self.model is None else self.model.cache.length
        logits = self.context.logits
        super().reset_context()
        if self.model is not None:
            self.model.cache.length, self.context.logits = length, logits


class _ResetDoesNothing(Runtime):
    def reset_context(self) -> None:
        return


class _ResetRestoresSampling(Runtime):
    def reset_context(self) -> None:
        super().reset_context()
        self.sampling = SamplingConfig()


class _FreeRestoresSampling(Runtime):
    def free_model(self) -> None:
        super().free_model()
        self.sampling = SamplingConfig()


class _LoadRestoresSampling(Runtime):
    def load_model(self, data: Buffer) -> None:
        super().load_model(data)
        self.sampling = SamplingConfig()


class _FailedLoadKeepsModel(Runtime):
    def load_model(self, data: Buffer) -> None:
        before = self.model, self.context, self.freed
        try:
            super().load_model(data)
        except ContractError:
            self.model, self.context, self.freed = before
            raise


class _SliceErrorDropsModel(ExportedABI):
    def load_model(self, pointer: Number, length: Number) -> int:
        if self.runtime is not None and not (to_u32(pointer) and to_u32(length)):
            result, version = self.runtime.result, self.runtime.result_version
            self.runtime.free_model()
            self.runtime.result, self.runtime.result_version = result, version
        return super().load_model(pointer, length)


class _ContextKept(Runtime):
    """`generate` goes on behind the tokens of the call before."""

    starting = False

    def _generate(self, prompt_ids: Callable[[], list[int]], max_new_tokens: int) -> None:
        self.starting = True
        try:
            super()._generate(prompt_ids, len(self.context.generated_ids) + max_new_tokens if max_new_tokens else 0)
        finally:
            self.starting = False

    def _checked_prompt(self, ids: list[int]) -> list[int]:
        cache = self.resident().cache
        if cache.length + len(ids) > cache.capacity:
            raise ContextExceeded("the prompt does not fit behind the context", rule="GEN-3")
        return super()._checked_prompt(ids)

    def _clear_context(self) -> None:
        if not self.starting:
            super()._clear_context()
        self.starting = False


class _FailureKeepsState(Runtime):
    def _discard_generation(self) -> None:
        return


class _CountFirst(Runtime):
    def _generate(self, prompt_ids: Callable[[], list[int]], max_new_tokens: int) -> None:
        if max_new_tokens < 1:
            raise InvalidLength("max_new_tokens is zero", rule="GEN-1")
        super()._generate(prompt_ids, max_new_tokens)


class _PromptMayFill(Runtime):
    def _checked_prompt(self, ids: list[int]) -> list[int]:
        return ids if len(ids) == self.resident().cache.capacity else super()._checked_prompt(ids)


class _PromptOneShorter(Runtime):
    def _checked_prompt(self, ids: list[int]) -> list[int]:
        super()._checked_prompt([*ids, 0] if ids else ids)
        return ids


class _EndsEarly(Runtime):
    def _full_length(self, model: LoadedModel) -> int:
        return super()._full_length(model) - 1


class _EosKept(Runtime):
    def encode_prompt(self, text: bytes) -> list[int]:
        return self._checked_prompt(self.resident().tokenizer.encode(text))


class _EosAppended(Runtime):
    def _generate(self, prompt_ids: Callable[[], list[int]], max_new_tokens: int) -> None:
        super()._generate(prompt_ids, max_new_tokens)
        choice = self.context.choice
        if choice is not None and choice.token in self.resident().tokenizer.stop_ids:
            self._append(choice.token)


class _PromptEchoed(Runtime):
    def _generate(self, prompt_ids: Callable[[], list[int]], max_new_tokens: int) -> None:
        super()._generate(prompt_ids, max_new_tokens)
        self._set_result(self._decoded([*self.context.prompt_ids, *self.context.generated_ids]))


class _BadConfigApplied(Runtime):
    def set_sampling_config(self, temperature: float, top_k: int, top_p: float, seed: int) -> None:
        with np.errstate(over="ignore"):
            self.sampling = SamplingConfig(np.float32(temperature), top_k, np.float32(top_p), seed)
        super().set_sampling_config(temperature, top_k, top_p, seed)


class _ErrorKept(Runtime):
    def succeed(self) -> None:
        return


class _Endless(Delegating):
    stop_ids: frozenset[int] = frozenset()


class _ContinuesBeyondEos(Runtime):
    def generate_next_token(self) -> None:
        model = self.model
        if model is None:
            super().generate_next_token()
            return
        tokenizer: Tokenizer = model.tokenizer
        endless: Any = _Endless(tokenizer)
        model.tokenizer = endless
        try:
            super().generate_next_token()
        finally:
            model.tokenizer = tokenizer


_RUNTIMES: Final[tuple[tuple[str, str, str, type[Runtime]], ...]] = (
    ("reset-keeps-length", "reset_context leaves the visible KV length as it was", "ST-5", _ResetKeepsLength),
    ("reset-does-nothing", "reset_context does nothing", "ST-5", _ResetDoesNothing),
    (
        "reset-restores-sampling",
        "reset_context restores the default sampling configuration",
        "ST-5",
        _ResetRestoresSampling,
    ),
    ("free-restores-sampling", "free_model restores the default sampling configuration", "ST-6", _FreeRestoresSampling),
    ("load-restores-sampling", "load_model restores the default sampling configuration", "ST-3", _LoadRestoresSampling),
    ("failed-load-keeps-model", "a failed load leaves the resident model in place", "ST-4", _FailedLoadKeepsModel),
    ("context-kept", "generate continues behind the tokens of the call before", "GEN-2", _ContextKept),
    ("failure-keeps-state", "a failed generation leaves tokens, KV length and diagnostics", "ST-7", _FailureKeepsState),
    ("count-first", "max_new_tokens is checked before the model", "GEN-1", _CountFirst),
    ("prompt-may-fill", "a prompt of exactly the capacity is accepted", "GEN-3", _PromptMayFill),
    ("prompt-one-shorter", "a prompt of one less than the capacity is refused", "GEN-3", _PromptOneShorter),
    ("ends-early", "generation stops one token before the capacity", "GEN-6", _EndsEarly),
    ("eos-kept", "the terminal EOS of the encoded prompt is forwarded too", "GEN-2", _EosKept),
    ("eos-appended", "a sampled EOS is appended and forwarded", "GEN-5", _EosAppended),
    ("eos-ignored", "generate_next_token appends a sampled EOS like any token", "NT-5", _ContinuesBeyondEos),
    ("prompt-echoed", "the result text begins with the prompt", "GEN-8", _PromptEchoed),
    ("bad-config-applied", "a rejected sampling configuration is applied", "SC-2", _BadConfigApplied),
    ("error-kept", "a successful call leaves last_error", "ERR-5", _ErrorKept),
)


def state_hypotheses() -> Iterator[Hypothesis]:
    """Yield the hypotheses of this module."""
    for name, text, rule, runtime in _RUNTIMES:
        yield Hypothesis(name, "state", text, rule, Changes(runtime=runtime))
    text = "a null or empty slice given to load_model drops the model"
    yield Hypothesis("slice-error-drops-model", "state", text, "ST-4", Changes(abi=_SliceErrorDropsModel))
