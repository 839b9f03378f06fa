"""Find where a build compares the checksum field of a file with the sum that it computed (ID-2).

The field of a well-formed file holds a random number, the module is watched (`instrument.watch`), and the operand that
meets the number in some instruction is the build's own sum, or a half of it. What is accepted as the comparison must
give one sum for one file whatever the field holds and however often it is asked, and another sum for another file.
A build for which nothing does that is told by `CannotSeal`, with what was tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from refruntime.contract.status import Status
from refruntime.identify.watched_build import WatchedBuild, WatchedLoad
from refruntime.instrument.watch import WATCHED_64, Meeting

WHOLE: Final = 2**64 - 1
LOW: Final = 2**32 - 1
HIGH: Final = WHOLE ^ LOW

MOST_LOADS: Final = 3
"""Loads that one sum may take: where halves are compared one after the other, the second shows when the first fits."""

MOST_LOADS_FOR_BYTES: Final = 32
"""The same where bytes are compared one by one; a load shows none when the sum has a byte that is planted elsewhere."""

RETRIES_FOR_BYTES: Final = 8
"""Failed steps of the search that other random numbers may mend: two bytes are equal by accident once in 256 times."""

LOADS_FOR_A_MASK: Final = 16
"""Random numbers that tell how many low bits are compared: each shows the highest of them with a chance of one half."""

Trouble = Literal["trapped", "refused", "never compared", "sums its own field", "unsteady"]


class CannotSeal(Exception):
    """A build's sum cannot be read; `kind` says why, `tried` what was done."""

    def __init__(self, kind: Trouble, message: str, tried: Sequence[str]) -> None:
        self.kind, self.tried = kind, tuple(tried)
        super().__init__(message)


@dataclass(frozen=True)
class MaskedBits:
    """Bits of a sum that a meeting shows: `value` under `mask`."""

    mask: int
    value: int

    def over(self, number: int) -> int:
        """Return a number with these bits instead of its own."""
        return number & ~self.mask | self.value

    def joined(self, other: MaskedBits) -> MaskedBits:
        """Return the bits of both; where both have some, those of `other`."""
        return MaskedBits(self.mask | other.mask, other.over(self.value))


NOTHING: Final = MaskedBits(0, 0)


@dataclass(frozen=True)
class ChecksumComparison:
    """How a build compares: `not verified`, the `whole` sum, or only the bits under `mask` (`truncated`).

    `sites` are offsets of instructions in the module; `evidence` are sentences for a report.
    """

    kind: Literal["whole", "truncated", "not verified"]
    mask: int
    sites: frozenset[int]
    evidence: tuple[str, ...]


def find_comparison(build: WatchedBuild, probes: Sequence[bytes]) -> ChecksumComparison:
    """Find the comparison with two or more well-formed files that differ: CannotSeal."""
    tried = [f"watched in load_model: {build.watched_names()}"]
    first, second = _accepted_probes(build, probes, tried)
    loads = [build.load(first, build.random()) for _ in range(3)]
    tried.append(f"{len(loads)} random numbers in the checksum field of one file: {_shown(loads)}")
    if all(load.status == Status.Ok for load in loads):
        met = [str(meeting) for load in loads[:1] for meeting in load.meetings]
        note = f"the file is loaded whatever its checksum field holds ({len(loads)} random numbers tried)"
        return ChecksumComparison("not verified", 0, frozenset(), (note, *(f"although {text}" for text in met)))
    if not any(load.meetings for load in loads):
        raise CannotSeal("never compared", _never_compared(build, loads[0]), tried)
    sites: frozenset[int] = frozenset()
    parts = {first: NOTHING, second: NOTHING}
    retries = RETRIES_FOR_BYTES if build.single_bytes else 0
    while parts[first].mask != WHOLE:
        try:
            more = _steady_sites(build, first, second, parts, tried)
        except CannotSeal:
            if not retries:
                raise
            more = frozenset()
        if not more - sites:
            if not retries:
                break
            retries -= 1
        sites |= more
        parts = {file: ask_parts(build, file, sites)[0] for file in parts}
    return _confirmed(build, first, sites, loads[0], tried)


