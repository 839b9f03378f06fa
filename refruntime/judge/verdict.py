"""What a judgement says: findings stage by stage, and the distances that it rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from refruntime.judge.distance import Distance
from refruntime.judge.noise import Noise


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
    """How far the engine lies from one arithmetic, and what rounding alone does to engines of that one.

    `nearest_at` is the number of positions at which no measured arithmetic is nearer.
    """

    name: str
    says: str
    distance: Distance
    noise: Noise
    nearest_at: int = 0

    @property
    def explains(self) -> bool:
        """Say whether rounding explains the distance, accidents included."""
        return self.distance.typical <= self.noise.limit and self.distance.worst <= self.noise.worst_limit

    def nearer_than(self, other: Measured) -> bool:
        """Say whether this lies nearer than another one at most positions."""
        pairs = list(zip(self.distance.places, other.distance.places, strict=True))
        return 2 * sum(own < theirs for own, theirs in pairs) > len(pairs)

    @property
    def numbers(self) -> str:
        """Return the distance that is farther beyond rounding, and what that does."""
        distance, band = self.distance.typical, self.noise.band
        if distance * self.noise.worst_band < self.distance.worst * band:
            distance, band = self.distance.worst, self.noise.worst_band
        return f"{distance:.2g}, where rounding alone does {band:.2g}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        noise = self.noise
        own = {"name": self.name, "says": self.says, "nearest_at": self.nearest_at}
        bands = {"band": noise.band, "worst_band": noise.worst_band}
        limits = {"limit": noise.limit, "worst_limit": noise.worst_limit}
        return {**own, **bands, **limits, **self.distance.to_dict()}


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
        """Return how far rounding alone may carry a position of the arithmetic that the logits have, or of the nearest.

        It is 0 where none was measured.
        """
        named = {finding.facts.get("arithmetic") for finding in self.findings}
        ranked = sorted(self.measured, key=lambda one: one.name not in named)
        return ranked[0].noise.worst_limit if ranked else 0.0

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
