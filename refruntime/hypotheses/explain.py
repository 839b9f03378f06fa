"""Explain a divergence: which single change of the oracle answers every step as the build did."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from refruntime.cases.steps import Generate
from refruntime.differential.run import Oracle, PairRun
from refruntime.hypotheses.attempt import Trial, try_hypothesis
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.first_difference import LogitError, first_varied_value, logit_error
from refruntime.hypotheses.hypothesis import Hypothesis
from refruntime.hypotheses.observed import Observed, touching

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
class Explanation:
    """What can be said about the first divergence of a case.

    `fits` are the hypotheses that explain every step, likely ones first; `nearest` is the best of the others, if it
    explains more than the oracle does or brings logits nearer. `tried` were tried in all.
    `first` names the value of the oracle that changes first under `fits[0]`, and
    `error` says how far the build's logits are off.
    """

    fits: tuple[Trial, ...]
    nearest: Trial | None
    first: str | None
    error: LogitError | None
    explainer: Explainer = field(repr=False, compare=False)
    observed: Observed | None = None
    tried: int = 0

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
            best, *others = self.fits
            subject = "the answer" if self.first is None else self.first
            lines.append(("first", f"{subject} differs if {best.hypothesis.text}   ({self._count(best)})"))
            lines += [("or", f"{other.hypothesis.text}   ({self._count(other)})") for other in others[:SHOWN]]
            if len(others) > SHOWN:
                lines.append(("or", f"{len(others) - SHOWN} more"))
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
        return tuple(dict.fromkeys(trial.hypothesis.rule for trial in self.fits))

    @property
    def gap(self) -> str | None:
        """Return `RULE = option` when another option of a declared rule explains every step, else None."""
        options = [trial.hypothesis.option for trial in self.fits if trial.hypothesis.option is not None]
        return " or ".join(f"{key} = {value}" for key, value in options) or None

    def document(self) -> dict[str, Any]:
        """Return the explanation as JSON-ready values."""
        return {
            "fits": [_trial_document(trial) for trial in self.fits],
            "nearest": None if self.nearest is None else _trial_document(self.nearest),
            "first": self.first,
            "logits": None if self.error is None else {"margin": self.error.margin, "band": self.error.band},
            "gap": self.gap,
            "witness": None if self.observed is None else asdict(self.observed),
        }

    def _nearness(self, trial: Trial) -> str:
        if self.error is None or not trial.distance < self.error.margin:
            return trial.count
        return f"{trial.count}; logits off by {trial.distance:.1e} instead of {self.error.margin:.1e}"

    def _count(self, trial: Trial) -> str:
        explained, cases = self.explainer.evidence(trial.hypothesis)
        return trial.count if cases < 2 else f"{trial.count}, {explained} of {cases} cases"


@dataclass
class Explainer:
    """Explain one diverging case after the other against one oracle, and remember which hypotheses fitted.

    `offered` are the diagnostics fields that the build is known to show. Hypotheses that fitted before are tried first,
    all others only if none of these fits, and after `searches` vain searches no more. `witness` looks into the build
    first; then only hypotheses are tried that can be about what it saw.
    """

    oracle: Oracle
    offered: frozenset[str] = frozenset()
    hypotheses: Sequence[Hypothesis] = ()
    searches: int = 16
    runs: list[PairRun] = field(default_factory=list)
    trials: dict[str, dict[str, Trial]] = field(default_factory=dict)
    witness: Callable[[PairRun], Observed | None] | None = None

    def __post_init__(self) -> None:
        self.hypotheses = tuple(self.hypotheses) or catalogue(self.oracle.profile)

    def __call__(self, run: PairRun) -> Explanation | None:
        """Explain the first difference of a case; None when there is none."""
        first = run.comparison.first
        if first is None:
            return None
        self._remember(run)
        observed = None if self.witness is None else self.witness(run)
        possible = list(relevant(self.hypotheses, run))
        if observed is not None:
            possible = list(touching(possible, observed))
        known = self.candidates()
        trials = [self.trial(hypothesis, run) for hypothesis in possible if hypothesis.name in known]
        if self.searches and not any(trial.fits for trial in trials):
            trials += [self.trial(hypothesis, run) for hypothesis in possible if hypothesis.name not in known]
            self.searches -= not any(trial.fits for trial in trials)
        fits = tuple(trial for trial in trials if trial.fits)
        error = logit_error(run, self.oracle)
        off = math.inf if error is None else error.margin
        others = [trial for trial in trials if not trial.fits]
        nearer = [trial for trial in others if trial.explained > first.index or trial.distance < off]
        return Explanation(
            fits=fits,
            nearest=max(nearer, key=lambda trial: (trial.explained, -trial.distance), default=None),
            first=first_varied_value(fits[0].hypothesis.changes, run, self.oracle) if fits else None,
            error=error,
            explainer=self,
            observed=observed,
            tried=len(trials),
        )

    def trial(self, hypothesis: Hypothesis, run: PairRun) -> Trial:
        """Try a hypothesis on a case, once."""
        tried = self.trials.setdefault(hypothesis.name, {})
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
        return frozenset(name for name, tried in self.trials.items() if any(trial.fits for trial in tried.values()))

    def evidence(self, hypothesis: Hypothesis) -> tuple[int, int]:
        """Return how many of how many remembered cases a hypothesis explains; cases not tried yet are tried now."""
        trials = [self.trial(hypothesis, run) for run in self.runs]
        return sum(trial.fits for trial in trials), len(trials)

    def causes(self) -> tuple[Cause, ...]:
        """Return the hypotheses that explain some case, those that explain most cases first."""
        names = self.candidates()
        found = [Cause(item, *self.evidence(item)) for item in self.hypotheses if item.name in names]
        return tuple(sorted(found, key=lambda cause: -cause.explained))


def relevant(hypotheses: Iterable[Hypothesis], run: PairRun) -> Iterable[Hypothesis]:
    """Return the hypotheses that can matter for the first difference: nothing of a forward pass before there is one."""
    first = run.comparison.first
    end = 0 if first is None else first.index + 1
    forwarded = any(_generates(step) for step in run.case.steps[:end])
    return (item for item in hypotheses if forwarded or not item.forwards)


def explain(run: PairRun, oracle: Oracle, offered: Collection[str] = ()) -> Explanation | None:
    """Explain the first difference of one case; None when there is none."""
    return Explainer(oracle, frozenset(offered))(run)


def _generates(step: object) -> bool:
    return isinstance(step, Generate) or getattr(step, "export", "") == "generate"


def _trial_document(trial: Trial) -> dict[str, Any]:
    hypothesis = trial.hypothesis
    return {
        "name": hypothesis.name,
        "family": hypothesis.family,
        "text": hypothesis.text,
        "rule": hypothesis.rule,
        "option": None if hypothesis.option is None else list(hypothesis.option),
        "explained": trial.explained,
        "steps": trial.steps,
    }
