"""The features that a build may lack, each with one plain well-formed file that needs nothing else (ID-1).

`FEATURES` is the table; `find_features(fresh, profile, names)` asks a build which of them it has. For others to use:

    found = find_features(engine_factory, profile)            # all of them
    found.absent                                              # name -> status that the plain file was refused with
    found.reason(needs_of(case))                              # why a case cannot be judged, "" if it can
    FEATURES["slm1/storage/q4_0"].make(profile)               # the bytes of the plain file

`seal` puts a build's own checksum into an SLM1 file before it is given to it (ID-2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from refruntime.battery.models.gguf import F32, STRING, U32, value
from refruntime.battery.models.plain import byte_pair_gguf, plain_gguf, stored_gguf, with_factors
from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.cases.features import Found, ask
from refruntime.cases.needs import needs_of, needs_of_all
from refruntime.cases.steps import Case
from refruntime.containers.slm1_format import DType
from refruntime.contract.features import feature, required_feature
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine
from refruntime.model.architectures import ARCHITECTURES
from refruntime.quants.ggml import GGML_TYPES
from refruntime.tokenizers.bpe1_section import Merge, TokenRecord, build_section
from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS

__all__ = [
    "FEATURES",
    "Found",
    "PlainFeature",
    "feature_finder",
    "features_of_profile",
    "find_features",
    "find_for_cases",
    "needs_of",
    "needs_of_all",
]

SHAPE: Final = Shape(hidden=8, layers=1, heads=2, ffn=16, capacity=16)


@dataclass(frozen=True)
class PlainFeature:
    """A feature with the maker of its plain file; `needs` are the features that the file has besides."""

    name: str
    make: Callable[[Profile], bytes]

    @property
    def group(self) -> str:
        """Return `container`, `storage`, `tokenizer`, `output`, `architecture` or `rotary`."""
        return feature(self.name).group

    @property
    def title(self) -> str:
        """Return what the feature is called in a sentence."""
        return feature(self.name).title

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the features that the plain file has besides."""
        return feature(self.name).needs


def _slm1() -> Iterator[tuple[str, Callable[[Profile], bytes]]]:
    section = build_section(261, [TokenRecord(260, b"ab")], [Merge(97, 98, 260, 0)])
    bpe1 = Shape(261, SHAPE.hidden, SHAPE.layers, SHAPE.heads, SHAPE.ffn, SHAPE.capacity)
    tied = Shape(260, SHAPE.hidden, SHAPE.layers, SHAPE.heads, SHAPE.ffn, SHAPE.capacity, tied=True)
    yield "slm1", lambda profile: random_model(300, SHAPE, profile=profile)
    yield "slm1/storage/q8_0", lambda profile: random_model(301, SHAPE, DType.Q8_0, profile=profile)
    yield "slm1/storage/q4_0", lambda profile: random_model(302, SHAPE, DType.Q4_0, block_size=8, profile=profile)
    yield "slm1/tokenizer/bpe1", lambda profile: random_model(303, bpe1, tokenizer=section, profile=profile)
    yield "slm1/output/tied", lambda profile: random_model(304, tied, profile=profile)


def _gguf() -> Iterator[tuple[str, Callable[[Profile], bytes]]]:
    def linear() -> bytes:
        kind, factor = value(STRING, b"linear"), value(F32, 4.0)
        return plain_gguf(llama__rope__scaling__type=kind, llama__rope__scaling__factor=factor).data

    def yarn() -> bytes:
        kind, factor, trained = value(STRING, b"yarn"), value(F32, 4.0), value(U32, 8)
        return plain_gguf(
            llama__rope__scaling__type=kind,
            llama__rope__scaling__factor=factor,
            llama__rope__scaling__original_context_length=trained,
        ).data

    def longrope() -> bytes:
        file = plain_gguf("phi3", phi3__rope__scaling__original_context_length=value(U32, 8))
        return with_factors(file, "rope_factors_long.weight", "rope_factors_short.weight").data

    def made(make: Callable[[], bytes]) -> Callable[[Profile], bytes]:
        return lambda _: make()

    yield "gguf", made(lambda: plain_gguf().data)
    for item in GGML_TYPES.values():
        if item.decode is not None and item.name != "f32":
            yield f"gguf/storage/{item.name}", made(partial(lambda name: stored_gguf(name).data, item.name))
    for name in PRE_TOKENIZERS:
        yield f"gguf/tokenizer/{name}", made(partial(lambda name: byte_pair_gguf(name).data, name))
    for name in ARCHITECTURES:
        if name != "llama":
            yield f"gguf/architecture/{name}", made(partial(lambda name: plain_gguf(name).data, name))
    yield "gguf/rotary/linear", made(linear)
    yield "gguf/rotary/yarn", made(yarn)
    yield "gguf/rotary/factors", made(lambda: with_factors(plain_gguf(), "rope_freqs.weight").data)
    yield "gguf/rotary/longrope", made(longrope)


FEATURES: Final[Mapping[str, PlainFeature]] = {
    name: PlainFeature(name, make) for name, make in sorted((*_slm1(), *_gguf()))
}
"""Every feature by its name, by code point."""


@lru_cache(maxsize=512)
def _plain_file(name: str, profile: Profile) -> bytes:
    return FEATURES[name].make(profile)


def features_of_profile(profile: Profile) -> tuple[str, ...]:
    """Return the names of all features of the containers that a build of this profile accepts (GG-1)."""
    return tuple(name for name in FEATURES if name.partition("/")[0] in profile.containers)


def find_features(
    fresh: Callable[[], Engine],
    profile: Profile,
    names: Iterable[str] | None = None,
    seal: Callable[[bytes], bytes] | None = None,
) -> Found:
    """Ask a build for features, by default for all that the profile lets it have, each on a fresh instance (ID-1).

    What stands on an absent feature is not asked. `seal` is applied to every file first.
    """
    possible = features_of_profile(profile)
    wanted = possible if names is None else [name for name in names if name in possible]
    required = required_feature(profile.containers)
    return ask(fresh, wanted, lambda name: _plain_file(name, profile), required, seal)


def feature_finder(fresh: Callable[[], Engine], profile: Profile) -> Callable[[Iterable[Case]], Found]:
    """Return what asks a build for the features of cases; for `Suite(..., features=...)`."""
    return partial(find_for_cases, fresh, profile)


def find_for_cases(fresh: Callable[[], Engine], profile: Profile, cases: Iterable[Case]) -> Found:
    """Ask a build for the features that cases need, and for nothing else (ID-1)."""
    return find_features(fresh, profile, needs_of_all(cases))
