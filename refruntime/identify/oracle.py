"""The oracle as an engine that notes which switches of the profile its answers depend on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.identify.lazy_sampler import LazySampler
from refruntime.identify.reading import ReadingBinder, ReadingProfile
from refruntime.numerics import Numerics
from refruntime.runtime import Machine, Runtime

MachineMaker = Callable[..., Machine]
"""Make the machine of a profile, with a `sampler` of one's own: `Machine.fresh`, or that of a fault."""

SAMPLER: Final = LazySampler()
"""Read as little as it can, and remember what it found."""


def reading_engine(
    profile: ReadingProfile, numerics: Numerics, bind: ReadingBinder, machine: MachineMaker = Machine.fresh
) -> ReferenceEngine:
    """Return a fresh oracle under a profile that notes what is read."""
    reading = partial(machine, sampler=SAMPLER)
    return ReferenceEngine(
        ExportedABI(profile, numerics=numerics, runtime_type=partial(Runtime, bind=bind, machine=reading))
    )
