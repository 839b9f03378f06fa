"""Choose among what is left, and ask whether experiments that agree under no choice speak for another one.

A right build contradicts nothing. Where something is contradicted the build has a bug, and the bug may have made an
experiment speak for a wrong option. So every switch is turned once more: another option is taken only if more
experiments agree under it than under the one that was found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from refruntime.contract.profile import Profile
from refruntime.differential.compare import Difference
from refruntime.identify.reading import SWITCHES
from refruntime.identify.settle import PRODUCT_RULE, Experiment, Settlement, scaled_storage
from refruntime.identify.trial import Trials

Item = TypeVar("Item")

OWN: Final = "identify/"
"""How the names of experiments on options begin."""

MOST_BLAMED: Final = 3
"""Experiments on one rule that are shortened before its option is doubted."""
MOST_CONTRADICTED: Final = 24
MOST_AGREED: Final = 48


def resolve(settlement: Settlement, trials: Trials, base: Profile) -> dict[str, Any]:
    """Return the option of every switch under which most experiments agree."""
    choices = settlement.best()
    sample = spread(list(settlement.contradicted.values()), MOST_CONTRADICTED)
    if not sample:
        return choices
    if settlement.behind_fault:  # a known fault explains them: no option is blamed
        _judge_again(settlement, trials, replace(base, **choices))
        return choices
    contradicted = _differing(sample, trials, replace(base, **choices))
    for name, options in SWITCHES.items():
        for option in options:
            if option != choices[name] and _gain(settlement, trials, base, choices, name, option, contradicted) > 0:
                choices = {**choices, name: option}
                contradicted = _differing(sample, trials, replace(base, **choices))
    _judge_again(settlement, trials, replace(base, **choices))
    return choices


def without_doubted(
    settlement: Settlement,
    trials: Trials,
    base: Profile,
    choices: dict[str, Any],
    explained: Collection[str],
    blamed: Callable[[Experiment], str] = lambda item: "",
) -> dict[str, Any]:
    """Take back an option where an experiment on its own rule agrees under no option: then the rule is broken.

    Experiments that a known fault of another rule explains to the end, under what was chosen, put nothing in doubt, nor
    do those whose shortest session blames another rule (`blamed`; empty where it tells none).
    """
    doubted = _doubted(settlement, choices, explained, blamed)
    if doubted != choices:
        _judge_again(settlement, trials, replace(base, **doubted))
    return doubted


def _differing(items: Sequence[Experiment], trials: Trials, profile: Profile) -> list[Experiment]:
    """Leave out what agrees under a profile after all: another option wins nothing there."""
    return [item for item in items if trials.difference(item, profile) is not None]


def _doubted(
    settlement: Settlement, choices: dict[str, Any], explained: Collection[str], blamed: Callable[[Experiment], str]
) -> dict[str, Any]:
    on_rule: dict[str, list[Experiment]] = {}
    for name, item in settlement.contradicted.items():
        if name.startswith(OWN) and name not in explained:
            on_rule.setdefault(item.case.rules[0], []).append(item)
    for switch in Profile.switches():
        broken = on_rule.get(switch.rule, [])
        if switch.attribute not in choices or not _broken(broken, switch.rule, blamed):
            continue
        if switch.rule == PRODUCT_RULE and _of_one_storage(broken, settlement):
            continue
        settlement.doubted.add(switch.attribute)
        if choices[switch.attribute] != switch.options[0]:
            choices = {**choices, switch.attribute: switch.options[0]}
    return choices


def _of_one_storage(broken: Sequence[Experiment], settlement: Settlement) -> bool:
    """Say whether products of another storage type agree: they tell the way to multiply, which is one for all."""
    wrong = frozenset().union(*(scaled_storage(item.case) for item in broken))
    agreed = (item.case for name, item in settlement.agreed.items() if name.startswith(OWN))
    return any(case.rules == (PRODUCT_RULE,) and not scaled_storage(case) & wrong for case in agreed)


def _broken(items: Sequence[Experiment], rule: str, blamed: Callable[[Experiment], str]) -> bool:
    """Say whether experiments on a rule contradict it, and not some other rule that they pass by."""
    return any(blamed(item) in ("", rule) for item in items[:MOST_BLAMED])


def _gain(
    settlement: Settlement,
    trials: Trials,
    base: Profile,
    choices: dict[str, Any],
    name: str,
    option: Any,
    contradicted: list[Experiment],
) -> int:
    """Return how many more experiments agree under another option, as far as a sample tells."""
    profile = replace(base, **choices)
    won = sum(
        explains_more(trials.differences(item, profile), trials.turned_differences(item, profile, name, option))
        for item in contradicted
    )
    if not won:
        return 0
    agreed = spread(list(settlement.agreed.values()), MOST_AGREED)
    lost = sum(trials.turned(item, profile, name, option) is not None for item in agreed)
    return won - lost


def explains_more(before: Sequence[Difference], after: Sequence[Difference]) -> bool:
    """Say whether an experiment agrees, or its status does, what is left being something else that is wrong."""
    if not after:
        return True
    differs = any(each.field == "status" for each in before)
    return differs and not any(each.field == "status" and each.index <= before[0].index for each in after)


def _judge_again(settlement: Settlement, trials: Trials, profile: Profile) -> None:
    """Sort the experiments anew under the profile that was chosen."""
    for name, item in list(settlement.contradicted.items()):
        if trials.difference(item, profile) is None:
            settlement.agreed[name] = settlement.contradicted.pop(name)
    for name, item in list(settlement.agreed.items()):
        if name.startswith(OWN) and trials.difference(item, profile) is not None:
            settlement.contradicted[name] = settlement.agreed.pop(name)


def spread(items: Sequence[Item], most: int) -> Sequence[Item]:
    """Return some of the items, spread over all of them."""
    step = -(-len(items) // most) if items else 1
    return items[::step]
