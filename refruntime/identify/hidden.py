"""Rule out options where a known fault of the state machine hides them: with it in the oracle, answers speak again.

A wrong generator makes every draw differ under every option, an echoed prompt every text: nothing would be learnt, and
no fault would explain anything under the options that are assumed instead. What the fault is called is decided as for
any other, once the options are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from refruntime.contract.profile import Profile
from refruntime.hypotheses.catalogue import catalogue
from refruntime.identify.oracle import MachineMaker
from refruntime.identify.prediction import Predictions
from refruntime.identify.resolve import OWN
from refruntime.identify.settle import Experiment, Settlement

MOST_EACH: Final = 130
"""Runs of the oracle that a fault may take for an experiment: what those of right builds need."""


def learn_behind_faults(settlement: Settlement) -> MachineMaker | None:
    """Rule out options anew under the one fault that makes all experiments of one's own agree; return its machine.

    Those that agreed without it are held against it too: some agree by chance. The others stay contradicted.
    """
    contradicted = _own(settlement, settlement.contradicted)
    if not contradicted:
        return None
    experiments = [*contradicted, *_own(settlement, settlement.agreed)]
    for machine in _machines(settlement.predictions.base):
        explained = _explained(settlement, machine, experiments)
        if explained is not None:
            settlement.survivors = explained.survivors
            settlement.behind_fault = explained.agreed
            settlement.vain = 0
            settlement.wrong_products = set()
            return machine
    return None


def _own(settlement: Settlement, items: Mapping[str, Experiment]) -> list[Experiment]:
    """Return the experiments on options, those first in which few switches matter: a wrong fault ends there."""
    own = [item for item in items.values() if item.case.name.startswith(OWN)]
    return sorted(own, key=lambda item: len(settlement.predictions.reads(item.case)))


def _machines(profile: Profile) -> Iterator[MachineMaker]:
    """Yield machines with a known fault."""
    for fault in catalogue(profile):
        if fault.option is None and fault.changes.machine is not None:
            yield fault.changes.machine


def _explained(settlement: Settlement, machine: MachineMaker, experiments: list[Experiment]) -> Settlement | None:
    """Return what is left with a fault in the oracle; None where an experiment still agrees under no option."""
    told = settlement.predictions
    predictions = Predictions(told.base, told.numerics, told.open_switches, told.bind, machine)
    tried = Settlement(
        predictions,
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
