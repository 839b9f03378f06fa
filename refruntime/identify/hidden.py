"""Rule out options where a known fault of the state machine hides them: with it in the oracle, answers speak again.

A wrong generator makes every draw differ under every option, an echoed prompt every text: nothing would be learnt, and
no fault would explain anything under the options that are assumed instead. What the fault is called is decided as for
any other, once the options are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.hypotheses.catalogue import catalogue
from refruntime.identify.oracle import MachineMaker
from refruntime.identify.prediction import Predictions
from refruntime.identify.resolve import spread
from refruntime.identify.settle import MOST_VAIN, Experiment, Settlement
from refruntime.identify.trial import Trials

MOST_TRIED: Final = 4
"""Contradicted experiments in which a fault has to change something before it is tried under all options."""

MOST_EACH: Final = 130
"""Runs of the oracle that a fault may take for an experiment: what those of right builds need."""


def learn_behind_faults(settlement: Settlement, designed: Iterable[Case]) -> MachineMaker | None:
    """Rule out options anew under the one fault that makes all experiments of one's own agree; return its machine.

    Those that agreed without it are held against it too: some agree by chance. The others stay contradicted.
    `designed` are the cases in the order in which each leaves few choices for those behind it.
    """
    taken = {**settlement.contradicted, **settlement.agreed}
    own = [taken[case.name] for case in designed if case.name in taken]
    contradicted = [item for item in own if item.case.name in settlement.contradicted]
    if not contradicted:
        return None
    told = settlement.predictions
    first = min(contradicted, key=lambda item: len(told.reads(item.case)))
    experiments = [first, *(item for item in own if item is not first)]
    tried = [
        (item, [replace(told.base, **choice) for choice in _covering(told.paths(item.case))])
        for item in (first, *spread(contradicted, MOST_TRIED))
    ]
    right = Trials(settlement, told.numerics, told.bind)
    for fault in catalogue(told.base):
        machine = fault.changes.machine
        if fault.option is not None or machine is None:
            continue
        wrong = Trials(settlement, told.numerics, told.bind, machine)
        if not all(_shows(wrong, right, item, profiles) for item, profiles in tried):
            continue
        explained = _explained(settlement, machine, experiments)
        if explained is not None:
            settlement.survivors = explained.survivors
            settlement.behind_fault = explained.agreed
            settlement.vain = MOST_VAIN  # what the fault changes in the battery is not tried under all options again
            settlement.wrong_products = set()
            return machine
    return None


def _shows(wrong: Trials, right: Trials, item: Experiment, profiles: Sequence[Profile]) -> bool:
    """Say whether a fault in the oracle changes what differs in an experiment under some profile."""
    return any(wrong.differences(item, profile) != right.differences(item, profile) for profile in profiles)


def _covering(paths: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return choices of switches that have each option between them."""
    chosen: list[Mapping[str, Any]] = []
    met: set[tuple[str, Any]] = set()
    for assignment in paths:
        if not chosen or not assignment.items() <= met:
            chosen.append(assignment)
            met |= assignment.items()
    return chosen


def _explained(settlement: Settlement, machine: MachineMaker, experiments: list[Experiment]) -> Settlement | None:
    """Return what is left with a fault in the oracle; None where an experiment still agrees under no option."""
    told = settlement.predictions
    tried = Settlement(
        Predictions(told.base, told.numerics, told.open_switches, told.bind, machine),
        settlement.translation,
        settlement.offered,
        most_each=MOST_EACH,
        has_products=settlement.has_products,
    )
    with np.errstate(all="ignore"):  # a fault may overflow where the sampler does not
        for item in experiments:
            tried.take(item)
            if tried.contradicted or tried.unusable:
                return None
    return tried
