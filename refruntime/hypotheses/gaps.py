"""Find the options of declared rules under which a build agrees: contract gaps, and the profile that closes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from refruntime.battery.features import find_for_cases
from refruntime.cases.needs import needs_of
from refruntime.cases.observe import Observation
from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.differential.compare import compare_observations, offered_fields
from refruntime.differential.follow import follow_ties, only_tokens_differ
from refruntime.differential.run import Oracle, PairRun, follow, observe
from refruntime.differential.verdict import FINE, judge
from refruntime.engines.base import Engine
from refruntime.hypotheses.attempt import try_hypothesis
from refruntime.hypotheses.catalogue import option_hypotheses
from refruntime.hypotheses.checksums import accepted_checksums
from refruntime.hypotheses.hypothesis import Hypothesis
from refruntime.memory import HostMisuse

_KEYS: Final = {item.name: item.metadata["key"] for item in fields(Profile)}

JUDGED_BY: Final = 24
"""Diverging cases by which options are judged in one round."""


@dataclass(frozen=True)
class Gap:
    """The build chose `value` for the rule key `key`, where the profile had `instead_of`.

    `cases` diverging cases are explained by that alone. `alternatives` are (key, value) pairs that explain as much: no
    observation tells them apart.
    """

    key: str
    value: Any
    instead_of: Any
    cases: int
    alternatives: tuple[tuple[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """Return one line for people."""
        others = " or ".join(f"{key} = {value}" for key, value in self.alternatives)
        open_question = f"; no observation tells it from {others}" if others else ""
        return f"CONTRACT_GAP({self.key}) {self.value}, not {self.instead_of} ({self.cases} cases){open_question}"


@dataclass(frozen=True)
class GapReport:
    """The gaps in the order they were found, the profile with all of them closed, and what differs even then."""

    gaps: tuple[Gap, ...]
    profile: Profile
    remaining: tuple[PairRun, ...]

    @property
    def clean(self) -> bool:
        """Say whether the build agrees with the oracle under `profile`."""
        return not self.remaining

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the report for people."""
        rest = "every case agrees under this profile"
        if self.remaining:
            rest = f"{len(self.remaining)} cases differ under every option, such as {self.remaining[0].case.name}"
        return (*(gap.text for gap in self.gaps), rest)


def write_profile(report: GapReport) -> str:
    """Return the profile under which the build agrees, as TOML."""
    return report.profile.to_toml()


def find_gaps(build: Callable[[], Engine], battery: Callable[[Profile], Sequence[Case]], oracle: Oracle) -> GapReport:
    """Adopt fitting options one by one until the build agrees on the whole battery, or no option helps.

    Cases that need a feature which the build does not have say nothing and are left out (ID-1).
    `battery` makes the cases for a profile, because the files in them carry the checksum of SL-5.
    """
    gaps, profile = _checksum_gaps(build, oracle.profile)
    search = _Search(build, _judgeable(build, battery(profile), profile), replace(oracle, profile=profile))
    open_runs = search.diverging(search.cases)
    while open_runs:
        found = search.best_option(open_runs)
        if found is None:
            break
        gap, search.oracle = found
        gaps.append(gap)
        open_runs = search.diverging(run.case for run in open_runs) or search.diverging(search.cases)
    return GapReport(tuple(gaps), search.oracle.profile, tuple(open_runs))


def _judgeable(build: Callable[[], Engine], cases: Sequence[Case], profile: Profile) -> list[Case]:
    """Return the cases whose needs the build has; before them the one that shows that it lacks what all stands on."""
    found = find_for_cases(build, profile, cases)
    shown = [] if found.required is None else [found.required]
    return [*shown, *(case for case in cases if not found.reason(needs_of(case)))]


def _checksum_gaps(build: Callable[[], Engine], profile: Profile) -> tuple[list[Gap], Profile]:
    """Find the formula of SL-5 first: with a wrong one nothing can be loaded, so that nothing else shows."""
    accepted = accepted_checksums(build, profile)
    if not accepted or accepted == (profile,):
        return [], profile
    first, *others = accepted
    keys = _KEYS
    changed = [name for name in keys if getattr(first, name) != getattr(profile, name)]
    alternatives = tuple(
        (keys[name], getattr(other, name))
        for other in others
        for name in keys
        if getattr(other, name) != getattr(first, name)
    )
    gaps = [Gap(keys[name], getattr(first, name), getattr(profile, name), 1, alternatives) for name in changed]
    return gaps, first


