"""Name the rule of a feature that all wrong numbers need and no right ones: what is common to all is right then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from refruntime.cases.needs import needs_of
from refruntime.cases.steps import Case

ENOUGH: Final = 20
"""Sessions without a feature whose numbers are right."""
OFTEN: Final = 0.1
"""Sessions with wrong numbers for each right one that needs the feature, too."""

OF_FILES: Final = ("SL-", "GG-")
"""How the names of rules about files begin."""
MOST_RULES: Final = 4
"""A session that cites more rules speaks for none of them."""

RULES: Final = {"slm1/storage": "SL-2", "gguf/storage": "GG-8", "gguf/rotary": "GG-11"}
"""The rule of the features of a group; other groups have none."""


def only_with(wrong: Sequence[Case], right: Sequence[Case]) -> str:
    """Return the feature that all sessions with wrong numbers need; empty if there is none, or it tells nothing.

    Many without it have to be right, and those with it wrong often enough that no chance made them alike.
    """
    if not wrong:
        return ""
    common = frozenset.intersection(*(frozenset(needs_of(case)) for case in wrong))
    for name in sorted(name for name in common if _group(name) in RULES):
        with_it = sum(name in needs_of(case) for case in right)
        if len(right) - with_it >= ENOUGH and len(wrong) >= OFTEN * with_it:
            return name
    return ""


def rule_of_files(wrong: Sequence[Case], right: Sequence[Case]) -> str:
    """Return the rule of files that all sessions with wrong numbers cite, and few right ones; empty if there is none.

    Numbers of other files are right then, so that what was read from these is wrong.
    """
    if not wrong:
        return ""
    common = frozenset.intersection(*(frozenset(case.rules) for case in wrong))
    narrow = [case for case in right if len(case.rules) <= MOST_RULES]
    citing = {rule: sum(rule in case.rules for case in narrow) for rule in wrong[0].rules if rule in common}
    rules = [rule for rule, count in citing.items() if rule.startswith(OF_FILES) and count <= 2 * len(wrong)]
    rules = [rule for rule in rules if len(right) - citing[rule] >= ENOUGH]
    return min(rules, key=citing.__getitem__, default="")


def rule_of_feature(name: str, rule: str, pattern: str) -> str:
    """Return the rule of a feature; where products of SLM1 are only rounded otherwise, that of the product (FW-4)."""
    return rule if name.startswith("slm1") and pattern.startswith("round") else RULES[_group(name)]


def _group(name: str) -> str:
    return name.rpartition("/")[0]
