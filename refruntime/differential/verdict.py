"""The verdict on one case, and what it means for the exit code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from refruntime.cases.observation import LimitReached, Observation, is_failure
from refruntime.differential.compare import Comparison, outcome


class Verdict(StrEnum):
    """What the comparison of one case says."""

    MATCH = "MATCH"
    NEAR_TIE = "NEAR_TIE"
    BOTH_FAILED = "BOTH_FAILED"
    UNSUPPORTED = "UNSUPPORTED"
    POISONED = "POISONED"
    CONTRACT_GAP = "CONTRACT_GAP"
    MISMATCH = "MISMATCH"
    ONLY_REF_FAILED = "ONLY_REF_FAILED"
    ONLY_WASM_FAILED = "ONLY_WASM_FAILED"
    STALE = "STALE"
    ORACLE_CRASH = "ORACLE_CRASH"

    @property
    def label(self) -> str:
        """Return the verdict in words for people: a refusal that was expected must not look like a failure."""
        return "refused alike" if self is Verdict.BOTH_FAILED else str(self)

    @property
    def meaning(self) -> str:
        """Return what the verdict means, with the name that JSON has for it where that is another one."""
        return MEANINGS[self] + ("" if self.label == self else f"; JSON calls it {self}")


MEANINGS: Final[dict[Verdict, str]] = {
    Verdict.MATCH: "every compared field of every step agrees",
    Verdict.NEAR_TIE: "tokens differ where two candidates are closer than float32 can tell; all else agrees",
    Verdict.BOTH_FAILED: "every step agrees, and the case ends in the same failure on both sides",
    Verdict.UNSUPPORTED: "the build does not have what the case needs, or a limit of this machine stopped the oracle",
    Verdict.POISONED: "a limit stopped the build; what follows cannot be compared",
    Verdict.CONTRACT_GAP: "they differ on a declared rule, and another option of it fits",
    Verdict.MISMATCH: "they differ",
    Verdict.ONLY_REF_FAILED: "the oracle answers with a failure, the build does not",
    Verdict.ONLY_WASM_FAILED: "the build answers with a failure or traps, the oracle does not",
    Verdict.STALE: "the files of the golden do not belong together; a hash does not fit",
    Verdict.ORACLE_CRASH: "a bug in the oracle or in this tool",
}

FINE: Final = frozenset({Verdict.MATCH, Verdict.NEAR_TIE, Verdict.BOTH_FAILED, Verdict.UNSUPPORTED})

EXIT_FINE: Final = 0
EXIT_MISMATCH: Final = 1
EXIT_CRASH: Final = 4
EXIT_INTERRUPTED: Final = 130


class Judgement(NamedTuple):
    """A verdict with its reason in plain words, empty where the verdict says it all."""

    verdict: Verdict
    reason: str = ""


def judge(
    reference: Sequence[Observation],
    build: Sequence[Observation],
    comparison: Comparison,
    near_ties: int = 0,
) -> Judgement:
    """Return the verdict on a comparison. Contract gaps and crashes are found elsewhere."""
    stopped = next((answer for answer in reference if isinstance(answer, LimitReached)), None)
    first = comparison.first
    if stopped is not None and (first is None or first.index >= len(reference) or reference[first.index] is stopped):
        return Judgement(Verdict.UNSUPPORTED, stopped.detail)
    if first is None:
        if near_ties:
            return Judgement(Verdict.NEAR_TIE, f"{near_ties} near {'tie' if near_ties == 1 else 'ties'}")
        ended_badly = bool(build) and is_failure(build[-1])
        return Judgement(Verdict.BOTH_FAILED if ended_badly else Verdict.MATCH)
    if first.index >= len(reference) or first.index >= len(build):
        return Judgement(Verdict.MISMATCH, f"the oracle ran {first.reference} steps, the build {first.build}")
    mine, theirs = reference[first.index], build[first.index]
    if isinstance(theirs, LimitReached):
        return Judgement(Verdict.POISONED, theirs.detail)
    if first.field == "status" and is_failure(mine) != is_failure(theirs):
        verdict = Verdict.ONLY_REF_FAILED if is_failure(mine) else Verdict.ONLY_WASM_FAILED
        return Judgement(verdict, f"oracle {outcome(mine)}, build {outcome(theirs)}")
    return Judgement(Verdict.MISMATCH)


def exit_code(verdicts: Iterable[Verdict], steps: int) -> int:
    """Return the exit code of a run: 4 after a crash, 1 after any verdict that is not fine or if nothing was compared.

    A limit does not judge the case that it stopped, but a run with such a case has not shown that the build is right.
    """
    found = set(verdicts)
    if Verdict.ORACLE_CRASH in found:
        return EXIT_CRASH
    return EXIT_FINE if found <= FINE and steps > 0 else EXIT_MISMATCH
