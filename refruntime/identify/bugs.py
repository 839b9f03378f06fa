"""What no choice of options explains is a bug: a checksum that is not compared, and what all ways to name one need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.compare import compare_observations
from refruntime.differential.run import Oracle, PairRun, follow
from refruntime.identify.checksum import Checksum
from refruntime.identify.evidence import evidence_of
from refruntime.identify.identification import Bug, Evidence
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.trial import Trials
from refruntime.numerics import Numerics

MOST_SHOWN: Final = 3


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


def all_experiments(settlement: Settlement) -> list[Experiment]:
    """Return the experiments that agree and those that are contradicted."""
    return [*settlement.agreed.values(), *settlement.contradicted.values()]


def count_asked(settlement: Settlement, rule: str, broken: Collection[str]) -> int:
    """Return how many experiments are about a rule, or are among those that break it."""
    return sum(rule in item.case.rules or item.case.name in broken for item in all_experiments(settlement))


def shown_evidence(
    names: list[str], left: dict[str, Experiment], trials: Trials, profile: Profile
) -> tuple[Evidence, ...]:
    """Return the first differences of some experiments under a profile."""
    shown = []
    for name in names[:MOST_SHOWN]:
        difference = trials.difference(left[name], profile)
        if difference is not None:
            shown.append(evidence_of(left[name], difference, "the contract"))
    return tuple(shown)


def oracle_of(settlement: Settlement, profile: Profile, numerics: Numerics) -> Oracle:
    """Return an oracle that writes documents in the build's form: an answer is held against what such one can say."""
    table = settlement.translation.dialect.table
    return Oracle(replace(profile, diagnostic_names=table), numerics, bind=settlement.predictions.bind)


def pair_run(item: Experiment, oracle: Oracle, settlement: Settlement) -> PairRun:
    """Return an experiment as a case that ran on both sides; `oracle` writes documents in the build's form."""
    mine = follow(item.case, item.answers, oracle.engine(), oracle.profile)
    return PairRun(item.case, mine, item.answers, compare_observations(mine, item.answers, settlement.offered))
