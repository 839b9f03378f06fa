"""The artifacts that random sessions load: those of the battery, the malformed files, models with a byte changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from refruntime.battery.catalogue import default_battery
from refruntime.battery.malformed.catalogue import malformed_files
from refruntime.battery.models.slm1 import follow, story_model, table_model
from refruntime.cases.needs import features_of
from refruntime.containers.checksum import CHECKSUM_FIELD, slm1_checksum
from refruntime.contract.features import with_needs
from refruntime.contract.limits import MAX_RESULT_BYTES
from refruntime.contract.profile import Profile
from refruntime.tokenizers.bpe1_section import TokenRecord, build_section

MOST_BYTES: Final = 96 * 1024
"""Size of the largest artifact: larger ones of the battery cost more than the sessions around them."""

STORY: Final = "story"
"""The model on which every state can be reached in a few calls (see `story_model`)."""

BROKEN: Final = "broken"
"""The same with its last byte changed and the old checksum."""

SURPRISES: Final = "surprises"
"""A model that goes on to a text that is too long (`a`, `b`, then 65,537 bytes) or no UTF-8 (`x`, `m`, then 0xFF)."""

LIVELY: Final = (
    STORY,
    SURPRISES,
    "generator.default-seed",
    "output.eos-by-chance-1",
    "output.special-ids-btok",
    "output.special-ids-bpe1",
    "output.long-one-token-of-65537",
    "output.not-utf-8-cut-3",
    "tokenizer.bpe1-letters",
    "slm1.plain-file",
    "generate.slm1-q8_0-tied-greedy",
    "generate.slm1-q4_0-tied-greedy",
    "gguf.plain-file",
    "gguf.capacity-above-the-limit-file",
)
"""Models on which sessions go far: a text that ends, draws, special ids, a text too long, every storage type."""

_CHANGED: Final = re.compile(r"(.+)\.at-(\d+)-([0-9a-f]{2})(-sealed)?")


@dataclass(frozen=True)
class Pool:
    """Artifacts by name. `lively` generate well; `others` are all, `changeable` those that may get a changed byte."""

    files: Mapping[str, bytes]
    lively: tuple[str, ...]
    others: tuple[str, ...]
    changeable: tuple[str, ...]
    profile: Profile

    def artifact(self, name: str) -> bytes:
        """Return the bytes of an artifact of this pool, or of one of `changed`: KeyError for any other name."""
        found = _CHANGED.fullmatch(name)
        if found is None or name in self.files:
            return self.files[name]
        data = bytearray(self.files[found[1]])
        data[int(found[2])] = int(found[3], 16)
        if found[4] is not None:
            first, last = CHECKSUM_FIELD
            data[first:last] = slm1_checksum(bytes(data), self.profile).to_bytes(last - first, "little")
        return bytes(data)

    def changed(self, name: str, place: int, value: int, sealed: bool) -> str:
        """Return the name of an artifact with one byte changed; sealed, its checksum is right again (SL-5)."""
        return f"{name}.at-{place % len(self.files[name])}-{value:02x}{'-sealed' * sealed}"


@lru_cache(maxsize=4)
def make_pool(profile: Profile, absent: frozenset[str] = frozenset()) -> Pool:
    """Return the artifacts for a profile that need none of the features that a build does not have (ID-1)."""
    files = {name: data for name, data, needs in _all(profile) if _judgeable(data, needs, profile, absent)}
    lively = tuple(name for name in LIVELY if name in files)
    small = tuple(name for name in lively if files[name][:4] == b"SLM1")
    return Pool(files, lively, tuple(files), small, profile)


@lru_cache(maxsize=4)
def _all(profile: Profile) -> Sequence[tuple[str, bytes, Sequence[str]]]:
    return tuple(_artifacts(profile))


def _artifacts(profile: Profile) -> Iterator[tuple[str, bytes, Sequence[str]]]:
    story = story_model(profile)
    yield STORY, story, ()
    yield BROKEN, story[:-1] + bytes([story[-1] ^ 1]), ()
    yield SURPRISES, _surprises(profile), ()
    seen = {story}
    for case in default_battery(profile):
        for name, data in case.models.items():
            known = _name(case.name if len(case.models) == 1 else f"{case.name}-{name}")
            if (data not in seen or known in LIVELY) and len(data) <= MOST_BYTES:
                seen.add(data)
                yield known, data, ()
    for file in malformed_files(profile):
        if len(file.data) <= MOST_BYTES and file.data not in seen:
            yield _name(f"malformed/{file.name}"), file.data, file.needs


def _surprises(profile: Profile) -> bytes:
    section = build_section(261, [TokenRecord(260, b"y" * (MAX_RESULT_BYTES + 1))], [])
    table = {**follow(*b"ab", 260), **follow(*b"xm", 0xFF)}
    return table_model(table, vocab=261, tokenizer=section, profile=profile)


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", text.lower().replace("/", "."))


def _judgeable(data: bytes, needs: Sequence[str], profile: Profile, absent: Collection[str]) -> bool:
    container = {b"SLM1": "slm1", b"GGUF": "gguf"}.get(data[:4])
    if container is not None and container not in profile.containers:
        return False
    return not absent or not any(name in absent for name in with_needs([*features_of(data), *needs]))
