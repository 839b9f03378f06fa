"""Name the features that a build may lack (ID-1): each by a name that also says what it stands on.

A container is a feature with all that its plainest file needs: `slm1` with f32 weights and the byte tokenizer, `gguf`
with architecture llama, F32 and an SPM tokenizer. Everything beyond is `CONTAINER/GROUP/MEMBER`, such as
`gguf/storage/q4_k`. Which features a build has is found out by asking it to load one plain file for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from refruntime.contract.status import Status

REFUSALS: Final = (Status.InvalidModelMagic, Status.InvalidHeader, Status.UnsupportedDType)
"""Statuses with which a build refuses what it does not have (ID-1)."""

CONTAINER_TITLES: Final = {
    "slm1": "SLM1 files (f32 weights, byte tokenizer)",
    "gguf": "GGUF files (llama, F32 weights, SPM tokenizer)",
}

GROUP_TITLES: Final = {
    "storage": "{member} weights in {container} files",
    "tokenizer": "the tokenizer {member} in {container} files",
    "output": "{member} output in {container} files",
    "architecture": "the architecture {member} in {container} files",
    "rotary": "{member} in {container} files",
}
"""Group -> what its features are called in a sentence."""

MEMBER_TITLES: Final = {
    "gguf/rotary/linear": "linear rotary scaling",
    "gguf/rotary/yarn": "YaRN rotary scaling",
    "gguf/rotary/factors": "rotary factors",
    "gguf/rotary/longrope": "long and short rotary factors",
    "slm1/tokenizer/bpe1": "BPE1",
}
"""What a member is called in its title, where its name alone does not say it."""

STANDS_ON: Final = {"gguf/rotary/longrope": ("gguf/architecture/phi3",)}
"""What a plain file needs beyond its container, where it needs something."""


ABSENCE: Final = "the build does not have {title}: it refuses the plain file with {status} (ID-1)"
REFUSAL: Final = (
    "the build has to load {title}, but refuses the plain file with {status}; what needs it is not judged (ID-1)"
)
"""What every host writes, whatever its language."""


@dataclass(frozen=True)
class Feature:
    """One feature: `title` names it in a sentence, `needs` are the features that its plain file has besides."""

    name: str
    group: str
    title: str
    needs: tuple[str, ...]


def feature(name: str) -> Feature:
    """Return the feature of a name: ValueError for a name that is not made as this module says."""
    container, _, rest = name.partition("/")
    group, _, member = rest.partition("/")
    if container not in CONTAINER_TITLES or (rest and not (group in GROUP_TITLES and member)):
        raise ValueError(f"no name of a feature: {name!r}; expected one such as slm1 or gguf/storage/q4_k")
    if not rest:
        return Feature(name, "container", CONTAINER_TITLES[name], ())
    title = GROUP_TITLES[group].format(member=MEMBER_TITLES.get(name, member), container=container.upper())
    return Feature(name, group, title, (container, *STANDS_ON.get(name, ())))


def with_needs(names: Iterable[str]) -> tuple[str, ...]:
    """Return features and all that they stand on, by code point: a container comes before what is in it."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(feature(name).needs)
    return tuple(sorted(found))


def absent_of(needs: Iterable[str], containers: Collection[str], absent: Collection[str]) -> str:
    """Return the first of these features, and of all that they stand on, that a profile says is absent; else empty."""
    away = {*absent, *(set(CONTAINER_TITLES) - set(containers))}
    return next((name for name in with_needs(needs) if name in away), "")


def required_feature(containers: Collection[str]) -> str:
    """Return the feature without which nothing can be judged: a build that refuses it is wrong, not poor."""
    return "slm1" if "slm1" in containers else "gguf"


def absence(title: str, status: str) -> str:
    """Say that a build does not have a feature."""
    return ABSENCE.format(title=title, status=status)


def refusal(title: str, status: str) -> str:
    """Say that a build does not have the feature on which all stands."""
    return REFUSAL.format(title=title, status=status)
