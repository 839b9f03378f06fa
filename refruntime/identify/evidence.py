"""Name, for each switch, the answers that leave no other option; what no answer tells stays assumed (ID-3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from refruntime.cases.steps import Case, describe
from refruntime.contract.profile import Profile, Switch
from refruntime.differential.compare import Difference
from refruntime.differential.run import PairRun
from refruntime.identify.identification import Evidence, Identification, Learnt
from refruntime.identify.prediction import Predictions
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.trial import Trials

SHOWN_CHARACTERS: Final = 80
MOST_STEPS: Final = 8
"""Calls of a session that a line names."""
MOST_TRIED: Final = 40
BEHIND: Final = ("generator_on_load", "generator_on_reset")
"""Switches whose effect a generate undoes, where that reseeds."""


@dataclass(frozen=True)
class _Telling:
    """An experiment that agrees, under which oracle, and the switches on which its answers may depend."""

    item: Experiment
    trials: Trials
    reads: frozenset[str]


def learnt_switches(
    settlement: Settlement, trials: Trials, behind: Trials | None, profile: Profile, predictions: Predictions
) -> list[Learnt]:
    """Return every switch that is no part of the checksum, with its evidence, in contract order.

    `behind` tries what agrees with a known fault in the oracle alone.
    """
    telling = [
        _Telling(item, trials, predictions.reads(item.case) | settlement.predictions.reads(item.case))
        for item in settlement.agreed.values()
    ]
    if behind is not None:
        telling += [
            _Telling(item, behind, behind.outcome(item, profile)[1])
            for item in settlement.behind_fault.values()
            if behind.difference(item, profile) is None
        ]
    return [
        _learnt(switch, settlement, profile, [each for each in telling if switch.attribute in each.reads])
        for switch in Profile.switches()
        if switch.rule != "SL-5"
    ]


def _learnt(switch: Switch, settlement: Settlement, profile: Profile, telling: list[_Telling]) -> Learnt:
    """Return what is known of a switch; `telling` are the experiments whose answers may depend on it."""
    value = getattr(profile, switch.attribute)
    if switch.attribute in settlement.doubted:
        return Learnt(switch.key, switch.meaning, value, "assumed", (), "an experiment on it agrees under no option")
    telling = sorted(telling, key=lambda each: switch.rule not in each.item.case.rules)
    evidence: list[Evidence] = []
    open_options: list[str] = []
    for option in switch.options:
        if option == value:
            continue
        shown = next(_against(telling, profile, switch.attribute, option), None)
        if shown is None:
            open_options.append(str(option))
        else:
            evidence.append(shown)
    if not open_options:
        return Learnt(switch.key, switch.meaning, value, "observed", tuple(evidence))
    reason = f"no experiment tells it from {' or '.join(open_options)}"
    if switch.attribute in BEHIND and profile.generator_on_generate == "reseeded":
        reason += ": every generate reseeds the generator before it is used"
    if not telling:
        reason += ": the build has nothing in which it shows" if switch.rule.startswith("GG") else ""
    return Learnt(switch.key, switch.meaning, value, "assumed", tuple(evidence), reason)


def _against(telling: list[_Telling], profile: Profile, name: str, option: Any) -> Iterator[Evidence]:
    """Yield answers of the build that the oracle would give otherwise under another option."""
    for each in telling[:MOST_TRIED]:
        difference = each.trials.turned(each.item, profile, name, option)
        if difference is not None:
            yield evidence_of(each.item, difference, str(option))


def evidence_of(item: Experiment, difference: Difference, instead: str) -> Evidence:
    """Return a difference as evidence, values cut to what a line holds."""
    call = describe(item.case.steps[difference.index])
    return Evidence(
        item.case.name,
        difference.index,
        call,
        difference.field,
        instead,
        _shown(difference.reference),
        _shown(difference.build),
    )


def evidence_of_run(run: PairRun) -> Evidence:
    """Return the first difference of a run as evidence against the contract."""
    return evidence_of(Experiment(run.case, run.build), run.comparison.differences[0], "the contract")


def text_of_run(run: PairRun) -> str:
    """Return a session and its first difference as one line."""
    first = run.comparison.differences[0]
    steps = "; ".join(describe(step) for step in run.case.steps[-MOST_STEPS:])
    left = len(run.case.steps) - MOST_STEPS
    before = f"{left} calls; " if left > 0 else ""
    return f"{before}{steps}: {first.field} is {_shown(first.build)} instead of {_shown(first.reference)}"


def cited(found: Identification, asked: Iterable[Case]) -> dict[str, Case]:
    """Return the sessions that the evidence of anything learnt names, by name."""
    names = {each.case for learnt in found.learnt for each in learnt.evidence}
    names |= {each.case for bug in found.bugs for each in bug.evidence}
    names |= {case for item in found.fields.values() for case, _ in item.evidence}
    names |= {case for text in found.texts.values() for case, _ in text.evidence}
    names |= {case for bug in found.bugs for case in bug.cases}
    names |= {case.name for case in found.checksum.cases} if found.checksum is not None else set()
    return {case.name: case for case in asked if case.name in names}


def _shown(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