def read_parts(load: WatchedLoad, sites: frozenset[int], wanted: int = WHOLE, known: int = 0) -> MaskedBits:
    """Return what the meetings of a load at some sites show of the sum; `wanted` and `known` as for `part_of`."""
    found = NOTHING
    for meeting in load.meetings:
        if meeting.site.offset in sites:
            found = found.joined(part_of(meeting, load.planted, wanted, known))
    return found


def part_of(meeting: Meeting, planted: int, wanted: int = WHOLE, known: int = 0) -> MaskedBits:
    """Return the bits of the sum that a meeting shows, by the part of the planted number that was met.

    `wanted` are the bits that the build compares, `known` those of the number that are the sum's already.
    """
    met, other = meeting.met, meeting.other
    if meeting.site.opcode not in WATCHED_64:
        if met < 0x100:
            return _byte_of(met, other, planted, known)
        return MaskedBits(LOW, other) if met == planted & LOW else MaskedBits(HIGH, other << 32)
    if met == planted & wanted:
        return MaskedBits(wanted, other & wanted)
    if met == planted >> 32:
        return MaskedBits(HIGH, (other & LOW) << 32)
    if met & HIGH == planted & HIGH:
        return MaskedBits(HIGH, other & HIGH)
    kept = next((bits for bits in range(32, 64) if met == planted & (2**bits - 1)), 32)
    mask = 2 ** max(kept, other.bit_length()) - 1
    return MaskedBits(mask, other & mask)


def _byte_of(met: int, other: int, planted: int, known: int) -> MaskedBits:
    """Return the byte of the sum that a met byte shows; nothing when either operand may be another planted byte's."""
    places = {place: planted >> place & 0xFF for place in range(0, 64, 8) if not known >> place & 0xFF}
    found = [place for place, octet in places.items() if octet == met]
    if len(found) != 1 or other > 0xFF or other in places.values():
        return NOTHING
    return MaskedBits(0xFF << found[0], other << found[0])


def ask_parts(
    build: WatchedBuild, file: bytes, sites: frozenset[int], wanted: int = WHOLE
) -> tuple[MaskedBits, WatchedLoad]:
    """Return what a build shows of its sum of a file, and the last load; parts are put in until no more shows."""
    found = NOTHING
    load = build.load(file, build.random())
    for _ in range(MOST_LOADS_FOR_BYTES if build.single_bytes else MOST_LOADS):
        more = found.joined(read_parts(load, sites, wanted, found.mask))
        grown, found = more.mask != found.mask or build.single_bytes, more
        if not grown or found.mask & wanted == wanted or load.status == Status.Ok:
            break
        load = build.load(file, found.over(build.random()))
    return found, load


# Steps of the search -------------------------------------------------------------------------------------------------


def _accepted_probes(build: WatchedBuild, probes: Sequence[bytes], tried: list[str]) -> tuple[bytes, bytes]:
    """Return two probes that get as far as the checksum; to trap behind a comparison is as good as to refuse."""
    answers = [(probe, build.load(probe, build.random())) for probe in probes]
    tried += [f"load_model of a file of {len(probe)} bytes: {load}" for probe, load in answers]
    going = [(probe, load) for probe, load in answers if load.error is None or load.meetings]
    if len(going) < 2:
        raise CannotSeal("trapped", f"load_model does not come back from a well-formed file: {answers[0][1]}", tried)
    early = (Status.InvalidModelMagic, Status.UnsupportedModelVersion, Status.NullPointer, Status.InvalidLength)
    met = [probe for probe, load in going if load.meetings or load.status == Status.Ok]
    if len(met) < 2 and all(load.status in early for _, load in going):
        message = f"the build refuses well-formed SLM1 files before it looks at their checksum: {going[0][1]}"
        raise CannotSeal("refused", message, tried)
    chosen = met if len(met) >= 2 else [probe for probe, _ in going]
    return chosen[0], chosen[1]


