"""The Python API: open a model file or its bytes, tokenize, compute logits, generate, inspect.

Thin over `Runtime` and `Transformer`; for the 13 exports with pointers and memory use `ExportedABI`.

    model = open_model("stories.gguf")
    model.generate("Once upon a time", 32, temperature=0.8, top_k=40, seed=7).text
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any

from numpy.typing import NDArray

from refruntime.artifact import Artifact as Artifact
from refruntime.artifact import artifact_bytes as artifact_bytes
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.errors import ContextExceeded, ContractError, InvalidLength
from refruntime.inspection import Inspection, inspect_artifact
from refruntime.keywords import suggests
from refruntime.model.binding import binder
from refruntime.model.forward import Transformer
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.model.load import Buffer, read_tokenizer
from refruntime.numerics import Numerics, numerics_named
from refruntime.runtime import Runtime
from refruntime.tokenizers.base import Tokenizer
from refruntime.trace import ChoiceEvent, Event, TokensEvent, Tracer
from refruntime.utf8 import checked_prompt
from refruntime.utf8 import raw_bytes as raw_bytes

Prompt = str | bytes | Sequence[int]


@dataclass(frozen=True)
class Continuation:
    """What one `generate_next_token` behind a generation did: its result, its token unless that was a stop token."""

    result_bytes: bytes
    generated_ids: tuple[int, ...]


@dataclass(frozen=True)
class Generation:
    """What one generation did. A failure that the contract defines is a result here, not an exception.

    `status` and `error` say how it ended. `prompt_ids` are the ids that were prefilled and `generated_ids` those that
    were sampled without the stop token, also where the generation failed later. `result_bytes` is the result text of
    the export; if the text was refused (GEN-9, GEN-10), the bytes that were refused. `text` is None after a failure.
    `continuations` are the calls of `generate_next_token` behind it; their tokens are among the generated ones.
    """

    status: Status
    error: ContractError | None = field(compare=False)
    prompt_ids: tuple[int, ...]
    generated_ids: tuple[int, ...]
    result_bytes: bytes
    continuations: tuple[Continuation, ...] = ()

    @property
    def text(self) -> str | None:
        """Return the generated text, None after a failure."""
        return self.result_bytes.decode() if self.error is None else None


class Model:
    """An open model; made by `open_model`. Calls do not influence each other."""

    def __init__(self, data: Buffer, profile: Profile, numerics: Numerics, unknown_bytes: str = "refuse") -> None:
        self.profile = profile
        self._data = data
        self._runtime = Runtime(profile, numerics, bind=binder(unknown_bytes))
        self._runtime.load_model(data)
        self._loaded = self._runtime.resident()
        self.numerics = self._loaded.transformer.numerics

    def __repr__(self) -> str:
        """Say what the model is in one line."""
        sizes = self.hyperparameters
        return (
            f"<Model {sizes.architecture} {self.quantization}: {sizes.layer_count} layers of {sizes.hidden_size}, "
            f"{sizes.vocab_size} tokens, {sizes.max_context} positions, numerics {self.numerics.name}>"
        )

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Return the dimensions of the model."""
        return self._loaded.hyperparameters

    @property
    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the model."""
        return self._loaded.tokenizer

    @property
    def transformer(self) -> Transformer:
        """Return the weights in memory, ready to be forwarded with a KV cache of one's own."""
        return self._loaded.transformer

    @property
    def quantization(self) -> str:
        """Return the label that the diagnostics show (DG-6, GG-9)."""
        return self._loaded.quantization

    def tokenize(self, text: str | bytes, add_special: bool = True) -> list[int]:
        """Encode text; `add_special` adds BOS and EOS as the model says. Statuses: InvalidUtf8, GenerationFailed."""
        return self.tokenizer.encode(checked_prompt(raw_bytes(text)), add_special=add_special)

    def detokenize(self, ids: Iterable[int]) -> bytes:
        """Decode ids into bytes, not necessarily valid UTF-8 (SL-8, GG-6). ValueError for an id outside 0 .. V - 1."""
        return self.tokenizer.decode(self._checked_ids(ids))

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Return the ids that are prefilled: encoded text without one terminal EOS (GEN-2), or the ids as given.

        Statuses for text: InvalidUtf8, InvalidLength (empty), ContextExceeded, GenerationFailed.
        """
        if isinstance(prompt, str | bytes):
            return self._runtime.machine.encode(checked_prompt(prompt_bytes(prompt)))
        return self._checked_ids(prompt)

    def logits(self, prompt: Prompt, tracer: Tracer | None = None) -> NDArray[Any]:
        """Return the logits of every position [T, V]: float32 for seq32, float64 for f64.

        As `prompt_ids`; ids may fill the context to the last position. ContextExceeded beyond, InvalidLength for none.
        """
        ids = self.prompt_ids(prompt)
        transformer = self._loaded.transformer
        cache = transformer.new_cache()
        check_count(len(ids), cache.capacity, "GEN-3")
        return transformer.forward(ids, cache, first_logit=0, tracer=tracer)

    @suggests
    def generate(
        self,
        prompt: Prompt,
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_k: int = 1,
        top_p: float = 1.0,
        seed: int = 1,
        continuations: int = 0,
        tracer: Tracer | None = None,
    ) -> Generation:
        """Generate as the export `generate` does (GEN-1 .. GEN-11) after `set_sampling_config` (SC-1 .. SC-3).

        So many calls of `generate_next_token` follow (NT-1 .. NT-7). Earlier calls leave no trace. ValueError for a
        prompt id outside 0 .. V - 1; every contract failure is in the result: statuses 2, 3, 11, 13, 14.
        """
        runtime = self._runtime
        ids = None if isinstance(prompt, str | bytes) else self._checked_ids(prompt)
        record = _Record(self.tokenizer.stop_ids, tracer)
        runtime.tracer = record
        error: ContractError | None = None
        result, continued = None, []
        try:
            runtime.set_sampling_config(temperature, top_k, top_p, seed)
            if isinstance(prompt, str | bytes):
                runtime.generate(prompt_bytes(prompt), max_new_tokens)
            else:
                runtime.generate_from_ids(ids or [], max_new_tokens)
            result = runtime.result
            for _ in range(continuations):
                before = len(record.generated_ids)
                try:
                    runtime.generate_next_token()
                finally:
                    continued.append(Continuation(runtime.result, tuple(record.generated_ids[before:])))
        except ContractError as failure:
            error = failure
        finally:
            runtime.tracer = None
        return Generation(
            status=Status.Ok if error is None else error.status,
            error=error,
            prompt_ids=record.prompt_ids,
            generated_ids=tuple(record.generated_ids),
            result_bytes=self.tokenizer.decode(record.generated_ids) if result is None else result,
            continuations=tuple(continued),
        )

    def inspect(self) -> Inspection:
        """Describe the file: header, metadata, tensors, types, tokenizer."""
        return inspect_artifact(self._data, self.profile)

    def _checked_ids(self, ids: Iterable[int]) -> list[int]:
        return checked_ids(ids, self.hyperparameters.vocab_size)


@suggests
def open_model(
    path_or_bytes: Artifact,
    profile: Profile | None = None,
    numerics: str | Numerics = "seq32",
    unknown_bytes: str = "refuse",
) -> Model:
    """Open an SLM1 or GGUF model; a path is mapped, not read, and no transfer limit applies.

    `numerics` is `seq32` (the contract's float32, the default), `f64`, `fast` or `ggml32`; how weights are held depends
    on their number, unless `numerics_named` made the profile with a choice of its own. A byte of a text that the
    vocabulary lacks is refused (13), or left out with `unknown_bytes="drop"`. Failures: leaves of ContractError with
    the statuses 4 to 10; OSError for a path that cannot be read.
    """
    chosen = numerics_named(numerics) if isinstance(numerics, str) else numerics
    return Model(artifact_bytes(path_or_bytes), profile if profile is not None else Profile(), chosen, unknown_bytes)


def open_tokenizer(path_or_bytes: Artifact, profile: Profile | None = None) -> Tokenizer:
    """Open the tokenizer alone; a GGUF file needs no tensors for that. Failures as `open_model`."""
    return read_tokenizer(artifact_bytes(path_or_bytes), profile if profile is not None else Profile())


def checked_ids(ids: Iterable[int], vocab_size: int) -> list[int]:
    """Return the ids as a list of int; ValueError for one outside 0 .. V - 1, TypeError for no integer."""
    checked = [index(token) for token in ids]
    for token in checked:
        if not 0 <= token < vocab_size:
            raise ValueError(f"token id {token} is outside the vocabulary; expected 0 .. {vocab_size - 1}")
    return checked


def check_count(count: int, capacity: int, rule: str) -> None:
    """Refuse ids that are none (InvalidLength) or more than there are positions (ContextExceeded)."""
    if not count:
        raise InvalidLength("there are no tokens", rule=rule, field="ids", expected="at least 1", found=0)
    if count > capacity:
        raise ContextExceeded(
            "there are more tokens than positions", rule=rule, field="ids", expected=f"at most {capacity}", found=count
        )


def prompt_bytes(prompt: str | bytes) -> bytes:
    """Return the bytes of a prompt as the export takes them: not empty (ERR-1)."""
    raw = raw_bytes(prompt)
    if not raw:
        raise InvalidLength("the prompt is empty", rule="ERR-1", field="prompt", expected="at least 1 byte", found=0)
    return raw


class _Record:
    """Remember which ids went in and came out, so that a failed generation can tell them; pass events on."""

    def __init__(self, stop_ids: frozenset[int], listener: Tracer | None) -> None:
        self.prompt_ids: tuple[int, ...] = ()
        self.generated_ids: list[int] = []
        self._stop_ids = stop_ids
        self._listener = listener

    def event(self, event: Event) -> None:
        if isinstance(event, TokensEvent) and event.name == "prompt":
            self.prompt_ids = event.ids
        elif isinstance(event, ChoiceEvent) and event.choice.token not in self._stop_ids:
            self.generated_ids.append(event.choice.token)
        if self._listener is not None:
            self._listener.event(event)
