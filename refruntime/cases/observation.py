"""What one step showed, as a sum type: each kind of observation is a class with the fields that this kind has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from refruntime.cases.steps import Step
from refruntime.contract.status import Status

Diagnostics = Mapping[str, Any]


@dataclass(frozen=True)
class StatusAnswer:
    """A status, with the result and the diagnostics that were read after it; each is None where none could be read.

    The keys of `diagnostics` are those of the contract.
    """

    step: Step
    code: int
    result: bytes | None = None
    diagnostics: Diagnostics | None = None


@dataclass(frozen=True)
class ValueAnswer:
    """Any other result: what is defined of it (see `Export.value_is`)."""

    step: Step
    value: int


@dataclass(frozen=True)
class NoAnswer:
    """Nothing to show: an export without a result, or a write."""

    step: Step


@dataclass(frozen=True)
class Trapped:
    """The call trapped; no runtime answers behind it (MEM-6)."""

    step: Step
    detail: str = ""


@dataclass(frozen=True)
class LimitReached:
    """A limit of time, work or memory stopped the call."""

    step: Step
    detail: str


@dataclass(frozen=True)
class OutsideMemory:
    """What the call named lies outside of the memory."""

    step: Step
    detail: str


@dataclass(frozen=True)
class EngineFailed:
    """The engine could not make the call, or could not be made."""

    step: Step
    detail: str


Ended = LimitReached | OutsideMemory | EngineFailed
"""Nothing after such a step can be compared with an engine that went on."""

Broken = Trapped | Ended
"""What went wrong is told in `detail`."""

Observation = StatusAnswer | ValueAnswer | NoAnswer | Broken


def kind_of(observation: Observation) -> str:
    """Return the word that documents and reports have for the kind of an observation."""
    match observation:
        case StatusAnswer():
            return "status"
        case ValueAnswer():
            return "value"
        case NoAnswer():
            return "none"
        case Trapped():
            return "trap"
        case LimitReached():
            return "limit"
        case OutsideMemory():
            return "fault"
        case EngineFailed():
            return "error"
        case _:
            assert_never(observation)


def code_of(observation: Observation) -> int | None:
    """Return the code of a status, None of any other observation."""
    return observation.code if isinstance(observation, StatusAnswer) else None


def result_of(observation: Observation) -> bytes | None:
    """Return the result that was read after a status; None where there is none."""
    return observation.result if isinstance(observation, StatusAnswer) else None


def diagnostics_of(observation: Observation) -> Diagnostics:
    """Return the diagnostics that a step showed; empty where there are none."""
    return (observation.diagnostics or {}) if isinstance(observation, StatusAnswer) else {}


def same_end(mine: Observation, theirs: Observation) -> bool:
    """Say whether two steps ended alike: the same kind, and the same status or value."""
    match mine, theirs:
        case StatusAnswer(), StatusAnswer():
            return mine.code == theirs.code
        case ValueAnswer(), ValueAnswer():
            return mine.value == theirs.value
    return type(mine) is type(theirs)


def is_failure(observation: Observation) -> bool:
    """Say whether a step failed: a status other than Ok, a trap, a fault, an error, a limit."""
    match observation:
        case StatusAnswer():
            return observation.code != Status.Ok
        case ValueAnswer() | NoAnswer():
            return False
    return True