def _steady_sites(
    build: WatchedBuild, first: bytes, second: bytes, known: Mapping[bytes, MaskedBits], tried: list[str]
) -> frozenset[int]:
    """Return the sites that show one new part of the sum for one file and another for another file: CannotSeal.

    `known` are the parts that are put into the field; once there are some, that no site shows more is no trouble.
    """

    def ask(file: bytes, stored: int) -> dict[int, int]:
        part = known[file]
        return _new_values(build.load(file, part.over(stored)), part)

    number = build.random()
    candidates = ask(first, number)
    again = [ask(first, number)]
    build.restart()
    again.append(ask(first, number))
    others = [ask(first, build.random()) for _ in range(2)]
    elsewhere = ask(second, build.random())
    tried.append("the same file and number again and on a fresh instance; other numbers; another file")
    repeated = {site: value for site, value in candidates.items() if all(each.get(site) == value for each in again)}
    same = {site: value for site, value in repeated.items() if all(each.get(site) == value for each in others)}
    steady = frozenset(site for site, value in same.items() if elsewhere.get(site, value) != value)
    if steady or known[first].mask:
        return steady
    if same:
        message = f"the number in the checksum field meets only constants, such as {min(same.values()):#x}"
        raise CannotSeal("never compared", message, tried)
    if repeated:
        message = (
            "the sum changes with the number in the checksum field itself (bytes 100 to 107 do not count as zero), so "
            "no file can hold its own sum"
        )
        raise CannotSeal("sums its own field", message, tried)
    values = sorted({value for each in (candidates, *again) for value in each.values()})
    message = (
        "the build answers differently each time: for one file with one number in its checksum field it compared that "
        f"with {', '.join(f'{value:#x}' for value in values[:4])}"
    )
    raise CannotSeal("unsteady", message, tried)


def _new_values(load: WatchedLoad, known: MaskedBits) -> dict[int, int]:
    """Return, by site, what a load compared with bits of the number that are not known yet."""
    return {
        meeting.site.offset: meeting.other
        for meeting in load.meetings
        if part_of(meeting, load.planted, WHOLE, known.mask).mask & ~known.mask
    }


def _confirmed(
    build: WatchedBuild, file: bytes, sites: frozenset[int], before: WatchedLoad, tried: list[str]
) -> ChecksumComparison:
    """Put the sum into the file and see that the build goes on; of several sites keep those with which it does."""
    for group in (sites, *(frozenset((site,)) for site in sorted(sites) if len(sites) > 1)):
        part, _ = ask_parts(build, file, group)
        sealed = [build.load(file, part.over(build.random())) for _ in range(2)]
        tried.append(f"the sum {part.value:#x} in the checksum field: {_shown(sealed)}")
        if all((load.status, str(load.error)) != (before.status, str(before.error)) for load in sealed):
            evidence = [str(meeting) for meeting in before.meetings if meeting.site.offset in group]
            evidence.append(f"with {part.value:#x} in the field: {sealed[0]}; with a random number: {before}")
            if part.mask == WHOLE:
                return ChecksumComparison("whole", WHOLE, group, tuple(evidence))
            mask = part.mask
            for _ in range(LOADS_FOR_A_MASK):
                mask |= read_parts(build.load(file, build.random()), group).mask
            evidence.append(f"the bits {WHOLE ^ mask:#018x} of the field may hold anything")
            return ChecksumComparison("truncated", mask, group, tuple(evidence))
    message = (
        f"the number in the checksum field is compared, but a file that holds the other operand is refused as before "
        f"({before}), so that operand is not the whole sum"
    )
    raise CannotSeal("never compared", message, tried)


def _never_compared(build: WatchedBuild, load: WatchedLoad) -> str:
    none = "" if build.compares_64_bits() else "; the module has no 64-bit comparison at all"
    return (
        f"the file is refused ({load}), but no watched instruction met the number in its checksum field{none}. Either "
        "the build compares in another way, or it refuses the file for another reason before it looks at the checksum"
    )


def _shown(loads: Iterable[WatchedLoad]) -> str:
    return ", ".join(dict.fromkeys(map(str, loads)))
