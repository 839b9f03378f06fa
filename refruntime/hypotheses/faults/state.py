"""Hypotheses on the state machine (sections 2 to 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Self

import numpy as np

from refruntime.errors import ContextExceeded, InvalidLength
from refruntime.exports import ExportedABI
from refruntime.host_numbers import Number, to_u32
from refruntime.hypotheses.faults.topic import Topic, as_abi, as_machine, as_runtime
from refruntime.model.load import Buffer, validate_model
from refruntime.runtime import Machine, Resident, Runtime
from refruntime.sampling import SamplingConfig

FAULTS: Final = Topic("state")


# Transactions --------------------------------------------------------------------------------------------------------


@FAULTS.fault("reset-keeps-length", "reset_context leaves the visible KV length as it was", "ST-5", as_machine)
class _ResetKeepsLength(Machine):
    def reset(self) -> Self:
        return replace(super().reset(), kv_length=self.kv_length)


@FAULTS.fault("reset-does-nothing", "reset_context does nothing", "ST-5", as_machine)
class _ResetDoesNothing(Machine):
    def reset(self) -> Self:
        return self


@FAULTS.fault(
    "reset-restores-sampling", "reset_context restores the default sampling configuration", "ST-5", as_machine
)
class _ResetRestoresSampling(Machine):
    def reset(self) -> Self:
        return replace(super().reset(), sampling=SamplingConfig())


@FAULTS.fault("free-restores-sampling", "free_model restores the default sampling configuration", "ST-6", as_machine)
class _FreeRestoresSampling(Machine):
    def free(self) -> Self:
        return replace(super().free(), sampling=SamplingConfig())


@FAULTS.fault("load-restores-sampling", "load_model restores the default sampling configuration", "ST-3", as_machine)
class _LoadRestoresSampling(Machine):
    def load(self, model: Resident) -> Self:
        return replace(super().load(model), sampling=SamplingConfig())


@FAULTS.fault("failed-load-keeps-model", "a failed load leaves the resident model in place", "ST-4", as_runtime)
class _FailedLoadKeepsModel(Runtime):
    def load_model(self, data: Buffer) -> None:
        validate_model(data, self.profile)  # a failure leaves all as it was, the logits for a next token too
        super().load_model(data)


@FAULTS.fault("context-kept", "generate continues behind the tokens of the call before", "GEN-2", as_machine)
class _ContextKept(Machine):
    """`generate` goes on behind the tokens of the call before."""

    def accept(self, max_new_tokens: int) -> Self:
        kept, accepted = self.generated_ids, super().accept(max_new_tokens)
        return replace(accepted, generated_ids=kept, kv_length=self.kv_length, wanted=len(kept) + max_new_tokens)

    def checked(self, ids: Sequence[int]) -> list[int]:
        if self.kv_length + len(ids) > self.model.capacity:
            raise ContextExceeded("the prompt does not fit behind the context", rule="GEN-3")
        return super().checked(ids)


@FAULTS.fault("failure-keeps-state", "a failed generation leaves tokens, KV length and diagnostics", "ST-7", as_machine)
class _FailureKeepsState(Machine):
    def discard(self) -> Self:
        return self


@FAULTS.fault("count-first", "max_new_tokens is checked before the model", "GEN-1", as_machine)
class _CountFirst(Machine):
    def accept(self, max_new_tokens: int) -> Self:
        if max_new_tokens < 1:
            raise InvalidLength("max_new_tokens is zero", rule="GEN-1")
        return super().accept(max_new_tokens)


@FAULTS.fault("prompt-may-fill", "a prompt of exactly the capacity is accepted", "GEN-3", as_machine)
class _PromptMayFill(Machine):
    def checked(self, ids: Sequence[int]) -> list[int]:
        return list(ids) if len(ids) == self.model.capacity else super().checked(ids)


@FAULTS.fault("prompt-one-shorter", "a prompt of one less than the capacity is refused", "GEN-3", as_machine)
class _PromptOneShorter(Machine):
    def checked(self, ids: Sequence[int]) -> list[int]:
        super().checked([*ids, 0] if ids else ids)
        return list(ids)


@FAULTS.fault("ends-early", "generation stops one token before the capacity", "GEN-6", as_machine)
class _EndsEarly(Machine):
    @property
    def full_length(self) -> int:
        return super().full_length - 1


@FAULTS.fault("eos-kept", "the terminal EOS of the encoded prompt is forwarded too", "GEN-2", as_machine)
class _EosKept(Machine):
    def encode(self, text: bytes) -> list[int]:
        return self.checked(self.model.tokenizer.encode(text))


@FAULTS.fault("eos-appended", "a sampled EOS is appended and forwarded", "GEN-5", as_machine)
class _EosAppended(Machine):
    def finish(self) -> Self:
        finished = super().finish()
        stopped = self.owner == "generate" and self.taken is not None and self.taken.token in self.stop_ids
        return finished.append(self.taken.token) if stopped and self.taken is not None else finished


@FAULTS.fault("eos-ignored", "generate_next_token appends a sampled EOS like any token", "NT-5", as_machine)
class _ContinuesBeyondEos(Machine):
    @property
    def stop_ids(self) -> frozenset[int]:
        return frozenset() if self.owner == "runtime" else super().stop_ids


@FAULTS.fault("prompt-echoed", "the result text begins with the prompt", "GEN-8", as_machine)
class _PromptEchoed(Machine):
    def answered_ids(self) -> Sequence[int]:
        echoed = self.prompt_ids if self.owner == "generate" else ()
        return (*echoed, *super().answered_ids())


@FAULTS.fault("bad-config-applied", "a rejected sampling configuration is applied", "SC-2", as_runtime)
class _BadConfigApplied(Runtime):
    def set_sampling_config(self, temperature: float, top_k: int, top_p: float, seed: int) -> None:
        with np.errstate(over="ignore"):
            bad = SamplingConfig(np.float32(temperature), top_k, np.float32(top_p), seed)
        self.machine = replace(self.machine, sampling=bad)
        super().set_sampling_config(temperature, top_k, top_p, seed)


@FAULTS.fault("error-kept", "a successful call leaves last_error", "ERR-5", as_machine)
class _ErrorKept(Machine):
    def succeed(self) -> Self:
        return self


@FAULTS.fault("slice-error-drops-model", "a null or empty slice given to load_model drops the model", "ST-4", as_abi)
class _SliceErrorDropsModel(ExportedABI):
    def load_model(self, pointer: Number, length: Number) -> int:
        if self.runtime is not None and not (to_u32(pointer) and to_u32(length)):
            before = self.runtime.machine
            self.runtime.free_model()
            self.runtime.machine = replace(
                self.runtime.machine, result=before.result, result_version=before.result_version
            )
        return super().load_model(pointer, length)
