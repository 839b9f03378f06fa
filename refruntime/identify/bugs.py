"""What no choice of options explains is a bug: name the rule that is broken, and never an option for it."""

from __future__ import annotations

from collections import Counter
from typing import Final

from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.compare import compare_observations
from refruntime.differential.run import Oracle, PairRun, follow
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.explain import Explainer
from refruntime.identify.checksum import Checksum
from refruntime.identify.evidence import evidence_of
from refruntime.identify.identification import Bug, Evidence
from refruntime.identify.resolve import spread
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.trial import Trials

MOST_EXPLAINED: Final = 6
MOST_SHOWN: Final = 3


def find_bugs(settlement: Settlement, trials: Trials, profile: Profile, offered: frozenset[str]) -> list[Bug]:
    """Return the rules that the contradicted experiments break, the best supported first."""
    left = dict(settlement.contradicted)
    bugs: list[Bug] = []
    if not left:
        return bugs
    explainer = _explainer(profile, trials, offered)
    for item in spread(list(left.values()), MOST_EXPLAINED):
        if item.case.name in left:
            bug = _explained(item, left, explainer, settlement, trials, profile)
            if bug is not None:
                bugs.append(bug)
                for name in bug.cases:
                    left.pop(name, None)
    if left:
        bugs.append(_by_rules(left, settlement, trials, profile))
    return bugs


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
    shown = ", ".join(name.removeprefix("bit-") for name in checksum.wrongly)
    text = (
        f"only a part of the checksum is compared: a file is loaded although a bit of its sum is wrong (bits {shown})"
    )
    return [Bug("SL-5", text, len(checksum.wrongly), len(names) - 1, (case.name,), evidence)]


def _explainer(profile: Profile, trials: Trials, offered: frozenset[str]) -> Explainer:
    """Return what tries known faults; options are no causes any more."""
    oracle = Oracle(profile, trials.numerics)
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
    best = max(
        explanation.fits[:4], key=lambda fit: explainer.evidence(fit.hypothesis)[0], default=explanation.fits[0]
    ).hypothesis
    fitting = [
        other.case.name
        for other in left.values()
        if explainer.attempt(best, pair_run(other, explainer.oracle, settlement)).fits
    ]
    testing = [case for case in _all(settlement) if best.rule in case.case.rules or case.case.name in fitting]
    return Bug(
        best.rule, best.text, len(fitting), len(testing), tuple(fitting), _evidence(fitting, left, trials, profile)
    )


def _by_rules(left: dict[str, Experiment], settlement: Settlement, trials: Trials, profile: Profile) -> Bug:
    """Name the rule of whose experiments the largest part is broken."""
    total = Counter(rule for item in _all(settlement) for rule in item.case.rules)
    broken = Counter(rule for item in left.values() for rule in item.case.rules)
    rule = max(broken, key=lambda name: (broken[name] / total[name], broken[name]))
    names = tuple(left)
    text = "no known fault explains it"
    return Bug(rule, text, broken[rule], total[rule], names, _evidence(list(names), left, trials, profile))


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
    mine = follow(item.case, item.answers, oracle.engine(), Profile())
    projected = [settlement.translation.project(answer) for answer in mine]
    return PairRun(
        item.case, projected, item.answers, compare_observations(projected, item.answers, settlement.offered)
    )
