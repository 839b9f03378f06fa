"""What a session is made of: the model that it is about, and everything that decides what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from refruntime.cases.steps import Configure, Generate, Load, Step
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError, InvalidLength
from refruntime.runtime import DEFAULT_GENERATOR_SEED, prompt_ids
from refruntime.sampling import Choice, SamplingConfig
from refruntime.session.generator import Generator
from refruntime.session.prefix_cache import Float32, Workbench
from refruntime.tokenizers.base import Tokenizer
from refruntime.utf8 import checked_prompt, result_text

Owner = Literal["generate", "runtime"]
"""Whose generator draws: that of one `generate`, or the one that the runtime owns."""


class SessionError(ValueError):
    """The word cannot be obeyed in this state; the message says why, and what would help."""


@dataclass(frozen=True)
class Taken:
    """One sampled token: what the sampler chose, from which logits [V], under which configuration, and what was taken.

    `choice.token` is the sampler's; `token` differs from it only where a person forced another one.
    """

    token: int
    choice: Choice
    logits: Float32
    sampling: SamplingConfig
    generator: Generator
    owner: Owner
    position: int
    forced: bool = False


@dataclass(frozen=True)
class State:
    """Everything that decides what comes next.

    `script` are the calls of a host that lead here; where no calls can, `unspeakable` says what no export does, and the
    script is that of the moment before.
    """

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    prompt_ids: tuple[int, ...] = ()
    taken: tuple[Taken, ...] = ()
    owner: Owner = "generate"
    generate_generator: Generator | None = None
    runtime_generator: Generator | None = None
    script: tuple[Step, ...] = ()
    unspeakable: str = ""


@dataclass(frozen=True)
class Subject:
    """What a session is about: the model, ready to be forwarded, and the contract profile of the sampler."""

    bench: Workbench
    tokenizer: Tokenizer
    profile: Profile
    name: str = "model"
    artifact: Any = None


def generated_ids(subject: Subject, state: State) -> tuple[int, ...]:
    """Return the taken ids without stop tokens."""
    stops = subject.tokenizer.stop_ids
    return tuple(taken.token for taken in state.taken if taken.token not in stops)


def finished(subject: Subject, state: State, owner: Owner) -> str:
    """Say why `owner` can sample no token now (GEN-5, GEN-6, NT-3), empty if it can."""
    if len(state.prompt_ids) + len(generated_ids(subject, state)) >= subject.bench.capacity:
        return f"the context of {subject.bench.capacity} positions is full (GEN-6, NT-3)"
    if owner == "generate" and state.taken and state.taken[-1].token in subject.tokenizer.stop_ids:
        return "the generation ended with a stop token (GEN-5)"
    return ""


def waits(state: State) -> bool:
    """Say whether the last of the calls is a prompt from which no token was sampled yet, which no export can call."""
    last = state.script[-1] if state.script else None
    return bool(state.prompt_ids) and not state.taken and isinstance(last, Generate) and last.max_new_tokens == 0


def called(state: State) -> tuple[Step, ...]:
    """Return the calls without a prompt that waits for its first token."""
    return state.script[:-1] if waits(state) else state.script


def begins_call(subject: Subject, state: State, owner: Owner) -> bool:
    """Say whether the next token is the first of a `generate` that reseeds the runtime-owned generator (PR-4)."""
    return owner == "generate" and not state.taken and subject.profile.generator_on_generate == "reseeded"


def anew(subject: Subject, state: State) -> tuple[Step, ...]:
    """Return the calls that bring a fresh runtime to where a next prompt finds this one; none if no calls do.

    A new generation owes nothing to the one before but the configuration and the runtime-owned generator.
    """
    sampling, profile = state.sampling, subject.profile
    changed = sampling != SamplingConfig()
    reseeded = changed and profile.sampling_config_reseeds == "yes"
    if subject.artifact is None or state.runtime_generator != Generator.fresh(
        sampling.seed if reseeded else DEFAULT_GENERATOR_SEED, profile
    ):
        return ()
    load = Load(subject.name)
    return (load, configured(sampling)) if changed else (load,)


def configured(sampling: SamplingConfig) -> Configure:
    """Return the call that sets a configuration, with the shortest decimals that a host rounds to its float32."""
    return Configure(float(str(sampling.temperature)), sampling.top_k, float(str(sampling.top_p)), sampling.seed)


def unspeakable_text(subject: Subject, state: State) -> str:
    """Say why the text of a generation makes `generate` fail, which clears the context (GEN-9, GEN-10, ST-7)."""
    text = subject.tokenizer.decode(generated_ids(subject, state))
    failure = _refused(text, subject.profile)
    return f"`generate` fails with the text so far and clears the context ({failure})" if failure else ""


def unspeakable_token(subject: Subject, taken: tuple[Taken, ...]) -> str:
    """Say why the last token makes `generate_next_token` fail, which clears the context (NT-6, NT-7)."""
    if taken[-1].token in subject.tokenizer.stop_ids:
        return ""
    ids = [taken[-1].token]
    if subject.profile.continuation_result == "all generated text":
        ids = [each.token for each in taken if each.token not in subject.tokenizer.stop_ids]
    failure = _refused(subject.tokenizer.decode(ids), subject.profile)
    return (
        f"`generate_next_token` fails with token {taken[-1].token} and clears the context ({failure})"
        if failure
        else ""
    )


def _refused(text: bytes, profile: Profile) -> str:
    try:
        result_text(text, profile)
    except ContractError as error:
        return f"{error.status.name}, {error.rule}"
    return ""


def encode_prompt(subject: Subject, raw: bytes) -> list[int]:
    """Encode a prompt as `generate` does: one terminal EOS is removed (GEN-2). Statuses 2, 3, 13."""
    if not raw:
        raise InvalidLength("the prompt is empty", rule="ERR-1", field="prompt", expected="at least 1 byte", found=0)
    return prompt_ids(subject.tokenizer, checked_prompt(raw))


def tokens_of(tokenizer: Tokenizer, wanted: bytes) -> Sequence[int]:
    """Return every id whose bytes are exactly `wanted`."""
    return [token for token in range(tokenizer.vocab_size) if tokenizer.decode([token]) == wanted]
