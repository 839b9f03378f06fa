"""Explain a divergence: which single change of the oracle answers every step as the build did."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from refruntime.cases.steps import Generate
from refruntime.differential.compare import drawn_otherwise
from refruntime.differential.run import Oracle, PairRun
from refruntime.hypotheses.attempt import Attempt, try_hypothesis
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.first_difference import LogitError, first_varied_value, logit_error
from refruntime.hypotheses.hypothesis import Hypothesis
from refruntime.hypotheses.observed import WitnessedTensor, touching

SHOWN: Final = 4
"""Further fitting hypotheses that the text report names."""

REMEMBERED: Final = 32
REMEMBERED_OF_FAMILY: Final = 6
"""Diverging cases that are kept to tell hypotheses apart, in all and of one family."""


@dataclass(frozen=True)
class Cause:
    """A hypothesis that explains `explained` of the `cases` that diverged."""

    hypothesis: Hypothesis
    explained: int
    cases: int


@dataclass(frozen=True)
class CauseExplanation:
    """What can be said about the first divergence of a case.

    `fits` are the hypotheses that explain every step, likely ones first; `nearest` is the best of the others, if it
    explains more than the oracle does or brings logits nearer. `tried` were tried in all.
    `first` names the value of the oracle that changes first under `fits[0]`, and
    `error` says how far the build's logits are off. `evidence` says of each shown fit how many of how many cases it
    explains, of those that had diverged by then.
    """

    fits: tuple[Attempt, ...]
    nearest: Attempt | None
    first: str | None
    error: LogitError | None
    observed: WitnessedTensor | None = None
    tried: int = 0
    evidence: tuple[tuple[int, int], ...] = ()

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """Return (label, text) pairs for the report."""
        lines: list[tuple[str, str]] = []
        if self.observed is not None:
            seen = self.observed
            lines.append(("witness", f"{seen.tensor} at position {seen.position}: {seen.text}"))
        if self.error is not None:
            lines.append(("logits", self.error.text))
        if self.fits:
            best, *others = [
                f"{fit.hypothesis.text}   ({_count(fit, *evidence)})"
                for fit, evidence in zip(self.fits, self.evidence, strict=False)
            ]
            lines.append(("first", f"{'the answer' if self.first is None else self.first} differs if {best}"))
            lines += [("or", other) for other in others]
            if len(self.fits) > len(self.evidence):
                lines.append(("or", f"{len(self.fits) - len(self.evidence)} more"))
            lines.append(("rule", ", ".join(self.rules)))
            return lines
        touching_it = "" if self.observed is None else " that touch this tensor"
        lines.append(("cause", f"none of {self.tried} known ones{touching_it} explains every step"))
        if self.nearest is not None:
            lines.append(("nearest", f"{self.nearest.hypothesis.text}   ({self._nearness(self.nearest)})"))
        elif self.tried:
            lines.append(("nearest", "none explains more than the oracle does"))
        return lines

    @property
    def rules(self) -> Sequence[str]:
        """Return the rules that the fitting hypotheses break."""
        return tuple(dict.fromkeys(attempt.hypothesis.rule for attempt in self.fits))

    @property
    def gap(self) -> str | None:
        """Return `RULE = option` when another option of a declared rule explains every step, else None."""
        options = [attempt.hypothesis.option for attempt in self.fits if attempt.hypothesis.option is not None]
        return " or ".join(f"{key} = {value}" for key, value in options) or None

    def document(self) -> dict[str, Any]:
        """Return the explanation as JSON-ready values."""
        return {
            "fits": [_attempt_document(attempt) for attempt in self.fits],
            "nearest": None if self.nearest is None else _attempt_document(self.nearest),
            "first": self.first,
            "logits": None if self.error is None else {"margin": self.error.margin, "band": self.error.band},
            "gap": self.gap,
            "witness": None if self.observed is None else asdict(self.observed),
        }

    def _nearness(self, attempt: Attempt) -> str:
        if self.error is None or not attempt.distance < self.error.margin:
            return attempt.count
        return f"{attempt.count}; logits off by {attempt.distance:.1e} instead of {self.error.margin:.1e}"


def _count(attempt: Attempt, explained: int, cases: int) -> str:
    return attempt.count if cases < 2 else f"{attempt.count}, {explained} of {cases} cases"


@dataclass
class Explainer:
    """Explain one diverging case after the other against one oracle, and remember which hypotheses fitted.

    `offered` are the diagnostics fields that the build is known to show. Hypotheses that fitted before are tried first,
    all others only if none of these fits, and after `searches` vain searches no more. `witness` looks into the build
    first; then hypotheses come first that can be about what it saw, and where another one explains every step, what was
    seen lay beside the cause and is not told.
    """

    oracle: Oracle
    offered: frozenset[str] = frozenset()
    hypotheses: Sequence[Hypothesis] = ()
    searches: int = 16
    runs: list[PairRun] = field(default_factory=list)
    attempts: dict[str, dict[str, Attempt]] = field(default_factory=dict)
    witness: Callable[[PairRun], WitnessedTensor | None] | None = None

    def __post_init__(self) -> None:
        self.hypotheses = tuple(self.hypotheses) or catalogue(self.oracle.profile)

    def __call__(self, run: PairRun) -> CauseExplanation | None:
        """Explain the first difference of a case; None when there is none."""
        first = run.comparison.first
        if first is None:
            return None
        self._remember(run)
        observed = None if self.witness is None else self.witness(run)
        possible = list(relevant(self.hypotheses, run))
        if observed is not None:
            possible = list(touching(possible, observed))
        attempts = self._tried(possible, run)
        fits = tuple(attempt for attempt in attempts if attempt.fits)
        if observed is not None and not fits:  # what was seen may lie beside the cause: all others count, too
            beside = [each for each in relevant(self.hypotheses, run) if each not in possible]
            attempts += self._tried(beside, run)
            fits = tuple(attempt for attempt in attempts if attempt.fits)
            observed = None if fits else observed
        self.searches -= bool(self.searches) and not fits
        error = logit_error(run, self.oracle)
        off = math.inf if error is None else error.margin
        others = [attempt for attempt in attempts if not attempt.fits]
        nearer = [attempt for attempt in others if attempt.explained > first.index or attempt.distance < off]
        return CauseExplanation(
            fits=fits,
            nearest=max(nearer, key=lambda attempt: (attempt.explained, -attempt.distance), default=None),
            first=first_varied_value(fits[0].hypothesis.changes, run, self.oracle) if fits else None,
            error=error,
            observed=observed,
            tried=len(attempts),
            evidence=tuple(self.evidence(attempt.hypothesis) for attempt in fits[: 1 + SHOWN]),
        )

    def _tried(self, possible: Sequence[Hypothesis], run: PairRun) -> list[Attempt]:
        """Try the hypotheses that fitted before, and where none does all others while searches are left."""
        known = self.candidates()
        attempts = [self.attempt(hypothesis, run) for hypothesis in possible if hypothesis.name in known]
        if self.searches and not any(attempt.fits for attempt in attempts):
            attempts += [self.attempt(hypothesis, run) for hypothesis in possible if hypothesis.name not in known]
        return attempts

    def attempt(self, hypothesis: Hypothesis, run: PairRun) -> Attempt:
        """Try a hypothesis on a case, once."""
        tried = self.attempts.setdefault(hypothesis.name, {})
        if run.case.name not in tried:
            tried[run.case.name] = try_hypothesis(hypothesis, run, self.oracle, self.offered)
        return tried[run.case.name]

    def _remember(self, run: PairRun) -> None:
        family = run.case.name.partition("/")[0]
        alike = sum(known.case.name.startswith(family + "/") for known in self.runs)
        if len(self.runs) < REMEMBERED and alike < REMEMBERED_OF_FAMILY:
            self.runs.append(run)

    def candidates(self) -> frozenset[str]:
        """Return the names of the hypotheses that explained some case."""
        return frozenset(
            name for name, tried in self.attempts.items() if any(attempt.fits for attempt in tried.values())
        )

    def evidence(self, hypothesis: Hypothesis) -> tuple[int, int]:
        """Return how many of how many remembered cases a hypothesis explains; cases not tried yet are tried now."""
        attempts = [self.attempt(hypothesis, run) for run in self.runs]
        return sum(attempt.fits for attempt in attempts), len(attempts)

    def causes(self) -> tuple[Cause, ...]:
        """Return the hypotheses that explain some case, those that explain most cases first."""
        names = self.candidates()
        found = [Cause(item, *self.evidence(item)) for item in self.hypotheses if item.name in names]
        return tuple(sorted(found, key=lambda cause: -cause.explained))


def relevant(hypotheses: Iterable[Hypothesis], run: PairRun) -> Iterable[Hypothesis]:
    """Return the hypotheses that can matter for the first difference.

    Nothing behind a forward pass does before there is one, nor what changes logits where both show the same.
    """
    first = run.comparison.first
    end = 0 if first is None else first.index + 1
    forwarded = any(_generates(step) for step in run.case.steps[:end])
    there = first is not None and end <= len(run.build)
    same_logits = there and drawn_otherwise(run.build[end - 1], run.comparison.differences)
    return (
        item for item in hypotheses if (forwarded or not item.forwards) and not (same_logits and item.changes_logits)
    )


def explain(run: PairRun, oracle: Oracle, offered: Collection[str] = ()) -> CauseExplanation | None:
    """Explain the first difference of one case; None when there is none."""
    return Explainer(oracle, frozenset(offered))(run)


def _generates(step: object) -> bool:
    return isinstance(step, Generate) or getattr(step, "export", "") == "generate"


def _attempt_document(attempt: Attempt) -> dict[str, Any]:
    hypothesis = attempt.hypothesis
    return {
        "name": hypothesis.name,
        "family": hypothesis.family,
        "text": hypothesis.text,
        "rule": hypothesis.rule,
        "option": None if hypothesis.option is None else list(hypothesis.option),
        "explained": attempt.explained,
        "steps": attempt.steps,
    }
