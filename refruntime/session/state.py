"""What a session is made of: the model that it is about, and everything that decides what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from refruntime.api import prompt_bytes
from refruntime.cases.steps import Configure, Generate, Load, Step
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError
from refruntime.runtime import Generator, Machine, Owner, Resident, Taken
from refruntime.sampling import SamplingConfig
from refruntime.session.prefix_cache import PrefixCache
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.utf8 import checked_prompt


class SessionError(ValueError):
    """The word cannot be obeyed in this state; the message says why, and what would help."""


@dataclass(frozen=True)
class SessionState:
    """Everything that decides what comes next: the machine, and the way that led to it.

    `taken` are the tokens sampled since the prompt. `before_prompt` is the machine before a prompt from which no token
    was sampled yet: such a prompt is no call, so that what follows can replace it. `script` are the calls of a host
    that lead here; where no calls can, `unspeakable` says what no export does, and the script is that of the moment
    before. `chain` are the draws of another runtime, None where the contract's sampler draws.
    """

    machine: Machine
    taken: tuple[Taken, ...] = ()
    before_prompt: Machine | None = None
    script: tuple[Step, ...] = ()
    unspeakable: str = ""
    said: Any = None
    chain: Any = None

    @property
    def settled(self) -> Machine:
        """Return the machine without a prompt from which no token was sampled yet."""
        return self.machine if self.before_prompt is None else self.before_prompt

    @property
    def sampling(self) -> SamplingConfig:
        """Return the sampling configuration."""
        return self.machine.sampling

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """Return the ids of the prompt."""
        return self.machine.prompt_ids

    @property
    def owner(self) -> Owner:
        """Say whose generator draws next."""
        return self.machine.owner

    @property
    def generate_generator(self) -> Generator | None:
        """Return the generator of the last `generate`, None before a prompt."""
        return self.machine.call_generator

    @property
    def runtime_generator(self) -> Generator:
        """Return the generator that the runtime owns, which a prompt leaves alone before its first token (PR-4)."""
        return self.settled.generator


@dataclass(frozen=True)
class Subject:
    """What a session is about: the model, ready to be forwarded, and the contract profile of the sampler."""

    prefix_cache: PrefixCache
    tokenizer: Tokenizer
    profile: Profile
    name: str = "model"
    artifact: Any = None

    @property
    def resident(self) -> Resident:
        """Return what a machine has to know of the model."""
        return Resident(self.tokenizer, self.prefix_cache.capacity)

    def loaded(self) -> SessionState:
        """Return the state of a fresh runtime into which a host loaded the model."""
        return SessionState(Machine.fresh(self.profile).load(self.resident), script=(Load(self.name),))


def waits(state: SessionState) -> bool:
    """Say whether the last of the calls is a prompt from which no token was sampled yet, which no export can call."""
    last = state.script[-1] if state.script else None
    return state.before_prompt is not None and isinstance(last, Generate) and last.max_new_tokens == 0


def called(state: SessionState) -> tuple[Step, ...]:
    """Return the calls without a prompt that waits for its first token."""
    return state.script[:-1] if waits(state) else state.script


def anew(subject: Subject, machine: Machine) -> tuple[Step, ...]:
    """Return the calls that bring a fresh runtime to where a next prompt finds this one; none if no calls do.

    A new generation owes nothing to the one before but the configuration and the runtime-owned generator.
    """
    fresh, calls = subject.loaded().machine, (Load(subject.name),)
    changed = machine.sampling != fresh.sampling
    if changed:
        fresh = fresh.configure(machine.sampling)
    if subject.artifact is None or machine.generator != fresh.generator:
        return ()
    return (*calls, configured(machine.sampling)) if changed else calls


def configured(sampling: SamplingConfig) -> Configure:
    """Return the call that sets a configuration, with the shortest decimals that a host rounds to its float32."""
    return Configure(float(str(sampling.temperature)), sampling.top_k, float(str(sampling.top_p)), sampling.seed)


def refusal(machine: Machine) -> str:
    """Say why a call that ends here fails with its text, which clears the context; empty if it does not.

    GEN-9, GEN-10, ST-7, NT-7.
    """
    try:
        machine.finish()
    except ContractError as error:
        failure = f"({error.status.name}, {error.rule})"
        if machine.owner == "generate":
            return f"`generate` fails with the text so far and clears the context {failure}"
        return f"`generate_next_token` fails with token {machine.last.token} and clears the context {failure}"
    return ""


def special_ids(tokenizer: Tokenizer, raw: bytes) -> list[int]:
    """Encode a prompt in which the texts of control tokens are these tokens; one terminal EOS is removed (GEN-2).

    SessionError for a vocabulary without such tokens; statuses 2, 3, 13.
    """
    if not isinstance(tokenizer, SpmTokenizer | BpeTokenizer):
        raise SessionError(f"the {tokenizer.kind} vocabulary has no control tokens that a text could spell")
    ids = tokenizer.encode(checked_prompt(prompt_bytes(raw)), parse_special=True)
    return ids[:-1] if tokenizer.adds_eos else ids


def tokens_of(tokenizer: Tokenizer, wanted: bytes) -> Sequence[int]:
    """Return every id whose bytes are exactly `wanted`."""
    return [token for token in range(tokenizer.vocab_size) if tokenizer.decode([token]) == wanted]
