"""Hypotheses on the diagnostics document (section 9)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.limits import TOP_TOKENS
from refruntime.hypotheses.hypothesis import Changes, Hypothesis
from refruntime.model.kv_cache import scratch_bytes
from refruntime.runtime import Runtime
from refruntime.sampling import Choice
from refruntime.sampling.stages import Selection, select

Document = dict[str, Any]


class EditedDiagnostics(Runtime):
    """Change the document before it is shown; its keys are those of the contract while `edit` sees it."""

    def diagnostics(self) -> bytes:
        """Return the changed document."""
        document = self.profile.dialect.read(json.loads(super().diagnostics()))
        self.edit(document)
        return json.dumps(self.profile.dialect.write(document)).encode()

    def edit(self, document: Document) -> None:
        """Change one value."""


def shown_tokens(selection: Selection) -> list[list[int | float | None]]:
    """Return [id, logit] pairs as the document shows them: null for a logit that is not finite."""
    pairs = zip(selection.ids.tolist(), selection.logits.tolist(), strict=True)
    return [[token, logit if math.isfinite(logit) else None] for token, logit in pairs]


class _LabelKept(EditedDiagnostics):
    label = "none"

    def free_model(self) -> None:
        self.label = self.label if self.model is None else self.model.quantization
        super().free_model()

    def edit(self, document: Document) -> None:
        if self.model is None:
            document["quantization"] = self.label


class _LengthOfPrompt(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        document["kv_length"] = len(self.context.prompt_ids)


class _LengthWithoutPrompt(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        document["kv_length"] -= len(self.context.prompt_ids)


class _EosCounted(EditedDiagnostics):
    counted = False

    def _generate(self, prompt_ids: Callable[[], list[int]], max_new_tokens: int) -> None:
        super()._generate(prompt_ids, max_new_tokens)
        choice = self.context.choice
        self.counted = choice is not None and choice.token in self.resident().tokenizer.stop_ids

    def edit(self, document: Document) -> None:
        if self.counted and self.context.prompt_ids:
            document["generated_tokens"] += 1


class _MeanInDouble(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        logits = self.context.sampled_logits
        if logits is not None:
            mean = float(np.float32(np.add.accumulate(logits.astype(np.float64))[-1] / logits.size))
            document["logits_summary"]["mean"] = mean if np.isfinite(mean) else None


class _ScratchWithoutContext(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        if self.model is not None:
            hyperparameters = self.model.hyperparameters
            document["peak_scratch_bytes"] = scratch_bytes(hyperparameters) - 4 * hyperparameters.max_context


class _PreviousTopTokens(EditedDiagnostics):
    """Show the top tokens of the sampling step before the last one, if there was one since the context began."""

    shown: NDArray[np.float32] | None = None
    latest: NDArray[np.float32] | None = None

    def _sample(self, generator_state: int) -> Choice:
        begins = self.context.sampled_logits is None
        choice = super()._sample(generator_state)
        self.shown = self.context.sampled_logits if begins else self.earlier()
        self.latest = self.context.sampled_logits
        return choice

    def earlier(self) -> NDArray[np.float32] | None:
        return self.latest

    def edit(self, document: Document) -> None:
        if self.context.sampled_logits is not None and self.shown is not None:
            document["top_tokens"] = shown_tokens(select(self.shown, TOP_TOKENS, self.profile))


class _FirstTopTokens(_PreviousTopTokens):
    def earlier(self) -> NDArray[np.float32] | None:
        return self.shown


class _TopTokensByTopK(EditedDiagnostics):
    def edit(self, document: Document) -> None:
        document["top_tokens"] = document["top_tokens"][: self.sampling.top_k]


_RUNTIMES: Final[tuple[tuple[str, str, str, type[Runtime]], ...]] = (
    ("label-kept", "after free_model the diagnostics still show the old label", "ST-6", _LabelKept),
    ("length-of-prompt", "kv_length counts the prompt only", "DG-8", _LengthOfPrompt),
    ("length-without-prompt", "kv_length leaves the prompt out", "DG-8", _LengthWithoutPrompt),
    ("eos-counted", "generated_tokens counts the EOS that stopped generate", "DG-8", _EosCounted),
    ("top-tokens-previous", "top_tokens belong to the sampling step before the last one", "DG-4", _PreviousTopTokens),
    ("top-tokens-first", "top_tokens stay those of the first sampling step of a context", "DG-4", _FirstTopTokens),
    ("top-tokens-by-top-k", "top_tokens are no more than top_k", "DG-4", _TopTokensByTopK),
    ("mean-float64", "the mean of the logits is summed in float64", "DG-7", _MeanInDouble),
    ("scratch-without-context", "peak_scratch_bytes leaves max_context out", "DG-5", _ScratchWithoutContext),
)


def diagnostics_hypotheses() -> Iterator[Hypothesis]:
    """Yield the hypotheses of this module."""
    for name, text, rule, runtime in _RUNTIMES:
        yield Hypothesis(name, "diagnostics", text, rule, Changes(runtime=runtime))
