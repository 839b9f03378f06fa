"""Rule out choices of switches by experiments, all switches at once; what no choice explains is set aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

from refruntime.cases.needs import needs_of
from refruntime.cases.observation import Ended, Observation, result_of, same_end
from refruntime.cases.steps import Case
from refruntime.differential.compare import Comparison, compare_observations
from refruntime.identify.elimination import Survivors
from refruntime.identify.lazy_sampler import SAMPLER
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.texts import Translation
from refruntime.memory import HostMisuse

PRODUCT: Final = "quantized_product"
PRODUCT_RULE: Final = "FW-4"
"""The switch that every number depends on: while it is open, every session is tried under each of its options.

Only experiments of this rule alone tell that a build multiplies in no way of the contract; others have other reasons.
"""

MOST_ROWS: Final = 3000
MOST_EACH: Final = 400
"""Runs of the oracle in which one experiment has to agree; those of right builds need at most 130."""

MOST_VAIN: Final = 600
"""Runs of the oracle that may be spent on experiments that agree under no choice (some 10 seconds of a processor)."""


def scaled_storage(case: Case) -> frozenset[str]:
    """Return the storage types with scales that the models of a case have."""
    return frozenset(name for name in needs_of(case) if name.startswith("slm1/storage/"))


@dataclass
class Experiment:
    """One session with the build: the case, and what the build answered in the contract's words."""

    case: Case
    answers: list[Observation]


@dataclass
class Settlement:
    """Which choices are left, which experiments agree under them, and which agree under none.

    `behind_fault` are contradicted ones that agree with a known fault in the oracle. `has_products` says whether the
    build has storage types with scales, in which alone the ways to multiply differ; `wrong_products` are those of them
    whose experiments agree under no way.
    """

    predictions: Predictions
    translation: Translation
    offered: Collection[str]
    survivors: Survivors = field(default_factory=lambda: Survivors(dict(SWITCHES)))
    agreed: dict[str, Experiment] = field(default_factory=dict)
    contradicted: dict[str, Experiment] = field(default_factory=dict)
    behind_fault: dict[str, Experiment] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    vain: int = 0
    doubted: set[str] = field(default_factory=set)
    wrong_products: set[str] = field(default_factory=set)
    has_products: bool = True
    deadline: float = float("inf")
    most_each: int = MOST_EACH

    def take(self, experiment: Experiment) -> None:
        """Rule out every choice under which the oracle answers an experiment otherwise than the build did."""
        name = experiment.case.name
        before = self.predictions.runs
        try:
            rows = self.rows(experiment, partial(self.allowed, storage=scaled_storage(experiment.case)))
        except HostMisuse as misuse:
            self.unusable[name] = f"the case does what the contract leaves undefined: {misuse}"
            return
        if rows:
            self.agreed[name] = experiment
            self.survivors.add(name, rows)
        else:
            self.contradicted[name] = experiment
            self.vain += self.predictions.runs - before
            if experiment.case.rules == (PRODUCT_RULE,):
                self.wrong_products |= scaled_storage(experiment.case)

    def allowed(self, assignment: Mapping[str, Any], name: str, storage: frozenset[str] = frozenset()) -> Iterable[Any]:
        """Yield the options that are left; of the sampler's only the first, once many were tried in vain, then of all.

        A build whose numbers are wrong contradicts every draw, and to try all choices on each would take minutes. Nor
        does any number of a storage type tell how the build multiplies, once those of the experiments on that agree
        under no option; those of another type may.
        """
        left = self.survivors.allowed(assignment, name)
        if name == PRODUCT and (not self.has_products or (self.wrong_products and storage <= self.wrong_products)):
            return islice(left, 1)
        if self.vain >= MOST_VAIN and (name in SAMPLER or self.vain >= MOST_VAIN * 2):
            return islice(left, 1)
        return left

    def rows(self, experiment: Experiment, allowed: Callable[[Mapping[str, Any], str], Any]) -> list[dict[str, Any]]:
        """Return the choices under which the oracle's answers are the build's."""
        rows: list[dict[str, Any]] = []
        until = self.predictions.runs + self.most_each

        def still(assignment: Mapping[str, Any], name: str) -> Iterable[Any]:
            return allowed(assignment, name) if rows or self.predictions.runs < until else ()

        for row in self.predictions.agreeing(experiment.case, still, self.fits(experiment), experiment.answers):
            rows.append(row)
            if len(rows) > MOST_ROWS or time.monotonic() > self.deadline:
                break
        return rows

    def fits(self, experiment: Experiment) -> Callable[[int, Observation], bool]:
        """Return what says whether an oracle's answer is the build's; an answer is met again on many paths."""
        known: dict[tuple[int, int], tuple[Observation, bool]] = {}  # an answer that is kept has its number alone

        def fit(index: int, mine: Observation) -> bool:
            key = index, id(mine)
            if key not in known:
                known[key] = mine, fits(index, mine)
            return known[key][1]

        def fits(index: int, mine: Observation) -> bool:
            if index >= len(experiment.answers):
                return False
            theirs = experiment.answers[index]
            if not same_end(mine, theirs) or result_of(mine) != result_of(theirs):
                return isinstance(theirs, Ended) and self.difference(mine, theirs).first is None
            return self.difference(mine, theirs).first is None

        return fit

    def difference(self, mine: Observation, theirs: Observation) -> Comparison:
        """Compare one answer, as far as the build's form of the fields can hold it."""
        return compare_observations([self.translation.project(mine)], [theirs], self.offered)

    def best(self) -> dict[str, Any]:
        """Return one joint choice that is left, the one nearest to the default."""
        return self.survivors.nearest({name: options[0] for name, options in SWITCHES.items()})
