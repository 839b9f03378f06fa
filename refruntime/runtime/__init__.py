"""The state machine as a value, and the runtime that holds one with a KV cache: no pointers."""

from __future__ import annotations

from refruntime.runtime.checks import check_count
from refruntime.runtime.generator import Generator
from refruntime.runtime.machine import DEFAULT_GENERATOR_SEED, Machine
from refruntime.runtime.parts import Owner, Resident, State, Taken
from refruntime.runtime.runtime import LoadedModel, Runtime

__all__ = [
    "DEFAULT_GENERATOR_SEED",
    "Generator",
    "LoadedModel",
    "Machine",
    "Owner",
    "Resident",
    "Runtime",
    "State",
    "Taken",
    "check_count",
]
