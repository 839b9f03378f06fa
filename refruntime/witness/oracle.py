"""The oracle's side of a generation: tokens, and for each position the arrays that a build should hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from refruntime.api import Model, open_model
from refruntime.contract.profile import Profile
from refruntime.model.load import validate_model
from refruntime.numerics import Numerics
from refruntime.trace import ChoiceEvent, Event
from refruntime.witness.attended import other_operands
from refruntime.witness.expected import Expected, Float32, of_position
from refruntime.witness.kv_map import cached
from refruntime.witness.patterns import SCALES
from refruntime.witness.patterns import WEIGHTS as OF_NORM

WEIGHTS: Final = "sampler.weights"
CHOICE: Final = "sampler.choice"


@dataclass(frozen=True)
class Sampling:
    """A sampling configuration (SC-2); greedy by default."""

    temperature: float = 0.0
    top_k: int = 1
    top_p: float = 1.0
    seed: int = 1


class OracleRun:
    """One generation of the oracle: `ids` are the tokens that are forwarded, `prompt_length` of them the prompt's.

    `generate` makes the first `in_generate` of the `generated` tokens; `continuations` are the results of so many calls
    of `generate_next_token` behind it. A failure before the first token is raised: ContractError with its status.
    Numbers of a generation whose text is refused (GEN-9, GEN-10) are as good as any.
    """

    def __init__(
        self,
        artifact: bytes,
        prompt: bytes,
        new_tokens: int,
        sampling: Sampling,
        profile: Profile,
        numerics: str | Numerics,
        continued: int = 0,
    ) -> None:
        self.artifact = artifact
        self.model: Model = open_model(artifact, profile, numerics)
        self.tokenizer = self.model.tokenizer
        listener = _Choices(self.tokenizer.stop_ids)
        generation = self.model.generate(
            prompt,
            new_tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            seed=sampling.seed,
            continuations=continued,
            tracer=listener,
        )
        if generation.error is not None and not generation.generated_ids:
            raise generation.error
        self.choices, self.generated = listener.choices, generation.generated_ids
        self.result = generation.result_bytes
        self.continuations = [call.result_bytes for call in generation.continuations]
        counts = [len(call.generated_ids) for call in generation.continuations]
        self.in_generate = len(self.generated) - sum(counts)
        self.after = [self.in_generate + sum(counts[: index + 1]) for index in range(len(counts))]
        """How many tokens had been generated behind each continuation."""
        self.prompt_length = len(generation.prompt_ids)
        self.ids = [*generation.prompt_ids, *generation.generated_ids][: self.model.hyperparameters.max_context]

    def cache(self) -> tuple[Float32, Float32]:
        """Return keys and values of all positions: [L, P, K, D] each."""
        cache = self.model.transformer.new_cache()
        self.model.transformer.forward(self.ids, cache)
        return cached(cache, len(self.ids))

    def expected(self, position: int) -> list[Expected]:
        """Return what is computed at a position, with what the sampler makes of its logits."""
        result = of_position(self.model.transformer, self.ids, position)
        choice = self.choice(position)
        behind = position - self.prompt_length + 1 < self.in_generate or not self.continuations  # else in the next call
        if choice is not None and choice.weighing is not None and behind:
            weights = np.ascontiguousarray(choice.weighing.weights, np.float32).reshape(1, -1)
            result.append(Expected(WEIGHTS, weights, ("logits",), optional=True))
        return result

    def other_token(self, result: bytes | None, continuations: Sequence[bytes] = ()) -> int | None:
        """Return the position of the first generated token that other result texts belie, None if none is.

        `result` is None where `generate` failed, so that nothing is known of its tokens.
        """
        if result is not None and result != self.result:
            for count in range(self.in_generate):
                if not result.startswith(self.tokenizer.decode(self.generated[: count + 1])):
                    return self.prompt_length + count
            return self.prompt_length + self.in_generate
        before = self.in_generate
        for mine, other, after in zip(self.continuations, continuations, self.after, strict=False):
            if mine != other:
                return self.prompt_length + before
            before = after
        return None

    def continuation(self, position: int) -> int | None:
        """Return the number of the continuation that forwards a position, None for `generate`."""
        count = position - self.prompt_length + 1
        if count <= self.in_generate:
            return None
        return next((index for index, after in enumerate(self.after) if after >= count), None)

    def choice(self, position: int) -> Any:
        """Return what was sampled from the logits of a position, None if nothing was."""
        return self.choices.get(position - self.prompt_length + 1)

    def known(self, position: int) -> dict[str, Float32]:
        """Return what may stand in the place of an array, or be applied to it.

        Those are the arrays of the two positions before and of the first one, norms, scales of quantised rows, and what
        attention makes of other keys and values.
        """
        known: dict[str, Float32] = {}
        for earlier in dict.fromkeys((position - 1, position - 2, 0)):
            if 0 <= earlier < position:
                items = of_position(self.model.transformer, self.ids, earlier)
                known |= {f"what {item.name} was at position {earlier}": item.values for item in items}
        weights = self.model.transformer.weights.model
        norms: dict[str, Any] = {"output_norm": weights.output_norm}
        for index, layer in enumerate(weights.layers):
            norms |= {f"blk.{index}.{name}": getattr(layer, name, None) for name in ("attn_norm", "ffn_norm")}
        for name, norm in norms.items():
            if norm is not None and norm.weight is not None:
                known[f"{OF_NORM}{name}"] = np.asarray(norm.weight, np.float32)
        return known | self._scales() | other_operands(self.model.transformer, self.ids, position)

    def _scales(self) -> dict[str, Float32]:
        """Return the scales of matrices whose rows have one each: [out]."""
        tensors = validate_model(self.artifact, self.model.profile).tensors
        quantized = {name.removesuffix(".weight"): tensor.quantized() for name, tensor in tensors.items()}
        return {
            f"{SCALES}{name}": rows.scales[:, 0]
            for name, rows in quantized.items()
            if rows is not None and rows.scales.shape[1] == 1
        }

    def embedding(self) -> Float32:
        """Return the rows of all tokens: [V, H]."""
        transformer = self.model.transformer
        rows = range(self.model.hyperparameters.vocab_size)
        return np.asarray(transformer.numerics.matrix_rows(transformer.weights.model.embedding, rows), np.float32)


class _Choices:
    """Remember the first choice behind so many generated tokens."""

    def __init__(self, stop_ids: frozenset[int]) -> None:
        self.choices: dict[int, Any] = {}
        self._generated = 0
        self._stop_ids = stop_ids

    def event(self, event: Event) -> None:
        if isinstance(event, ChoiceEvent):
            self.choices.setdefault(self._generated, event.choice)
            self._generated += event.choice.token not in self._stop_ids
