"""Rule out options where a known fault of the sampler hides them: with it in the oracle, the draws speak again.

A wrong generator makes every draw differ under every option, so nothing of the sampler would be learnt, and no fault
would explain anything under the options that are assumed instead. What the fault is called is decided as for any other,
once the options are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from refruntime.contract.profile import Profile
from refruntime.hypotheses.catalogue import catalogue
from refruntime.identify.elimination import Survivors
from refruntime.identify.oracle import MachineMaker
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.resolve import OWN
from refruntime.identify.settle import Experiment, Settlement

RULES: Final = ("PR-", "SA-", "GEN-7", "NT-4")

HIDDEN: Final = frozenset(
    switch.attribute for switch in Profile.switches() if switch.rule.startswith(("SA-", "PR-", "SC-3"))
)
"""Switches of which a draw that agreed has told nothing, while others agree under no option: some agree by chance."""

MOST_EACH: Final = 130
"""Runs of the oracle that a fault may take for an experiment: what those of right builds need."""


def learn_behind_faults(settlement: Settlement) -> MachineMaker | None:
    """Rule out options by contradicted draws, under the one fault that makes all draws agree; return its machine.

    Nothing is done where numbers are wrong. The experiments stay contradicted, or become so.
    """
    if settlement.numbers_are_wrong or not any(_draws(settlement, settlement.contradicted)):
        return None
    experiments = [*_draws(settlement, settlement.contradicted), *_draws(settlement, settlement.agreed)]
    for machine in _machines(settlement.predictions.base):
        explained = _explained(settlement, machine, experiments)
        if explained is not None:
            settlement.survivors = explained.survivors
            settlement.behind_fault = explained.agreed
            settlement.vain = 0
            return machine
    return None


def _draws(settlement: Settlement, items: Mapping[str, Experiment]) -> Iterator[Experiment]:
    """Yield the experiments of one's own in which a hidden switch is read."""
    for item in items.values():
        if item.case.name.startswith(OWN) and settlement.predictions.reads(item.case) & HIDDEN:
            yield item


def _machines(profile: Profile) -> Iterator[MachineMaker]:
    """Yield machines with a known fault of the sampler or its generator."""
    for fault in catalogue(profile):
        if fault.option is None and fault.changes.machine is not None and fault.rule.startswith(RULES):
            yield fault.changes.machine


def _explained(settlement: Settlement, machine: MachineMaker, experiments: list[Experiment]) -> Settlement | None:
    """Return what is left with a fault in the oracle; None where an experiment still agrees under no option."""
    told = settlement.predictions
    predictions = Predictions(told.base, told.numerics, told.open_switches, told.bind, machine)
    survivors = _opened(settlement.survivors)
    tried = Settlement(predictions, settlement.translation, settlement.offered, survivors, most_each=MOST_EACH)
    for item in experiments:
        tried.take(item)
        if tried.contradicted or tried.unusable:
            return None
    return tried


def _opened(survivors: Survivors) -> Survivors:
    """Return what is left when nothing is known of the hidden switches."""
    options = {name: SWITCHES[name] if name in HIDDEN else left for name, left in survivors.options.items()}
    tables = {
        name: list(table) for name, table in survivors.tables.items() if not any(HIDDEN & set(row) for row in table)
    }
    return Survivors(options, tables)
