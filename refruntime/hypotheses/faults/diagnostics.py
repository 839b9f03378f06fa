"""Hypotheses on the diagnostics document (section 9)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np

from refruntime.contract.limits import TOP_TOKENS
from refruntime.hypotheses.faults.topic import Topic, as_machine
from refruntime.runtime import Machine
from refruntime.sampling.stages import Float32, Selection, select

FAULTS: Final = Topic("diagnostics")


Document = dict[str, Any]


@dataclass(frozen=True, eq=False)
class EditedDiagnostics(Machine):
    """Change the document before it is shown; its keys are those of the contract while `edit` sees it."""

    def diagnostics(self) -> bytes:
        """Return the changed document."""
        document = self.profile.dialect.read(json.loads(super().diagnostics()))
        self.edit(document)
        return json.dumps(self.profile.dialect.write(document)).encode()

    def edit(self, document: Document) -> None:
        """Change one value."""

    @property
    def sampled_logits(self) -> Float32 | None:
        """Return the logits that were sampled last: [V]."""
        return None if self.taken is None else self.taken.logits


def shown_tokens(selection: Selection) -> list[list[int | float | None]]:
    """Return [id, logit] pairs as the document shows them: null for a logit that is not finite."""
    pairs = zip(selection.ids.tolist(), selection.logits.tolist(), strict=True)
    return [[token, logit if math.isfinite(logit) else None] for token, logit in pairs]


@FAULTS.fault("label-kept", "after free_model the diagnostics still show the old label", "ST-6", as_machine)
@dataclass(frozen=True, eq=False)
class _LabelKept(EditedDiagnostics):
    label: str = "none"

    def free(self) -> Self:
        label = self.label if self.resident is None else self.resident.quantization
        return replace(super().free(), label=label)

    def edit(self, document: Document) -> None:
        if self.resident is None:
            document["quantization"] = self.label


@FAULTS.fault("length-of-prompt", "kv_length counts the prompt only", "DG-8", as_machine)
class _LengthOfPrompt(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        document["kv_length"] = len(self.prompt_ids)


@FAULTS.fault("length-without-prompt", "kv_length leaves the prompt out", "DG-8", as_machine)
class _LengthWithoutPrompt(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        document["kv_length"] -= len(self.prompt_ids)


@FAULTS.fault("eos-counted", "generated_tokens counts the EOS that stopped generate", "DG-8", as_machine)
@dataclass(frozen=True, eq=False)
class _EosCounted(EditedDiagnostics):
    counted: bool = False

    def finish(self) -> Self:
        if self.owner == "runtime":
            return super().finish()
        stopped = self.taken is not None and self.taken.token in self.stop_ids
        return replace(super().finish(), counted=stopped)

    def edit(self, document: Document) -> None:
        if self.counted and self.prompt_ids:
            document["generated_tokens"] += 1


@FAULTS.fault("top-tokens-previous", "top_tokens belong to the sampling step before the last one", "DG-4", as_machine)
@dataclass(frozen=True, eq=False)
class _PreviousTopTokens(EditedDiagnostics):
    """Show the top tokens of the sampling step before the last one, if there was one since the context began."""

    shown: Float32 | None = None
    latest: Float32 | None = None

    def take(self, logits: Float32, forced: int | None = None) -> Self:
        shown = logits if self.taken is None else self.earlier()
        return replace(super().take(logits, forced), shown=shown, latest=logits)

    def earlier(self) -> Float32 | None:
        return self.latest

    def edit(self, document: Document) -> None:
        if self.taken is not None and self.shown is not None:
            document["top_tokens"] = shown_tokens(select(self.shown, TOP_TOKENS, self.profile))


@FAULTS.fault("top-tokens-first", "top_tokens stay those of the first sampling step of a context", "DG-4", as_machine)
class _FirstTopTokens(_PreviousTopTokens):
    def earlier(self) -> Float32 | None:
        return self.shown


@FAULTS.fault("top-tokens-by-top-k", "top_tokens are no more than top_k", "DG-4", as_machine)
class _TopTokensByTopK(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        document["top_tokens"] = document["top_tokens"][: self.sampling.top_k]


@FAULTS.fault("mean-float64", "the mean of the logits is summed in float64", "DG-7", as_machine)
class _MeanInDouble(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        logits = self.sampled_logits
        if logits is not None:
            mean = float(np.float32(np.add.accumulate(logits.astype(np.float64))[-1] / logits.size))
            document["logits_summary"]["mean"] = mean if np.isfinite(mean) else None


@FAULTS.fault("scratch-without-context", "peak_scratch_bytes leaves max_context out", "DG-5", as_machine)
class _ScratchWithoutContext(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        if self.resident is not None:
            document["peak_scratch_bytes"] = self.resident.scratch_bytes - 4 * self.resident.capacity