@dataclass
class _Search:
    """What the build answered, and the oracle with the options that were adopted so far."""

    build: Callable[[], Engine]
    cases: Sequence[Case]
    oracle: Oracle

    answers: dict[str, list[Observation]] = field(default_factory=dict)
    adopted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not self.answers:
            self.answers = {case.name: observe(case, self.build(), self.oracle.profile) for case in self.cases}
        self.offered = frozenset(name for answers in self.answers.values() for name in offered_fields(answers))

    def diverging(self, cases: Iterable[Case]) -> list[PairRun]:
        """Return the cases that are not fine under the adopted options."""
        runs = (self._compared(case) for case in cases)
        return [run for run in runs if run is not None]

    def _compared(self, case: Case) -> PairRun | None:
        answers = self.answers[case.name]
        try:
            reference = follow(case, answers, self.oracle.engine(), self.oracle.profile)
        except HostMisuse:  # the case itself does what the contract leaves undefined
            return None
        comparison = compare_observations(reference, answers, self.offered)
        ties = 0
        if only_tokens_differ(case, comparison):
            followed = follow_ties(case, answers, self.oracle, self.offered)
            reference, comparison, ties = followed.observations, followed.comparison, len(followed.ties)
        verdict = judge(reference, answers, comparison, ties).verdict
        return None if verdict in FINE else PairRun(case, reference, answers, comparison)

    def best_option(self, runs: Sequence[PairRun]) -> tuple[Gap, Oracle] | None:
        """Return the option that explains most of the diverging cases, of equals the one that explains most steps."""
        judged = _spread(runs)
        scores = {
            hypothesis: self._score(hypothesis, judged)
            for hypothesis in option_hypotheses(self.oracle.profile)
            if hypothesis.option is not None and hypothesis.option[0] not in self.adopted
        }
        best = max(scores.values(), default=(0, 0))
        if best == (0, 0):
            return None
        first, *others = self._indistinguishable([item for item, score in scores.items() if score == best])
        if first.option is None or first.changes.profile is None:
            return None
        key, value = first.option
        attribute = next(name for name, known in _KEYS.items() if known == key)
        self.adopted.add(key)
        alternatives = tuple(other.option for other in others if other.option is not None)
        gap = Gap(key, value, getattr(self.oracle.profile, attribute), best[0], alternatives)
        return gap, replace(self.oracle, profile=first.changes.profile)

    def _indistinguishable(self, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
        """Return those under which the fewest cases of the whole battery diverge, as far as they are the same cases."""
        if len(hypotheses) == 1:
            return list(hypotheses)
        left = {item: self._names_under(item) for item in hypotheses}
        fewest = min(left.values(), key=len)
        return [item for item, names in left.items() if names == fewest]

    def _names_under(self, hypothesis: Hypothesis) -> frozenset[str]:
        other = replace(self, oracle=replace(self.oracle, profile=hypothesis.changes.profile or self.oracle.profile))
        return frozenset(run.case.name for run in other.diverging(self.cases))

    def _score(self, hypothesis: Hypothesis, runs: Sequence[PairRun]) -> tuple[int, int]:
        """Return how many cases an option explains, and how many steps beyond the first differences."""
        attempts = [(try_hypothesis(hypothesis, run, self.oracle, self.offered), run) for run in runs]
        steps = sum(max(0, attempt.explained - run.comparison.matched) for attempt, run in attempts)
        return sum(attempt.fits for attempt, _ in attempts), steps


def _spread(runs: Sequence[PairRun]) -> list[PairRun]:
    """Return some of the runs, spread over the families and over each family."""
    families: dict[str, list[PairRun]] = {}
    for run in runs:
        families.setdefault(run.case.name.partition("/")[0], []).append(run)
    share = max(1, JUDGED_BY // len(families))
    return [run for family in families.values() for run in family[:: -(-len(family) // share)]]
