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
from refruntime.battery.models.slm1_bytes import Fields, slm1_fields
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

_CHANGED: Final = re.compile(r"(.+)\.at-(\d+)-((?:[0-9a-f]{2})+)(-sealed)?")


@dataclass(frozen=True)
class Pool:
    """Artifacts by name. `lively` generate well; `kinds` are all, put together by what is wrong with them.

    `fields` are the numbers of those that may be changed, by the part of the file that they stand in.
    """

    files: Mapping[str, bytes]
    lively: tuple[str, ...]
    kinds: tuple[tuple[str, ...], ...]
    fields: Mapping[str, tuple[Fields, ...]]
    profile: Profile

    def turn(self, number: int) -> tuple[str, ...]:
        """Return one artifact of each kind, so that the kinds with few have as many chances, and each file its turn."""
        return tuple(names[number % len(names)] for names in self.kinds)

    def artifact(self, name: str) -> bytes:
        """Return the bytes of an artifact of this pool, or of one of `changed`: KeyError for any other name."""
        found = _CHANGED.fullmatch(name)
        if found is None or name in self.files:
            return self.files[name]
        data = bytearray(self.files[found[1]])
        place, changed = int(found[2]), bytes.fromhex(found[3])
        data[place : place + len(changed)] = changed
        if found[4] is not None:
            first, last = CHECKSUM_FIELD
            data[first:last] = slm1_checksum(bytes(data), self.profile).to_bytes(last - first, "little")
        return bytes(data)

    def changed(self, name: str, place: int, value: bytes, sealed: bool) -> str:
        """Return the name of an artifact with other bytes at a place; sealed, its checksum is right again (SL-5)."""
        return f"{name}.at-{place}-{value.hex()}{'-sealed' * sealed}"


@lru_cache(maxsize=4)
def make_pool(profile: Profile, absent: frozenset[str] = frozenset()) -> Pool:
    """Return the artifacts for a profile that need none of the features that a build does not have (ID-1)."""
    files: dict[str, bytes] = {}
    kinds: dict[str, list[str]] = {}
    for name, kind, data, needs in _all(profile):
        if _judgeable(data, needs, profile, absent):
            files[name] = data
            kinds.setdefault(kind, []).append(name)
    lively = tuple(name for name in LIVELY if name in files)
    fields: dict[str, tuple[Fields, ...]] = {
        name: slm1_fields(files[name]) for name in lively if files[name][:4] == b"SLM1"
    }
    return Pool(files, lively, tuple(map(tuple, kinds.values())), fields, profile)


@lru_cache(maxsize=4)
def _all(profile: Profile) -> Sequence[tuple[str, str, bytes, Sequence[str]]]:
    return tuple(_artifacts(profile))


def _artifacts(profile: Profile) -> Iterator[tuple[str, str, bytes, Sequence[str]]]:
    story = story_model(profile)
    yield STORY, STORY, story, ()
    yield BROKEN, BROKEN, story[:-1] + bytes([story[-1] ^ 1]), ()
    yield SURPRISES, SURPRISES, _surprises(profile), ()
    seen = {story}
    for case in default_battery(profile):
        for name, data in case.models.items():
            known = _name(case.name if len(case.models) == 1 else f"{case.name}-{name}")
            if (data not in seen or known in LIVELY) and len(data) <= MOST_BYTES:
                seen.add(data)
                yield known, "-".join(known.split("-")[:2]), data, ()
    for file in malformed_files(profile):
        if len(file.data) <= MOST_BYTES and file.data not in seen:
            yield _name(f"malformed/{file.name}"), f"{file.name[:4]} {file.check} {file.status}", file.data, file.needs


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
