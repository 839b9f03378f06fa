"""Name the rule of a token that is drawn otherwise: of the part of the configuration that the session needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from refruntime.cases.observation import StatusAnswer, diagnostics_of
from refruntime.cases.steps import NEXT_TOKEN, Configure
from refruntime.contract.fields import OF_LOGITS
from refruntime.differential.run import PairRun
from refruntime.identify.shortest import USUAL_TOP_K

NUMBERS: Final = frozenset(OF_LOGITS)
DRAWN: Final = frozenset({"selected_token", "result", *NUMBERS, "generated_tokens", "kv_length"})
"""What a token that is drawn otherwise changes."""
GENERATOR: Final = ("PR-1", "PR-3", "PR-4", "GEN-7")
"""Rules of a draw with any seed but 0."""

Tags = Callable[[tuple[str, ...]], str]
"""Return the rule of which most experiments are broken, of those that begin so."""

Often = Callable[[PairRun], bool]
"""Say whether a session differs with other seeds, too."""


def draws_otherwise(run: PairRun, index: int, differing: frozenset[str]) -> bool:
    """Say whether another token was chosen although nothing says that the logits differ."""
    if not differing <= DRAWN or not differing & {"selected_token", "result"}:
        return False
    if "selected_token" not in differing and shows(run, index, "selected_token"):
        return False
    return not differing & NUMBERS or configured(run, index).temperature > 0


def configured(run: PairRun, index: int) -> Configure:
    """Return the sampling configuration of a step."""
    steps = (step for step in reversed(run.case.steps[:index]) if isinstance(step, Configure))
    return next(steps, Configure())


def rule_of_draw(run: PairRun, index: int, differing: frozenset[str], tags: Tags, often: Often) -> str:
    """Return the rule of another token; empty where something else differs."""
    return rule_of_configuration(run, index, tags, often) if draws_otherwise(run, index, differing) else ""


def rule_of_configuration(run: PairRun, index: int, tags: Tags, often: Often) -> str:
    """Return the rule of the part of the configuration without which the session agrees."""
    used = configured(run, index)
    if used.temperature == 0:
        return "SA-1"
    if used.seed == 0:
        return "PR-2"
    parts = (used.top_p < 1, "SA-5"), (used.top_k != USUAL_TOP_K, "SA-2"), (used.temperature != 1, "SA-3")
    rule = next((rule for unusual, rule in parts if unusual), "")
    if rule and often(run):
        return rule
    if run.case.steps[index] == NEXT_TOKEN:
        return tags(("PR-4", "NT-4"))
    return tags(("SA-4", "SA-6", *GENERATOR) if rule else ("SA-", *GENERATOR))


def shows(run: PairRun, index: int, name: str) -> bool:
    """Say whether a build shows a field at a step."""
    answer: Any = run.build[index]
    return isinstance(answer, StatusAnswer) and name in diagnostics_of(answer)
