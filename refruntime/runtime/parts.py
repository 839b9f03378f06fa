"""What a machine is made of: the published states, the resident model, one sampled token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.errors import ContextExceeded, ContractError, GenerationFailed, InvalidLength
from refruntime.runtime.generator import Generator
from refruntime.sampling import Choice, SamplingConfig, Stages
from refruntime.tokenizers.base import Tokenizer

Owner = Literal["generate", "runtime"]
"""Whose generator draws: that of one `generate`, or the one that the runtime owns."""

Sampler = Callable[[NDArray[np.float32], SamplingConfig, int, Profile, Stages], Choice]


class State(Enum):
    """The states of the published state machine (contract section 4)."""

    UNINITIALIZED = "uninitialized"
    INITIALIZED = "initialized"
    READY = "ready"
    CONTINUATION_READY = "continuation ready"
    RECOVERABLE_ERROR = "recoverable error"
    FREED = "freed"


class Resident(NamedTuple):
    """What the machine has to know of the model that is resident; `capacity` in positions."""

    tokenizer: Tokenizer
    capacity: int
    quantization: str = "none"
    scratch_bytes: int = 0


@dataclass(frozen=True)
class Taken:
    """One sampled token: what the sampler chose, from which logits [V], under which configuration, and what was taken.

    `generator` is the one before the step. `choice.token` is the sampler's; `token` differs from it only where a person
    forced another one.
    """

    token: int
    choice: Choice
    logits: NDArray[np.float32]
    sampling: SamplingConfig
    generator: Generator
    owner: Owner
    position: int
    forced: bool = False


CONTINUATION_FAILURES: Final[dict[str, type[ContractError]]] = {
    "13": GenerationFailed,
    "2": InvalidLength,
    "11": ContextExceeded,
}
"""What a continuation without a context gives, by the option of NT-2."""
