"""What no choice of options explains is a bug: name the rule that is broken, and never an option for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from refruntime.cases.steps import Generate
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.compare import compare_observations, offered_fields
from refruntime.differential.run import Oracle, PairRun, follow
from refruntime.hypotheses.attempt import varied_answers
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.explain import Explainer
from refruntime.hypotheses.hypothesis import Hypothesis
from refruntime.hypotheses.observed import WitnessedTensor
from refruntime.identify.checksum import Checksum
from refruntime.identify.evidence import evidence_of
from refruntime.identify.identification import Bug, Evidence
from refruntime.identify.looking import Looker
from refruntime.identify.resolve import OWN, spread
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.trial import Trials
from refruntime.witness.generation import generation_of

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
                for name in (*bug.cases, *bug.beside):
                    left.pop(name, None)
    return bugs


def unexplained_bugs(
    settlement: Settlement, trials: Trials, profile: Profile, known: Sequence[Bug], look: Looker | None = None
) -> list[Bug]:
    """Return the rules that are broken by what no known fault explains: of the first wrong number that `look` sees.

    What begins outside of a generation, or where no number is seen, is told by the rules of the experiments. Where a
    known fault hides options, an experiment that depends on one of those says nothing of its own.
    """
    explained = {name for bug in known for name in (*bug.cases, *bug.beside)}
    options = settlement.survivors.options
    hidden = {name for name, left in options.items() if len(left) > 1} if settlement.behind_fault else set()
    left = {
        name: item
        for name, item in settlement.contradicted.items()
        if name not in explained and not settlement.predictions.reads(item.case) & hidden
    }
    generated = {name: _generated(item, trials, profile) for name, item in left.items()}
    numbers = {name: left[name] for name, artifact in generated.items() if artifact}
    seen = None if look is None else _seen(numbers, generated, settlement, look)
    if seen is None:
        return [_by_rules(left, settlement, trials, profile)] if left else []
    others = {name: item for name, item in left.items() if name not in numbers}
    number = _by_number(seen, numbers, settlement, trials, profile)
    return [number, *([_by_rules(others, settlement, trials, profile)] if others else [])]


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
    runs = {name: pair_run(other, explainer.oracle, settlement) for name, other in left.items()}
    fitting = [name for name, each in runs.items() if explainer.attempt(best, each).fits]
    beside = [name for name, each in runs.items() if name not in fitting and _shows(best, each, explainer)]
    spoilt = [each for each in _agreed(settlement, explainer) if not explainer.attempt(best, each).fits]
    unlike = len(spoilt) + (len(beside) if best.forwards else 0)
    if len(fitting) <= unlike:  # a wrong number fits here and there by chance: where it would show, others are seen
        return None
    testing = [case for case in _all(settlement) if best.rule in case.case.rules or case.case.name in fitting]
    evidence = _evidence(fitting, left, trials, profile)
    return Bug(best.rule, best.text, len(fitting), len(testing), tuple(fitting), evidence, tuple(beside))


def _shows(fault: Hypothesis, run: PairRun, explainer: Explainer) -> bool:
    """Say whether a fault changes an answer of the oracle no later than where the build's first one differs."""
    first = run.comparison.first
    end = 0 if first is None else first.index + 1
    known = offered_fields(run.build) | explainer.offered
    varied = varied_answers(fault.changes, run, explainer.oracle)
    pairs = zip(run.reference[:end], varied, strict=False)
    return any(compare_observations([mine], [other], known).first is not None for mine, other in pairs)


def _agreed(settlement: Settlement, explainer: Explainer) -> list[PairRun]:
    """Return some of one's own experiments that agree without a fault."""
    agreed = [item for name, item in settlement.agreed.items() if name.startswith(OWN)]
    return [pair_run(item, explainer.oracle, settlement) for item in spread(agreed, MOST_SAMPLED)]


def _best(
    fitting: Sequence[Hypothesis], left: dict[str, Experiment], explainer: Explainer, settlement: Settlement
) -> Hypothesis:
    """Return the fault that explains most experiments: those that are contradicted, and those that agree anyway."""
    if len(fitting) == 1:
        return fitting[0]
    sample = spread(list(left.values()), MOST_SAMPLED)
    runs = [pair_run(item, explainer.oracle, settlement) for item in sample] + _agreed(settlement, explainer)
    return max(fitting, key=lambda fault: sum(explainer.attempt(fault, run).fits for run in runs))


def _generated(item: Experiment, trials: Trials, profile: Profile) -> bytes:
    """Return the model whose generation gave the first difference of an experiment; empty where none did."""
    difference = trials.difference(item, profile)
    steps = () if difference is None else item.case.steps[: difference.index + 1]
    generation = generation_of(steps, item.case.models.__getitem__)
    return b"" if generation is None else generation.artifact


def _seen(
    numbers: Mapping[str, Experiment], generated: Mapping[str, bytes], settlement: Settlement, look: Looker
) -> WitnessedTensor | None:
    """Return the first wrong number of an experiment.

    Quantised products are of many ways, which a build with wrong numbers does not tell, and few numbers are no
    evidence: plain models come first, of them the large ones.
    """

    def weakness(name: str) -> tuple[bool, int]:
        oracle, artifact = look.oracle, generated[name]
        label = oracle.bind(artifact, oracle.profile, oracle.numerics).quantization
        return label != DType.F32.label, -len(artifact)

    for name in sorted(numbers, key=weakness):
        seen = look(pair_run(numbers[name], look.oracle, settlement))
        if seen is not None and seen.rule:
            return seen
    return None


def _by_number(
    seen: WitnessedTensor, left: dict[str, Experiment], settlement: Settlement, trials: Trials, profile: Profile
) -> Bug:
    """Name the rule of the first wrong number of a build; what is generated behind it speaks for no other."""
    text = f"the first wrong number is {seen.tensor} at position {seen.position}: {seen.text}"
    generating = [item for item in _all(settlement) if any(isinstance(step, Generate) for step in item.case.steps)]
    return Bug(seen.rule, text, len(left), len(generating), tuple(left), _evidence(list(left), left, trials, profile))


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
