"""Run a case on an engine and write down what it answered, step by step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from refruntime.cases.observation import (
    Diagnostics,
    EngineFailed,
    LimitReached,
    NoAnswer,
    Observation,
    OutsideMemory,
    StatusAnswer,
    Trapped,
    ValueAnswer,
)
from refruntime.cases.steps import Argument, Configure, Generate, Load, Step, Write, split_place
from refruntime.client import Client
from refruntime.contract.dialect import Dialect
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.contract.profile import Profile
from refruntime.engines.base import EngineError, EngineLimit, EngineTrap, MemoryFault

MAX_DIGITS = 400
"""Digits of an integer in a document of a build; doubles end long before."""

REMEMBERED: Final = 128
REMEMBERED_BYTES: Final = 2**12
"""Documents that are parsed once when they come again, as the same document of both engines does, and their size."""

MAX_CONTAINERS: Final = 256
"""Lists and objects in a document of a build; the contract has at most eight (DG-6)."""

MAX_KEPT_BYTES: Final = 8 * 2**20
"""Results and documents that are kept of one session: what a build says never exhausts its host."""


@dataclass
class StepRunner:
    """Run steps one after the other on one engine."""

    client: Client
    profile: Profile
    models: Mapping[str, bytes]
    bound: dict[str, int] = field(default_factory=dict)
    kept: int = 0

    def run(self, step: Step) -> Observation:
        """Run one step; nothing that an engine does wrong is raised."""
        try:
            return self._run(step)
        except EngineTrap as trap:
            return Trapped(step, f"{trap} {trap.backtrace}".strip())
        except EngineLimit as limit:
            return LimitReached(step, str(limit))
        except MemoryFault as fault:
            return OutsideMemory(step, str(fault))
        except EngineError as error:
            return EngineFailed(step, str(error))

    def _run(self, step: Step) -> Observation:
        client = self.client
        if isinstance(step, Write):
            client.engine.write(self._resolve(step.to), step.data)
            return NoAnswer(step)
        if isinstance(step, Load):
            return self._after_status(step, client.load_model(self.models[step.model]))
        if isinstance(step, Configure):
            values = step.temperature, step.top_k, step.top_p, step.seed
            return self._after_status(step, client.set_sampling_config(*values))
        if isinstance(step, Generate):
            return self._after_status(step, client.generate(step.prompt, step.max_new_tokens))
        export = EXPORTS_BY_NAME[step.export]
        arguments = [self._resolve(argument) if isinstance(argument, str) else argument for argument in step.arguments]
        value = client.engine.call(step.export, *arguments)
        if value is None:
            return NoAnswer(step)
        if step.bind is not None:
            self.bound[step.bind] = value
        if export.returns_status:
            return self._after_status(step, value)
        return ValueAnswer(step, export.defined(value))

    def _after_status(self, step: Step, status: int) -> StatusAnswer:
        result, document = self.client.result(), self.client.diagnostics()
        self.kept += len(result) + len(document)
        if self.kept > MAX_KEPT_BYTES:
            raise EngineLimit(f"the answers of this case have {self.kept} bytes; at most {MAX_KEPT_BYTES} are kept")
        return StatusAnswer(step, status, result, read_diagnostics(document, self.profile))

    def _resolve(self, name: Argument) -> int:
        base, offset = split_place(str(name))
        if base not in self.bound:
            raise EngineError(f"{base} has no value, because the call that gives it one did not return")
        return self.bound[base] + offset


def read_diagnostics(document: bytes, profile: Profile) -> Diagnostics | None:
    """Parse a diagnostics document by meaning: contract keys and forms, by the profile (DG-3, DG-6).

    Fields that a build does not have are absent. None when there is no document, or none that parses. A document of the
    same bytes may give the same object, which nobody changes.
    """
    read = _remembered if len(document) <= REMEMBERED_BYTES else _read
    return read(document, profile.dialect)


def _read(document: bytes, dialect: Dialect) -> Diagnostics | None:
    if document.count(b"[") + document.count(b"{") > MAX_CONTAINERS:  # a list of nothing takes 30 times its text
        return None
    try:
        parsed = _DECODER.decode(document.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict):
        return None
    return dialect.read(parsed)


_remembered: Final = lru_cache(REMEMBERED)(_read)


def _integer(text: str) -> float:
    """Return the number of a JSON integer; one with more digits than Python reads is infinite, as any double of it."""
    return int(text) if len(text) <= MAX_DIGITS else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse_constant)
