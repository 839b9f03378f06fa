"""Tell from a few calls whether a build speaks as the contract's default does, before anything is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from refruntime.cases.observation import code_of
from refruntime.cases.steps import INIT, NEXT_TOKEN, Case
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine
from refruntime.identify.asking import AskedBuild
from refruntime.identify.experiments import switch_experiments
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.sealed_engine import accepts
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.numerics import Numerics

FIRST: Final = Case("first", (INIT, NEXT_TOKEN))

FIRST_OF: Final = (
    *("state-failure-after-failure", "state-init-on-live", "state-reset-after-text", "state-next-before-generate"),
    *("state-next", "state-not-utf-8", "ties-drawn-2", "generator-1", "seed-0-1", "edge-4-16", "share-4.1-4.3"),
    *("share-27.15-38.27", "unit-0", "cold-zeros", "cold-ones", "product-0", "generator-configured", "generator-load"),
    *("generator-generate", "generator-reset", "file-heads-0", "file-kv-heads-0", "file-constants-0", "file-buffer-0"),
    *("file-data-offset-0", "file-scales-0", "stops-end-of-turn-normal"),
)
"""Experiments that together show every option of SLM1 files and the stop tokens of GGUF, each in few calls."""


MOST_UNEXPLAINED: Final = 4
"""Experiments that no option explains, after which the build has a bug and the comparison goes on at once."""


def speaks_otherwise(fresh: Callable[[], Engine], profile: Profile) -> str:
    """Say in what the first answers of a build are not those of a profile; empty where they are, or are none at all."""
    answers = AskedBuild(fresh).ask(FIRST)
    if len(answers) < len(FIRST.steps) or any(code_of(answer.observation) is None for answer in answers):
        return ""
    before, after = (answer.document for answer in answers)
    if before is None or after is None:
        return ""
    expected = profile.dialect
    missing = [name for name in expected.names if name not in expected.read(before)]
    if missing:
        return f"its diagnostics have no {missing[0]}"
    status = code_of(answers[1].observation)
    if status == 12 and expected.read(after)["last_error"] != dict(profile.failure_messages).get(
        "ModelNotLoaded", "model not loaded"
    ):
        return "the text of a failure is another one"
    if "slm1" in profile.containers and profile.checksum == "verified" and not accepts(fresh, profile):
        return "it refuses a plain file as if its checksum were wrong"
    return ""


def chooses_otherwise(fresh: Callable[[], Engine], profile: Profile, numerics: Numerics) -> str:
    """Say that a build which speaks as a profile does chose another option; empty where no option is needed.

    What no choice of options explains says nothing here: it is a difference that the comparison reports.
    """
    if profile.checksum == "verified" and "slm1" in profile.containers and accepts(fresh, profile, wrong=True):
        return "it loads a file with a wrong checksum"
    names = {f"identify/{name}" for name in FIRST_OF}
    build = AskedBuild(fresh)
    dialect = profile.dialect
    settlement = Settlement(Predictions(profile, numerics), Translation(dialect), frozenset(dialect.names))
    unexplained = 0
    for case in switch_experiments(profile):
        if case.name not in names or unexplained == MOST_UNEXPLAINED:
            continue
        item = Experiment(case, [settlement.translation.read(answer) for answer in build.answers(case)])
        if settlement.rows(item, _only(profile)):
            continue
        if any(_explaining(settlement, item, profile)):
            return f"its answers to {case.name} fit another option of a declared rule"
        unexplained += 1
    return ""


def _explaining(settlement: Settlement, item: Experiment, profile: Profile) -> Iterator[bool]:
    """Yield for each other option of a switch that was read so far whether the build's answers fit under it."""
    for name in sorted(settlement.predictions.reads(item.case)):
        for option in SWITCHES[name]:
            if option != getattr(profile, name):
                changes: dict[str, Any] = {name: option}
                yield bool(settlement.rows(item, _only(replace(profile, **changes))))


def _only(profile: Profile) -> Callable[[object, str], tuple[Any, ...]]:
    """Return what allows the options of one profile alone."""
    return lambda _, name: (getattr(profile, name),)
