"""What a session is made of: the model that it is about, and everything that decides what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from refruntime.cases.steps import Generate, Step
from refruntime.contract.profile import Profile
from refruntime.repl.generator import Generator
from refruntime.repl.workbench import Float32, Workbench
from refruntime.sampling import Choice, SamplingConfig
from refruntime.tokenizers.base import Tokenizer
from refruntime.utf8 import checked_prompt

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
    """Everything that decides what comes next. `script` are the calls of a host that lead here, if calls can."""

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


def called(script: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return a script without a last prompt from which no token was sampled: no call of an export does that."""
    last = script[-1] if script else None
    return script[:-1] if isinstance(last, Generate) and last.max_new_tokens == 0 else script


def encode_prompt(subject: Subject, raw: bytes) -> list[int]:
    """Encode a prompt as `generate` does: one terminal EOS is removed (GEN-2)."""
    ids = subject.tokenizer.encode(checked_prompt(raw))
    return ids[:-1] if ids and ids[-1] == subject.tokenizer.eos_id else ids


def tokens_of(tokenizer: Tokenizer, wanted: bytes) -> Sequence[int]:
    """Return every id whose bytes are exactly `wanted`."""
    return [token for token in range(tokenizer.vocab_size) if tokenizer.decode([token]) == wanted]
