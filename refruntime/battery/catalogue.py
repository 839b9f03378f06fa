"""The default battery: what a build is asked when no cases are given. Names are `family/name`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from refruntime.battery.edge_cases import edge_cases
from refruntime.battery.generate import generation_cases
from refruntime.battery.gguf import gguf_cases, gguf_models
from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.battery.sampler import sampler_cases
from refruntime.battery.slm1 import slm1_cases
from refruntime.battery.state import generator_cases, state_cases
from refruntime.battery.status import sampling_value_cases, transfer_cases, trap_cases
from refruntime.battery.text import output_cases, prompt_cases
from refruntime.cases.select import fits_any
from refruntime.cases.steps import Case
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile

Models = Mapping[str, bytes]


def default_battery(profile: Profile, models: Models | None = None, patterns: Iterable[str] = ()) -> tuple[Case, ...]:
    """Return every case, or those that fit any of the patterns (see `select`); only their families are made.

    `models` are further artifacts by name, on which generations run. The checksums of SLM1 files follow the profile.
    """
    wanted = tuple(patterns)
    families = [name for name in FAMILIES if not wanted or any(_may_fit(name, pattern) for pattern in wanted)]
    cases = [case for name in families for case in FAMILIES[name](profile, models or {})]
    names = Counter(case.name for case in cases)
    duplicate = next((name for name, count in names.items() if count > 1), None)
    if duplicate is not None:
        raise ValueError(f"two cases have the name {duplicate}")
    return select(cases, wanted)


def _status_cases(profile: Profile, _: Models) -> Iterator[Case]:
    yield from sampling_value_cases(profile)
    yield from transfer_cases(profile)
    yield from trap_cases(profile)


def _generate_cases(profile: Profile, models: Models) -> Iterator[Case]:
    yield from generation_cases(slm1_models(profile), vocab=260)
    yield from generation_cases(gguf_models(), vocab=1024, prompt=b"hello the abba")
    yield from generation_cases(models, vocab=1024)


FAMILIES: Final[Mapping[str, Callable[[Profile, Models], Iterator[Case]]]] = {
    "state": lambda profile, _: state_cases(profile),
    "generator": lambda profile, _: generator_cases(profile),
    "status": _status_cases,
    "slm1": lambda profile, _: slm1_cases(profile),
    "sampler": lambda profile, _: sampler_cases(profile),
    "tokenizer": lambda profile, _: prompt_cases(profile),
    "output": lambda profile, _: output_cases(profile),
    "gguf": lambda profile, _: gguf_cases(profile),
    "generate": _generate_cases,
    "golden": lambda profile, _: edge_cases(profile),
}
"""Family -> what makes its cases."""


def generation_models(profile: Profile) -> dict[str, bytes]:
    """Return the battery's own models on which generations run."""
    return slm1_models(profile) | gguf_models()


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
    """Return the cases that any pattern means (see `cases.select.fits`), all without patterns."""
    wanted = tuple(patterns)
    return tuple(case for case in cases if fits_any(case.name, case.rules, wanted))


def _may_fit(family: str, pattern: str) -> bool:
    """Say whether a case of this family can fit; a rule may be cited anywhere."""
    if "/" in pattern:
        return fnmatchcase(family, pattern.partition("/")[0])
    return pattern == family if pattern in FAMILIES else True
