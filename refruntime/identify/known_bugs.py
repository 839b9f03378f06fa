"""Name a bug that is a known fault: put into the oracle, it explains contradicted experiments to the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from refruntime.cases.steps import Generate
from refruntime.contract.profile import Profile
from refruntime.differential.compare import compare_observations, offered_fields
from refruntime.differential.run import PairRun
from refruntime.hypotheses.attempt import varied_answers
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.explain import Explainer
from refruntime.hypotheses.hypothesis import Hypothesis
from refruntime.identify.bugs import count_asked, oracle_of, pair_run, shown_evidence
from refruntime.identify.identification import Bug
from refruntime.identify.resolve import OWN, spread
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.trial import Trials

MOST_EXPLAINED: Final = 6
MOST_SEARCHES: Final = 3
"""Experiments on which all faults are tried in vain; on others only those that explained one."""
MOST_WEIGHED: Final = 6
"""Faults that explain one experiment and are held against others."""
MOST_SAMPLED: Final = 16


def known_bugs(settlement: Settlement, trials: Trials, profile: Profile, offered: frozenset[str]) -> list[Bug]:
    """Return the known faults that explain contradicted experiments to the end, the best supported first."""
    left = dict(settlement.contradicted)
    bugs: list[Bug] = []
    if not left:
        return bugs
    explainer = explainer_of(settlement, trials, profile, offered)
    for item in _small(list(left.values()), MOST_EXPLAINED):
        if item.case.name in left:
            bug = _explained(item, left, explainer, settlement, trials, profile)
            if bug is not None:
                bugs.append(bug)
                for name in (*bug.cases, *bug.beside):
                    left.pop(name, None)
    return bugs


def _small(items: Sequence[Experiment], most: int) -> list[Experiment]:
    """Return some of the experiments, spread over all of them, of neighbours the cheapest; the cheapest come first."""
    step = -(-len(items) // most)
    return sorted((min(items[at : at + step], key=_cost) for at in range(0, len(items), step)), key=_cost)


def _cost(item: Experiment) -> int:
    """Return about how much a run of an experiment computes: tokens times bytes of models."""
    tokens = sum(step.max_new_tokens for step in item.case.steps if isinstance(step, Generate))
    return (1 + tokens) * sum(len(model) for model in item.case.models.values())


def explainer_of(settlement: Settlement, trials: Trials, profile: Profile, offered: frozenset[str]) -> Explainer:
    """Return what tries known faults; options are no causes any more."""
    oracle = oracle_of(settlement, profile, trials.numerics)
    faults = tuple(item for item in catalogue(profile) if item.option is None)
    return Explainer(oracle, offered, faults, searches=MOST_SEARCHES)


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
    agreed = _agreed(settlement, explainer)
    best = _best([fit.hypothesis for fit in explanation.fits[:MOST_WEIGHED]], left, agreed, explainer, settlement)
    met = {run.case.name for run in agreed}
    agreed += [run for run in _agreed(settlement, explainer, best.rule) if run.case.name not in met]
    fitting: list[str] = []
    beside: list[str] = []
    for count, name in enumerate(_sampled_first(item.case.name, list(left))):
        if count == MOST_SAMPLED and best.forwards and _by_chance(best, fitting, beside):
            return None
        each = pair_run(left[name], explainer.oracle, settlement)
        if explainer.attempt(best, each).fits:
            fitting.append(name)
        elif _shows(best, each, explainer):
            beside.append(name)
    spoilt = [each for each in agreed if not explainer.attempt(best, each).fits]
    if _by_chance(best, fitting, beside, len(spoilt)):
        return None
    asked = count_asked(settlement, best.rule, fitting)
    evidence = shown_evidence(fitting, left, trials, profile)
    return Bug(best.rule, best.text, len(fitting), asked, tuple(fitting), evidence, tuple(beside))


def _sampled_first(first: str, names: Sequence[str]) -> Sequence[str]:
    return tuple(dict.fromkeys([first, *spread(names, MOST_SAMPLED), *names]))


def _by_chance(fault: Hypothesis, fitting: Collection[str], beside: Collection[str], spoilt: int = 0) -> bool:
    """Say whether a fault explains fewer experiments than it changes without explaining them, or spoils.

    A wrong number fits here and there by chance: where it would show, others are seen.
    """
    return len(fitting) <= spoilt + (len(beside) if fault.forwards else 0)


def _shows(fault: Hypothesis, run: PairRun, explainer: Explainer) -> bool:
    """Say whether a fault changes an answer of the oracle no later than where the build's first one differs."""
    first = run.comparison.first
    end = 0 if first is None else first.index + 1
    known = offered_fields(run.build) | explainer.offered
    varied = varied_answers(fault.changes, run, explainer.oracle)
    pairs = zip(run.reference[:end], varied, strict=False)
    return any(compare_observations([mine], [other], known).first is not None for mine, other in pairs)


def _agreed(settlement: Settlement, explainer: Explainer, rule: str = "") -> list[PairRun]:
    """Return some experiments that agree without a fault: of one's own, or those that are about a rule."""
    agreed = [
        item for name, item in settlement.agreed.items() if (rule in item.case.rules if rule else name.startswith(OWN))
    ]
    return [pair_run(item, explainer.oracle, settlement) for item in spread(agreed, MOST_SAMPLED)]


def _best(
    fitting: Sequence[Hypothesis],
    left: dict[str, Experiment],
    agreed: Sequence[PairRun],
    explainer: Explainer,
    settlement: Settlement,
) -> Hypothesis:
    """Return the fault that explains most experiments: those that are contradicted, and those that agree anyway."""
    if len(fitting) == 1:
        return fitting[0]
    sample = spread(list(left.values()), MOST_SAMPLED)
    runs = [pair_run(item, explainer.oracle, settlement) for item in sample] + list(agreed)
    return max(fitting, key=lambda fault: sum(explainer.attempt(fault, run).fits for run in runs))
