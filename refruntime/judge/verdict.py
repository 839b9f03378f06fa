"""What a judgement says: findings stage by stage, and the distances that it rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from refruntime.judge.distance import Distance


class StageVerdict(StrEnum):
    """Verdicts of a stage; those of FINE are no fault of the engine."""

    EQUAL = "EQUAL"
    ROUNDING = "ROUNDING"
    POLICY = "POLICY"
    NEAR_TIE = "NEAR_TIE"
    NOT_ASKED = "NOT_ASKED"
    TOKENISATION = "TOKENISATION"
    VOCABULARY = "VOCABULARY"
    FAULT = "FAULT"
    UNEXPLAINED = "UNEXPLAINED"
    MISMATCH = "MISMATCH"


FINE: Final = frozenset(
    {StageVerdict.EQUAL, StageVerdict.ROUNDING, StageVerdict.POLICY, StageVerdict.NEAR_TIE, StageVerdict.NOT_ASKED}
)
STAGES: Final = ("tokens", "logits", "greedy path", "sampler")


@dataclass(frozen=True)
class StageFinding:
    """The verdict of one stage in one sentence; `facts` are its numbers."""

    stage: str
    verdict: StageVerdict
    text: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        """Say whether the engine is free of blame here."""
        return self.verdict in FINE


@dataclass(frozen=True)
class Measured:
    """How far the engine lies from one arithmetic, and how far rounding alone carries that one.

    `band` belongs to what is typical, `worst_band` to the worst position. `accident` is how far a rounding of an input
    to the other side carries the worst position, 0 where no input is rounded.
    """

    name: str
    says: str
    distance: Distance
    band: float
    worst_band: float
    accident: float = 0.0

    def explains(self, headroom: float) -> bool:
        """Say whether rounding, with some headroom, explains the distance, accidents included."""
        near = self.distance.typical <= headroom * self.band
        return near and self.distance.worst <= headroom * max(self.worst_band, self.accident)

    def explains_without_accident(self, headroom: float) -> bool:
        """Say whether no position is farther away than another order of sums carries it."""
        return self.explains(headroom) and self.distance.worst <= headroom * self.worst_band

    def nearer_than(self, other: Measured, times: float) -> bool:
        """Say whether this lies so many times nearer than another one, where it is typical or in the worst position."""
        own, theirs = self.distance, other.distance
        return times * own.typical <= theirs.typical or times * own.worst <= theirs.worst

    @property
    def numbers(self) -> str:
        """Return the distance that is farther beyond rounding, and what that does."""
        distance, band = self.distance.typical, self.band
        worst_band = max(self.worst_band, self.accident)
        if distance * worst_band < self.distance.worst * band:
            distance, band = self.distance.worst, worst_band
        return f"{distance:.2g}, where rounding alone does {band:.2g}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        own = {"name": self.name, "says": self.says, "band": self.band, "worst_band": self.worst_band}
        own["accident"] = self.accident
        return {**own, **self.distance.to_dict()}


@dataclass(frozen=True)
class EngineJudgement:
    """All findings, and every measured arithmetic, the nearest first."""

    source: str
    findings: tuple[StageFinding, ...]
    measured: tuple[Measured, ...] = ()
    tried: tuple[Measured, ...] = ()

    def with_findings(self, findings: Iterable[StageFinding]) -> EngineJudgement:
        """Return the judgement with more findings behind its own."""
        return replace(self, findings=(*self.findings, *findings))

    @property
    def rounding(self) -> float:
        """Return how far rounding alone carries a position of the nearest arithmetic, 0 where none was measured."""
        return max(self.measured[0].worst_band, self.measured[0].accident) if self.measured else 0.0

    @property
    def worst(self) -> StageFinding:
        """Return the first finding that blames the engine, or that of the logits."""
        blamed = next((finding for finding in self.findings if not finding.fine), None)
        return blamed or next((one for one in self.findings if one.stage == "logits"), self.findings[0])

    @property
    def compared(self) -> bool:
        """Say whether anything was compared at all."""
        return any(finding.verdict is not StageVerdict.NOT_ASKED for finding in self.findings)

    @property
    def fine(self) -> bool:
        """Say whether something was compared and nothing blames the engine."""
        return self.compared and all(finding.fine for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "source": self.source,
            "fine": self.fine,
            "verdict": str(self.worst.verdict),
            "text": self.worst.text,
            "findings": [
                {"stage": one.stage, "verdict": str(one.verdict), "text": one.text, **one.facts}
                for one in self.findings
            ],
            "measured": [one.to_dict() for one in self.measured],
            "tried": [one.to_dict() for one in self.tried],
        }
