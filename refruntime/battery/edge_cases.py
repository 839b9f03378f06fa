"""The sessions of the goldens as cases: what they pin, a build is asked too when the oracle answers live.

There is one catalogue of edge cases, `golden/cases`; the answers that are frozen beside them are not read here, because
the oracle computes them under the build's own profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, lru_cache
from typing import Final

from refruntime import resources
from refruntime.cases.steps import Case
from refruntime.containers.slm1_format import HEADER_LENGTH, MAGIC
from refruntime.containers.slm1_writer import with_checksum
from refruntime.contract.profile import Profile
from refruntime.golden.corpus import Corpus

FROZEN: Final = Profile()
"""The profile whose checksums the artifacts of the goldens carry."""


def edge_cases(profile: Profile) -> Iterator[Case]:
    """Yield every golden case as `golden/FAMILY/NAME`, in the order of the ids; checksums follow the profile.

    FileNotFoundError where the goldens are missing, GoldenError where one cannot be read.
    """
    for case in _frozen_cases():
        models = {name: with_checksum_of(data, profile) for name, data in case.models.items()}
        yield replace(case, models=models)


def with_checksum_of(data: bytes, profile: Profile) -> bytes:
    """Return an artifact with the checksum of another profile, if it is an SLM1 file that carries the frozen one's.

    A checksum that is wrong on purpose stays as it is (SL-5).
    """
    if _formula(profile) == _formula(FROZEN) or len(data) < HEADER_LENGTH or data[:4] != MAGIC:
        return data
    return _sealed(data, profile) if _sealed(data, FROZEN) == data else data


def _formula(profile: Profile) -> tuple[object, ...]:
    return profile.checksum_order, profile.checksum_start, profile.checksum_rotation


@lru_cache(maxsize=2048)
def _sealed(data: bytes, profile: Profile) -> bytes:
    """Return the file with the checksum of a profile, or unchanged where that would be 0, which no reader accepts."""
    try:
        return with_checksum(data, profile)
    except ValueError:
        return data


@cache
def _frozen_cases() -> tuple[Case, ...]:
    corpus = Corpus(resources.golden_folder())
    cases = []
    for identifier in corpus.ids():
        case = corpus.case(identifier).case(corpus.artifact)
        cases.append(replace(case, name=f"golden/{identifier}"))
    return tuple(cases)
