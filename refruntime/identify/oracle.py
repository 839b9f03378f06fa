"""The oracle as an engine that notes which switches of the profile its answers depend on."""

from __future__ import annotations

from functools import partial
from typing import Final

from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.identify.lazy_sampler import LazySampler
from refruntime.identify.reading import ReadingBinder, ReadingProfile
from refruntime.numerics import Numerics
from refruntime.runtime import Machine, Runtime

READING: Final = partial(Machine.fresh, sampler=LazySampler())
"""Make the oracle's machine with a sampler that reads as little as it can, and remembers what it found."""


def reading_engine(profile: ReadingProfile, numerics: Numerics, bind: ReadingBinder) -> ReferenceEngine:
    """Return a fresh oracle under a profile that notes what is read."""
    return ReferenceEngine(
        ExportedABI(profile, numerics=numerics, runtime_type=partial(Runtime, bind=bind, machine=READING))
    )
