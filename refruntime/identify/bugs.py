"""What no choice of options explains is a bug: name the rule that is broken, and never an option for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.compare import compare_observations
from refruntime.differential.run import Oracle, PairRun, follow
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.explain import Explainer
from refruntime.hypotheses.hypothesis import Hypothesis
from refruntime.identify.checksum import Checksum
from refruntime.identify.evidence import evidence_of
from refruntime.identify.identification import Bug, Evidence
from refruntime.identify.resolve import OWN, spread
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.trial import Trials

MOST_EXPLAINED: Final = 6
MOST_SHOWN: Final = 3
MOST_WEIGHED: Final = 6
"""Faults that explain one experiment and are held against others."""
MOST_SAMPLED: Final = 24


def known_bugs(settlement: Settlement, trials: Trials, profile: Profile, offered: frozenset[str]) -> list[Bug]:
    """Return the known faults that explain contradicted experiments to the end, the best supported first."""
    left = dict(settlement.contradicted)
    bugs: list[Bug] = []
    if not left:
        return bugs
    explainer = explainer_of(settlement, trials, profile, offered)
    for item in spread(list(left.values()), MOST_EXPLAINED):
        if item.case.name in left:
            bug = _explained(item, left, explainer, settlement, trials, profile)
            if bug is not None:
                bugs.append(bug)
                for name in bug.cases:
                    left.pop(name, None)
    return bugs


def unexplained_bugs(settlement: Settlement, trials: Trials, profile: Profile, known: Sequence[Bug]) -> list[Bug]:
    """Return the rule that is broken by what no known fault explains, if anything is left.

    Where a known fault hides options, an experiment that depends on one of those says nothing of its own.
    """
    explained = {name for bug in known for name in bug.cases}
    options = settlement.survivors.options
    hidden = {name for name, left in options.items() if len(left) > 1} if settlement.behind_fault else set()
    left = {
        name: item
        for name, item in settlement.contradicted.items()
        if name not in explained and not settlement.predictions.reads(item.case) & hidden
    }
    return [_by_rules(left, settlement, trials, profile)] if left else []


def checksum_bugs(checksum: Checksum) -> list[Bug]:
    """Return that a build loads files with wrong checksums, if it loads some and refuses others (SL-5)."""
    if not checksum.wrongly:
        return []
    case = checksum.cases[0]
    names = list(case.models)
    evidence = tuple(
        Evidence(
            case.name, names.index(name) + 1, f"load_model {name}", "status", "the contract",
            Status.InvalidHeader.name, Status.Ok.name,
        )
        for name in checksum.wrongly[:MOST_SHOWN]
    )  # fmt: skip
    bits, places = (
        ", ".join(name.removeprefix(kind) for name in checksum.wrongly if name.startswith(kind))
        for kind in ("bit-", "byte-")
    )
    text = (
        f"only a part of the checksum is compared: a file is loaded although a bit of its sum is wrong (bits {bits})"
        if bits
        else "the checksum does not cover the whole file: one is loaded although a byte of its weights was changed "
        f"(at {places} of {len(case.models['sealed'])})"
    )
    return [Bug("SL-5", text, len(checksum.wrongly), len(names) - 1, (case.name,), evidence)]


def explainer_of(settlement: Settlement, trials: Trials, profile: Profile, offered: frozenset[str]) -> Explainer:
    """Return what tries known faults; options are no causes any more.

    Its oracle writes documents in the build's form, so that a fault is held against what such a document can say.
    """
    oracle = Oracle(replace(profile, diagnostic_names=settlement.translation.dialect.table), trials.numerics)
    faults = tuple(item for item in catalogue(profile) if item.option is None)
    return Explainer(oracle, offered, faults, searches=MOST_EXPLAINED)


def _explained(
    item: Experiment,
    left: dict[str, Experiment],
    explainer: Explainer,
    settlement: Settlement,
    trials: Trials,
    profile: Profile,
) -> Bug | None:
    run = pair_run(item, explainer.oracle, settlement)
    explanation = explainer(run)
    if explanation is None or not explanation.fits:
        return None
    best = _best([fit.hypothesis for fit in explanation.fits[:MOST_WEIGHED]], left, explainer, settlement)
    fitting = [
        other.case.name
        for other in left.values()
        if explainer.attempt(best, pair_run(other, explainer.oracle, settlement)).fits
    ]
    testing = [case for case in _all(settlement) if best.rule in case.case.rules or case.case.name in fitting]
    return Bug(
        best.rule, best.text, len(fitting), len(testing), tuple(fitting), _evidence(fitting, left, trials, profile)
    )


def _best(
    fitting: Sequence[Hypothesis], left: dict[str, Experiment], explainer: Explainer, settlement: Settlement
) -> Hypothesis:
    """Return the fault that explains most experiments: those that are contradicted, and those that agree anyway."""
    if len(fitting) == 1:
        return fitting[0]
    agreed = [item for name, item in settlement.agreed.items() if name.startswith(OWN)]
    sample = [*spread(list(left.values()), MOST_SAMPLED), *spread(agreed, MOST_SAMPLED)]
    runs = [pair_run(item, explainer.oracle, settlement) for item in sample]
    return max(fitting, key=lambda fault: sum(explainer.attempt(fault, run).fits for run in runs))


def _by_rules(left: dict[str, Experiment], settlement: Settlement, trials: Trials, profile: Profile) -> Bug:
    """Name the rule of whose experiments the largest part is broken."""
    total = Counter(rule for item in _all(settlement) for rule in _about(item))
    broken = Counter(rule for item in left.values() for rule in _about(item))
    rule = max(broken, key=lambda name: (broken[name] / total[name], broken[name]))
    names = tuple(left)
    text = "no known fault explains it"
    return Bug(rule, text, broken[rule], total[rule], names, _evidence(list(names), left, trials, profile))


def _about(item: Experiment) -> tuple[str, ...]:
    """Return the rules that an experiment is about: one that was designed has its own first."""
    return item.case.rules[:1] if item.case.name.startswith(OWN) else item.case.rules


def _all(settlement: Settlement) -> list[Experiment]:
    return [*settlement.agreed.values(), *settlement.contradicted.values()]


def _evidence(names: list[str], left: dict[str, Experiment], trials: Trials, profile: Profile) -> tuple[Evidence, ...]:
    shown = []
    for name in names[:MOST_SHOWN]:
        difference = trials.difference(left[name], profile)
        if difference is not None:
            shown.append(evidence_of(left[name], difference, "the contract"))
    return tuple(shown)


def pair_run(item: Experiment, oracle: Oracle, settlement: Settlement) -> PairRun:
    """Return an experiment as a case that ran on both sides."""
    mine = follow(item.case, item.answers, oracle.engine(), oracle.profile)
    return PairRun(item.case, mine, item.answers, compare_observations(mine, item.answers, settlement.offered))
