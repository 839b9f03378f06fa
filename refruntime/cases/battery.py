"""The default battery: what a build is asked when no cases are given. Names are `family/name`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from refruntime.cases.battery_generate import generation_cases
from refruntime.cases.battery_gguf import gguf_cases, gguf_models
from refruntime.cases.battery_sampler import sampler_cases
from refruntime.cases.battery_slm1 import slm1_cases
from refruntime.cases.battery_state import generator_cases, state_cases
from refruntime.cases.battery_status import sampling_value_cases, transfer_cases, trap_cases
from refruntime.cases.battery_text import text_cases
from refruntime.cases.models import Shape, random_model
from refruntime.cases.steps import Case
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile


def default_battery(profile: Profile, models: Mapping[str, bytes] | None = None) -> tuple[Case, ...]:
    """Return every case; `models` are further artifacts by name, on which generations run. SL-5 follows the profile."""
    cases = tuple(_cases(profile, models or {}))
    names = [case.name for case in cases]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"two cases have the name {duplicates[0]}")
    return cases


def _cases(profile: Profile, models: Mapping[str, bytes]) -> Iterator[Case]:
    yield from state_cases(profile)
    yield from generator_cases(profile)
    yield from sampling_value_cases(profile)
    yield from transfer_cases(profile)
    yield from trap_cases(profile)
    yield from slm1_cases(profile)
    yield from sampler_cases(profile)
    yield from text_cases(profile)
    yield from gguf_cases(profile)
    yield from generation_cases(slm1_models(profile), vocab=260)
    yield from generation_cases(gguf_models(), vocab=1024, prompt=b"hello the abba")
    yield from generation_cases(models, vocab=1024)


def slm1_models(profile: Profile) -> dict[str, bytes]:
    """Return a random model of every dtype, tied and untied."""
    return {
        f"slm1-{dtype.label}{'-tied' if tied else ''}": random_model(
            10 * int(dtype) + tied, Shape(tied=tied), dtype, profile=profile
        )
        for dtype in DType
        for tied in (False, True)
    }


def select(cases: Iterable[Case], patterns: Iterable[str]) -> tuple[Case, ...]:
    """Return the cases that fit any pattern, all without patterns.

    A pattern is a name, a family, a rule that the case cites, or a shell pattern of a name such as `*/probe-*`.
    """
    wanted = tuple(patterns)
    return tuple(case for case in cases if not wanted or any(_fits(case, pattern) for pattern in wanted))


def _fits(case: Case, pattern: str) -> bool:
    family = case.name.partition("/")[0]
    return pattern in (case.name, family) or pattern in case.rules or fnmatchcase(case.name, pattern)
